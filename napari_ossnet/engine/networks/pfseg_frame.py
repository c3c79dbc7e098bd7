"""Between a task's grid and PFSeg's images: cropping, resizing and scaling as published, and the way back.

The published code crops a BraTS scan, puts its slices first and resizes them linearly with corner meeting corner
(``scipy.ndimage.zoom`` of order 1), once to the input and once to the output; each is scaled to [0, 1] by its own
minimum and maximum. A z-scored grid gives the same images as the raw scan, because that scaling undoes the z-score.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from napari_ossnet.engine.networks.pfseg import PFSegConfig, Triple
from napari_ossnet.engine.shapes import Affine


@dataclass(frozen=True, slots=True, kw_only=True)
class PFSegImages:
    """What PFSeg takes in and is trained against, for a batch of grids; everything from 0 to 1."""

    #: Half-size, (b, 1, input shape).
    low_resolution: Tensor
    #: Full-size, (b, 1, output shape): where guidance is cropped, and what super-resolution aims at.
    full_resolution: Tensor


def grid_images(config: PFSegConfig, grids: Tensor) -> PFSegImages:
    """PFSeg's images of normalised grids (b, channels, i, j, k)."""
    return channel_images(config, grids[:, config.channel : config.channel + 1])


def channel_images(config: PFSegConfig, channels: Tensor) -> PFSegImages:
    """The same from the one channel that counts, (b, 1, i, j, k)."""
    box = _boxed(config, channels)
    return PFSegImages(
        low_resolution=_scaled(_resized(box, config.input_shape)),
        full_resolution=_scaled(_resized(box, config.output_shape)),
    )


def output_labels(config: PFSegConfig, labels: Tensor) -> Tensor:
    """Labels (b, i, j, k) of the grid on PFSeg's output (b, *output shape), by the nearest voxel."""
    box = _boxed(config, labels)
    for axis, (extent, length) in enumerate(zip(config.output_shape, box.shape[1:], strict=True), start=1):
        places = torch.linspace(0, length - 1, extent, dtype=torch.float64).round().long()
        box = box.index_select(axis, places.to(box.device))
    return box


def crop_guidance(config: PFSegConfig, full_resolution: Tensor, start: Triple | None = None) -> Tensor:
    """The guidance (b, 1, guidance shape) that begins at voxel ``start`` of the full-size images; centred without."""
    i, j, k = start or centred_start(config)
    size = config.guidance_shape
    return full_resolution[:, :, i : i + size[0], j : j + size[1], k : k + size[2]]


def centred_start(config: PFSegConfig) -> Triple:
    """Where a centred guidance begins, as published."""
    i, j, k = (extent // 2 - size // 2 for extent, size in zip(config.output_shape, config.guidance_shape, strict=True))
    return i, j, k


def start_around(config: PFSegConfig, occupancy: Tensor) -> Triple:
    """Where a guidance begins that is centred on an object, moved inside the image; centred without an object.

    Args:
        config: Of the network.
        occupancy: Whether each output voxel belongs to the object, (i, j, k) bool.
    """
    places = occupancy.nonzero()
    if not len(places):
        return centred_start(config)
    centre = places.float().mean(0).round().long().tolist()
    i, j, k = (
        min(max(0, middle - size // 2), extent - size)
        for middle, size, extent in zip(centre, config.guidance_shape, config.output_shape, strict=True)
    )
    return i, j, k


def output_locations(config: PFSegConfig, locations: Tensor) -> Tensor:
    """Locations (..., 3) of the grid in the frame of PFSeg's output."""
    order = list(config.axes)
    start = locations.new_tensor(config.box_start)[order]
    length = locations.new_tensor(config.box_stop)[order] - start - 1
    last = locations.new_tensor(config.output_shape) - 1
    return (locations[..., order] - start) * (last / length)


def is_in_box(config: PFSegConfig, locations: Tensor) -> Tensor:
    """Which locations (..., 3) of the grid lie in the part that PFSeg sees, half a voxel around included."""
    start, stop = locations.new_tensor(config.box_start), locations.new_tensor(config.box_stop)
    return ((locations >= start - 0.5) & (locations <= stop - 0.5)).all(-1)


def grid_from_output(config: PFSegConfig) -> Affine:
    """The affine from voxels of PFSeg's output to locations of the grid."""
    affine = np.zeros((4, 4))
    affine[3, 3] = 1.0
    for place, axis in enumerate(config.axes):
        length = config.box_stop[axis] - config.box_start[axis] - 1
        affine[axis, place] = length / (config.output_shape[place] - 1)
        affine[axis, 3] = config.box_start[axis]
    return affine


def _boxed(config: PFSegConfig, arrays: Tensor) -> Tensor:
    """The box of arrays (..., i, j, k), in the network's axis order."""
    leading = arrays.ndim - 3
    for axis, (start, stop) in enumerate(zip(config.box_start, config.box_stop, strict=True), start=leading):
        arrays = arrays.narrow(axis, start, stop - start)
    return arrays.permute(*range(leading), *(leading + axis for axis in config.axes))


def _resized(box: Tensor, shape: Triple) -> Tensor:
    return functional.interpolate(box.float(), size=shape, mode="trilinear", align_corners=True)


def _scaled(images: Tensor) -> Tensor:
    """Each image by its own minimum and maximum; a constant one becomes zero."""
    low, high = images.amin(dim=(1, 2, 3, 4), keepdim=True), images.amax(dim=(1, 2, 3, 4), keepdim=True)
    return (images - low) / (high - low).clamp(min=1e-12)
