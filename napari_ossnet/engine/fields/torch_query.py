"""The folded decoder run by torch alone: on GPUs, and on CPUs without the compiled kernels."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from napari_ossnet.engine.fields.folding import FoldedBlock, FoldedDecoder, FoldedLayer
from napari_ossnet.engine.kernels.threads import run_in_threads
from napari_ossnet.engine.networks.pade import pade_
from napari_ossnet.engine.patches import PatchSampler
from napari_ossnet.engine.tensors import Locations, Logits

#: Locations that a core works on at a time: their features stay in the cache, and little memory is taken.
CPU_BLOCK = 512
#: Windows of a location between voxels are 8/7 wider on each axis, and each blend makes a copy.
_WINDOW_COPIES = 4


class TorchQuery:
    """Logits of locations by torch operations, on the device of the decoder.

    Coordinates and Pade units are computed in float32 whatever the precision (coordinates reach 511, and the Pade unit
    takes a fifth power).

    Args of the constructor:
        decoder: Folded, float32.
        sampler: Gathers the windows; None where the variant has none.
        precision: Of the matrix products: float32, or a half precision.
    """

    def __init__(self, decoder: FoldedDecoder, sampler: PatchSampler | None, precision: torch.dtype) -> None:
        self._sampler = sampler
        self._precision = precision
        first = decoder.blocks[0]
        assert first.shortcut is not None
        # Coordinates apart: they keep float32.
        self._coordinates_first = first.first.matrix[:3].clone()
        self._coordinates_shortcut = first.shortcut[:3].clone()
        self._decoder = self._converted(decoder)

    @property
    def bytes_per_location(self) -> int:
        """Working memory for a location of a chunk on a GPU, where a chunk is computed as a whole."""
        decoder = self._decoder
        widths = [block.first.matrix.shape[1] for block in decoder.blocks]
        windows = decoder.patch_layers[0].matrix.shape[0] * _WINDOW_COPIES * 4 if decoder.patch_layers else 0
        return windows + max(widths) * 4 * 5

    @torch.no_grad()
    def __call__(self, locations: Locations) -> Logits:
        """Logits (n, classes) float32 of locations (n, 3) float32, grid frame."""
        logits = locations.new_empty(len(locations), self._decoder.final.shape[1])
        if locations.device.type != "cpu":
            logits.copy_(self._block(locations))
            return logits

        def run(start: int) -> None:
            piece = slice(start, start + CPU_BLOCK)
            # Grad mode is a thread's own.
            with torch.no_grad():
                logits[piece] = self._block(locations[piece])

        run_in_threads(run, range(0, len(locations), CPU_BLOCK))
        return logits

    def _block(self, locations: Locations) -> Logits:
        decoder = self._decoder
        first = decoder.blocks[0]
        hidden = torch.mm(locations, self._coordinates_first)
        x = torch.mm(locations, self._coordinates_shortcut)
        if self._sampler is not None:
            features = self._patch_features(self._sampler, locations)
            assert first.shortcut is not None
            hidden += self._product(features, first.first.matrix)
            x += self._product(features, first.shortcut)
        x += self._product(_finish(hidden, first.first), first.second.matrix)
        x = _finish(x, first.second)
        for block in decoder.blocks[1:]:
            x = self._pass_through(x, block)
        return self._product(x, decoder.final)

    def _patch_features(self, sampler: PatchSampler, locations: Locations) -> Tensor:
        """Features (n, 343) of the windows around locations."""
        rounded = locations.round()
        if torch.equal(rounded, locations):
            windows = sampler.at_voxels(rounded.long()[None])[0]
        else:
            windows = sampler.between_voxels(locations[None])[0]
        features = windows.flatten(1)
        for layer in self._decoder.patch_layers:
            features = _finish(self._product(features, layer.matrix), layer)
        return features

    def _pass_through(self, x: Tensor, block: FoldedBlock) -> Tensor:
        hidden = _finish(self._product(x, block.first.matrix), block.first)
        x = x if block.shortcut is None else self._product(x, block.shortcut)
        return _finish(x.add_(self._product(hidden, block.second.matrix)), block.second)

    def _product(self, x: Tensor, matrix: Tensor) -> Tensor:
        return torch.mm(x.to(self._precision), matrix).float()

    def _converted(self, decoder: FoldedDecoder) -> FoldedDecoder:
        """The decoder with its matrices in the precision of the products, and the coordinates' rows taken out."""

        def convert(layer: FoldedLayer, skip: int = 0) -> FoldedLayer:
            return replace(layer, matrix=layer.matrix[skip:].to(self._precision).contiguous())

        blocks = []
        for index, block in enumerate(decoder.blocks):
            skip = 3 if index == 0 else 0
            shortcut = None if block.shortcut is None else block.shortcut[skip:].to(self._precision).contiguous()
            blocks.append(
                FoldedBlock(first=convert(block.first, skip), second=convert(block.second), shortcut=shortcut)
            )
        return FoldedDecoder(
            patch_layers=tuple(convert(layer) for layer in decoder.patch_layers),
            blocks=tuple(blocks),
            final=decoder.final.to(self._precision),
        )


def _finish(x: Tensor, layer: FoldedLayer) -> Tensor:
    """Bias and Pade unit, in float32 and in place."""
    return pade_(x.add_(layer.bias), layer.pade)
