"""The folded decoder on a CPU with compiled kernels: blocks of locations, one a core, from the scan to the logits.

A block of a few hundred locations keeps its features in the second-level cache while they go through all layers:
windows are gathered straight from the scan, and between the matrix products, which are torch's, one compiled pass adds
the bias and applies the Pade unit. Cores work on blocks of their own and never wait for each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from queue import Empty, LifoQueue

import numpy as np
import torch
from torch import Tensor

from napari_ossnet.engine.fields.folding import FoldedDecoder, FoldedLayer
from napari_ossnet.engine.kernels.compilation import compiled
from napari_ossnet.engine.kernels.pade_kernels import pade_columns
from napari_ossnet.engine.kernels.threads import run_in_threads
from napari_ossnet.engine.kernels.window_kernels import local_windows, mid_range_windows
from napari_ossnet.engine.networks.patch_encoder import PATCH_EDGE, PATCH_VALUES
from napari_ossnet.engine.tensors import Locations, Logits

#: Locations of a block. Fewer make the matrix products slower, more do not fit the cache.
BLOCK = 512
#: Planes of a window that are computed together, and the planes of the input that they depend on: a kernel of seven
#: reaches three planes to either side, so the outer ones need not see all. A sixth of the work is saved.
_PLANES = ((0, 2, 0, 5), (2, 5, 0, 7), (5, 7, 2, 7))


@dataclass(frozen=True, slots=True)
class _Product:
    """A part of a layer: columns ``first_in`` on times ``matrix`` gives columns ``first_out`` on."""

    first_in: int
    first_out: int
    matrix: Tensor


@dataclass(frozen=True, slots=True)
class _Finish:
    """What follows a matrix product: bias (features,) and Pade coefficients (10,)."""

    bias: np.ndarray
    pade: np.ndarray

    @classmethod
    def of(cls, layer: FoldedLayer, bias: Tensor | None = None) -> _Finish:
        return cls((layer.bias if bias is None else bias).contiguous().numpy(), layer.pade.numpy())


class _Workspace:
    """The features of one block of locations, layer by layer; made once for each core."""

    def __init__(self, query: CompiledQuery) -> None:
        self.windows = np.empty((BLOCK, query.window_values), np.float32)
        self.hidden_windows = np.empty((BLOCK, query.hidden_window_values), np.float32)
        self.inputs = np.empty((BLOCK, query.input_features), np.float32)
        self.hidden = np.empty((BLOCK, query.features), np.float32)
        self.trunk = np.empty((BLOCK, query.features), np.float32)


class CompiledQuery:
    """Logits of locations on the CPU.

    Args of the constructor:
        decoder: Folded, float32, on the CPU.
        grid: (channels, i, j, k) float32, contiguous; it is read where it lies, nothing is copied.
        has_mid_range: Whether mid-range windows follow the local ones.
    """

    def __init__(self, decoder: FoldedDecoder, grid: np.ndarray, *, has_mid_range: bool) -> None:
        self._grid = np.ascontiguousarray(grid, dtype=np.float32)
        self._has_mid_range = has_mid_range
        self._has_patches = bool(decoder.patch_layers)
        self.window_channels = grid.shape[0] * (1 + has_mid_range) if self._has_patches else 0
        self.window_values = self.window_channels * PATCH_VALUES
        self.hidden_window_values = decoder.patch_layers[0].bias.shape[0] if self._has_patches else 0
        self.input_features = decoder.input_features
        self.features, self.class_count = decoder.final.shape
        self._patch_products, self._patch_finishes = _arrange_patch_layers(decoder, self.window_channels)
        self._shortcut, self._matrices = _arrange_blocks(decoder)
        self._finishes = [(_Finish.of(block.first), _Finish.of(block.second)) for block in decoder.blocks]
        self._final = decoder.final
        self._workspaces: LifoQueue[_Workspace] = LifoQueue()

    @property
    def bytes_per_location(self) -> int:
        """What a location adds to a chunk; the work space is that of a block, whatever the chunk."""
        return 4 * (3 + self.class_count) * 4

    def __call__(self, locations: Locations) -> Logits:
        """Logits (n, classes) float32 of locations (n, 3) float32, grid frame."""
        count = len(locations)
        logits = torch.empty(count, self.class_count)
        positions = locations.detach().contiguous().numpy()
        run_in_threads(lambda piece: self._run_block(positions[piece], logits[piece]), _blocks(count))
        return logits

    def _run_block(self, positions: np.ndarray, logits: Tensor) -> None:
        try:
            space = self._workspaces.get_nowait()
        except Empty:
            space = _Workspace(self)
        with torch.no_grad():
            self._gather_inputs(positions, space)
            self._decode(space, len(positions), logits)
        self._workspaces.put(space)

    def _gather_inputs(self, positions: np.ndarray, space: _Workspace) -> None:
        """Patch features and coordinates of a block into its inputs, in this order."""
        count = len(positions)
        inputs = space.inputs[:count]
        inputs[:, -3:] = positions
        if not self._has_patches:
            return
        windows = space.windows[:count]
        compiled(local_windows)(self._grid, positions, self.window_channels, windows)
        if self._has_mid_range:
            compiled(mid_range_windows)(self._grid, positions, self.window_channels, windows)
        source = windows
        targets = (space.hidden_windows[:count], inputs)
        for target, products, finish in zip(targets, self._patch_products, self._patch_finishes, strict=True):
            for product in products:
                _multiply(source, product, target)
            compiled(pade_columns)(target, 0, finish.bias, finish.pade)
            source = target

    def _decode(self, space: _Workspace, count: int, logits: Tensor) -> None:
        inputs, hidden, trunk = (torch.from_numpy(array[:count]) for array in (space.inputs, space.hidden, space.trunk))
        finish = compiled(pade_columns)
        torch.mm(inputs, self._shortcut, out=trunk)
        for index, (first, second) in enumerate(self._matrices):
            torch.mm(trunk if index else inputs, first, out=hidden)
            finish_first, finish_second = self._finishes[index]
            finish(space.hidden[:count], 0, finish_first.bias, finish_first.pade)
            trunk.addmm_(hidden, second)
            finish(space.trunk[:count], 0, finish_second.bias, finish_second.pade)
        torch.mm(trunk, self._final, out=logits)


def _blocks(count: int) -> list[slice]:
    """Blocks of nearly equal size, as many for each core as for any other."""
    cores = torch.get_num_threads()
    blocks = -(-count // BLOCK)
    if blocks > 1:
        blocks = -(-blocks // cores) * cores
    size = max(-(-count // max(blocks, 1)), 1)
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def _multiply(source: np.ndarray, product: _Product, target: np.ndarray) -> None:
    rows, columns = product.matrix.shape
    inputs = torch.from_numpy(source)[:, product.first_in : product.first_in + rows]
    torch.mm(inputs, product.matrix, out=torch.from_numpy(target)[:, product.first_out : product.first_out + columns])


def _arrange_patch_layers(
    decoder: FoldedDecoder, channels: int
) -> tuple[tuple[list[_Product], ...], tuple[_Finish, ...]]:
    """Both patch layers in the order of the compiled windows, cut into groups of planes; nothing without patches."""
    if not decoder.patch_layers:
        return (), ()
    first, second = decoder.patch_layers
    hidden = len(first.bias) // PATCH_VALUES
    rows, columns = _planes_outermost(channels), _planes_outermost(hidden)
    products = (
        _cut_by_planes(first.matrix[rows][:, columns], channels, hidden),
        _cut_by_planes(second.matrix[columns], hidden, 1),
    )
    return products, (_Finish.of(first, first.bias[columns]), _Finish.of(second))


def _planes_outermost(channels: int) -> Tensor:
    """For each value of a window with its planes outermost, where it is with its channels outermost."""
    plane = PATCH_EDGE * PATCH_EDGE
    return torch.arange(channels * PATCH_VALUES).view(channels, PATCH_EDGE, plane).transpose(0, 1).flatten()


def _cut_by_planes(matrix: Tensor, in_channels: int, out_channels: int) -> list[_Product]:
    """The parts of a convolution's matrix (in, out), planes outermost on both sides, that are not zero all through."""
    plane_in, plane_out = in_channels * PATCH_EDGE**2, out_channels * PATCH_EDGE**2
    return [
        _Product(
            first_in * plane_in,
            first_out * plane_out,
            matrix[first_in * plane_in : last_in * plane_in, first_out * plane_out : last_out * plane_out].contiguous(),
        )
        for first_out, last_out, first_in, last_in in _PLANES
    ]


def _arrange_blocks(decoder: FoldedDecoder) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """The first block's shortcut and every block's matrices; inputs are patch features and then coordinates."""
    first = decoder.blocks[0]
    assert first.shortcut is not None
    # The folded decoder has the coordinates in front.
    order = torch.arange(decoder.input_features).roll(-3)
    matrices = [(block.first.matrix, block.second.matrix) for block in decoder.blocks]
    matrices[0] = (first.first.matrix[order].contiguous(), first.second.matrix)
    assert all(block.shortcut is None for block in decoder.blocks[1:])
    return first.shortcut[order].contiguous(), matrices
