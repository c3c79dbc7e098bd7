"""PFSeg on one scan: the logits of its output, computed stage by stage and, where they are large, slab by slab."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.events import Progress
from napari_ossnet.engine.fields.build import encoding_progress
from napari_ossnet.engine.fields.grid import GridField
from napari_ossnet.engine.networks.pfseg import SLOPE, DoubleConvolution, Output, PFSeg, PFSegEncoding, Triple
from napari_ossnet.engine.networks.pfseg_frame import (
    PFSegImages,
    centred_start,
    channel_images,
    crop_guidance,
    grid_from_output,
    is_in_box,
    output_locations,
    start_around,
)
from napari_ossnet.engine.tensors import Locations, Logits
from napari_ossnet.engine.volume import Volume

if TYPE_CHECKING:
    from napari_ossnet.engine.scans.preparation import PreparedVolume

#: Bytes that the features of one slab may take without a budget, and the share of a budget.
SLAB_BYTES = 2**26
SLAB_SHARE = 0.1
#: Logit of a location that PFSeg does not see, for or against the background.
CERTAIN = 20.0
#: What the field is called that shows the other decoder's image.
IMAGE_NAME = "super-resolved by PFSeg"

Steps = Generator[float, None, Tensor]


class PFSegField:
    """A grid of logits over the part of the scan that PFSeg sees; background elsewhere.

    Args of the constructor:
        network: In eval mode, on the logits' device.
        logits: (classes, *output shape).
        images: Of the scan; the super-resolved image is computed from them when it is asked for.
        guidance_start: First output voxel of the guidance that was used.
        slab_bytes: Of the finest features at a time.
    """

    def __init__(
        self, network: PFSeg, logits: Tensor, images: PFSegImages, guidance_start: Triple, slab_bytes: int
    ) -> None:
        self._network = network
        self._grid = GridField(logits)
        self._images = images
        self._slab_bytes = slab_bytes
        self.guidance_start = guidance_start
        self.device = logits.device
        self.class_count = logits.shape[0]
        self.bytes_per_location = self._grid.bytes_per_location + 64
        outside = torch.full((self.class_count,), -CERTAIN, device=logits.device)
        if self.class_count > 1:
            outside[0] = CERTAIN
        self._outside = outside

    @torch.no_grad()
    def query(self, locations: Locations) -> Logits:
        """Logits (n, classes) float32 of locations (n, 3), grid frame."""
        config = self._network.config
        logits = self._grid.query(output_locations(config, locations.to(torch.float32)))
        return torch.where(is_in_box(config, locations)[:, None], logits, self._outside)

    def prior(self, locations: Locations) -> Tensor | None:
        """None: a dense network has no cheaper opinion than its logits."""
        del locations
        return None

    def super_resolved(self, prepared: PreparedVolume) -> Generator[Progress, None, Volume]:
        """The image of the other decoder, 0 to about 1, as a volume of its own on the output's voxels.

        Args:
            prepared: The scan that this field was built from.
        """
        started_at = time.perf_counter()
        with torch.no_grad():
            guidance = crop_guidance(self._network.config, self._images.full_resolution, self.guidance_start)
            encoding = self._network.encode(self._images.low_resolution, guidance)
        image = yield from _reported(_decode(self._network, encoding, "sr", self._slab_bytes), started_at)
        return Volume(
            data=functional.relu(image).cpu().numpy(),
            affine=prepared.grid_affine @ grid_from_output(self._network.config),
            channel_names=(IMAGE_NAME,),
            sources=prepared.volume.sources,
            affine_codes=prepared.volume.affine_codes,
        )


def build(
    network: PFSeg, prepared: PreparedVolume, *, device: torch.device, memory_bytes: int | None
) -> Generator[Progress, None, PFSegField]:
    """Compute a scan's logits; see ``build_field``.

    Raises:
        InputError: The scan's grid is not the one that the network was made for.
    """
    config = network.config
    channels, *shape = prepared.grid.shape
    if channels <= config.channel or any(stop > extent for stop, extent in zip(config.box_stop, shape, strict=True)):
        raise InputError(
            f"The scan has {channels} channels of {' x '.join(map(str, shape))} voxels in the network's grid, expected "
            f"more than {config.channel} and at least {' x '.join(map(str, config.box_stop))}; "
            "these weights are for another task."
        )
    network = network.to(device).eval()
    slab_bytes = SLAB_BYTES if memory_bytes is None else min(SLAB_BYTES, int(memory_bytes * SLAB_SHARE))
    started_at = time.perf_counter()
    with torch.no_grad():
        channel = torch.from_numpy(prepared.grid[config.channel]).to(device)
        images = channel_images(config, channel[None, None])
    yield encoding_progress(started_at, 0.02)
    start = centred_start(config)
    logits = yield from _reported(_segment(network, images, start, slab_bytes), started_at)
    if config.guidance == "object":
        # The first pass, guided by the centre, says where the object is; the second is guided by its surroundings.
        seen = logits[0] > 0 if config.classes == 1 else logits.argmax(0) > 0
        start = start_around(config, seen)
        logits = yield from _reported(_segment(network, images, start, slab_bytes), started_at)
    return PFSegField(network, logits, images, start, slab_bytes)


def _segment(network: PFSeg, images: PFSegImages, start: Triple, slab_bytes: int) -> Steps:
    encoding = network.encode(images.low_resolution, crop_guidance(network.config, images.full_resolution, start))
    yield 0.2
    return (yield from _decode(network, encoding, "seg", slab_bytes))


def _decode(network: PFSeg, encoding: PFSegEncoding, output: Output, slab_bytes: int) -> Steps:
    """One decoder's output (channels, *output shape) before its last activation; yields the share that is done.

    The last stage holds 32 channels of full-size features. It is computed in slabs of planes with the halo that its
    convolutions need, and only what the norms need whole is kept: the result is that of the whole volume.
    """
    features = network.decode_to_input_size(encoding, output)
    yield 0.4
    block = network.part(f"conv10_{output}")
    assert isinstance(block, DoubleConvolution)
    raise_ = network.part(f"up10_{output}")
    planes = 2 * features.shape[2]
    count = max(2, slab_bytes // (features[0, 0, 0].numel() * 4 * 4 * features.shape[1]) // 2 * 2)
    spans = [(start, min(start + count, planes)) for start in range(0, planes, count)]
    hidden, shortcut = [], []
    for start, stop in spans:
        raised = _raised_planes(raise_, features, start - 1, stop + 1)
        hidden.append(_without_ends(block.conv[0], raised))
        shortcut.append(block.residual_upsampler[0](raised[:, :, 1:-1]))
        yield 0.4 + 0.4 * stop / planes
    normed = functional.leaky_relu_(block.conv[1](torch.cat(hidden, dim=2)), SLOPE)
    del hidden
    joined = block.residual_upsampler[1](torch.cat(shortcut, dim=2))
    del shortcut
    padded = functional.pad(normed, (0, 0, 0, 0, 1, 1))
    del normed
    second = []
    for start, stop in spans:
        second.append(_without_ends(block.conv[3], padded[:, :, start : stop + 2]))
        yield 0.8 + 0.2 * stop / planes
    del padded
    joined += block.conv[4](torch.cat(second, dim=2))
    result: Tensor = network.part(f"conv11_{output}")(functional.leaky_relu_(joined, SLOPE))[0]
    return result


def _raised_planes(doubling: nn.Module, features: Tensor, start: int, stop: int) -> Tensor:
    """Planes [start, stop) of the doubled features; zeros where they lie outside, as the convolution's padding is.

    Doubled plane p depends on the planes p // 2 - 1 to p // 2 + 1; one more on either side is cut off again.
    """
    planes = features.shape[2]
    first, last = max(0, start // 2 - 2), min(planes, stop // 2 + 3)
    raised = doubling(features[:, :, first:last])
    inner = raised[:, :, max(start, 0) - 2 * first : min(stop, 2 * planes) - 2 * first]
    return functional.pad(inner, (0, 0, 0, 0, max(0, -start), max(0, stop - 2 * planes)))


def _without_ends(convolution: nn.Module, planes: Tensor) -> Tensor:
    """A convolution of 3^3 whose padding along the first axis is already there."""
    assert isinstance(convolution, nn.Conv3d)
    return functional.conv3d(planes, convolution.weight, convolution.bias, padding=(0, 1, 1))


def _reported(steps: Steps, started_at: float) -> Generator[Progress, None, Tensor]:
    while True:
        try:
            with torch.no_grad():
                share = next(steps)
        except StopIteration as stop:
            result: Tensor = stop.value
            return result
        yield encoding_progress(started_at, share)
