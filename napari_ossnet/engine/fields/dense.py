"""Residual U-Nets on one scan: logits of the whole grid, computed at once, in tiles or in slices, as a field.

A tile's group norms see the tile alone. So a network that was trained by tiles answers in tiles of their size, blended
where they overlap. Another computes the grid at once where the memory budget allows, and otherwise in as few tiles as
fit; the answer then differs slightly near the seams.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Generator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from napari_ossnet.engine.device import free_memory_bytes
from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.events import Progress
from napari_ossnet.engine.fields.build import encoding_progress
from napari_ossnet.engine.fields.grid import GridField
from napari_ossnet.engine.networks.residual_u_net import ResidualUNet

if TYPE_CHECKING:
    from napari_ossnet.engine.scans.preparation import PreparedVolume

#: Voxels that neighbouring tiles share where the memory decides on their size.
OVERLAP = 32
#: Share of a tile's edge that neighbours have in common where the network decides on it (MONAI's default).
OVERLAP_SHARE = 0.25
#: Without a budget, the share of the free memory that the work may take.
FREE_SHARE = 0.5

Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


def build(
    network: ResidualUNet, prepared: PreparedVolume, *, device: torch.device, memory_bytes: int | None
) -> Generator[Progress, None, GridField]:
    """Compute a scan's logits; see ``build_field``.

    Raises:
        InputError: The scan has other channels than the network's.
    """
    config = network.config
    if prepared.grid.shape[0] != config.in_channels:
        raise InputError(
            f"The scan has {prepared.grid.shape[0]} channels, expected {config.in_channels}; "
            "these weights are for another task."
        )
    network = network.to(device).eval()
    grid = torch.from_numpy(prepared.grid).to(device)
    if memory_bytes is None:
        free = free_memory_bytes(device)
        memory_bytes = 2**31 if free is None else int(free * FREE_SHARE)
    voxels = max(network.factor**3, memory_bytes // network.bytes_per_voxel())
    passes = _slices(network, grid, voxels) if config.dimensions == 2 else _tiles(network, grid, voxels)
    started_at = time.perf_counter()
    while True:
        try:
            with torch.no_grad():
                share = next(passes)
        except StopIteration as stop:
            return GridField(stop.value)
        yield encoding_progress(started_at, share)


def _slices(network: ResidualUNet, grid: Tensor, voxels: int) -> Generator[float, None, Tensor]:
    """Logits (classes, i, j, k), as many slices at a time as ``voxels`` allows; yields the share that is done."""
    planes = grid.movedim(network.config.slice_axis + 1, 0)
    count = max(1, min(len(planes), voxels // planes[0, 0].numel()))
    parts: list[Tensor] = []
    for some in planes.split(count):
        steps = network.steps(some)
        part = yield from _shares(steps, network, len(parts) * count / len(planes), len(some) / len(planes))
        parts.append(part)
    return torch.cat(parts).movedim(0, network.config.slice_axis + 1)


def _tiles(network: ResidualUNet, grid: Tensor, voxels: int) -> Generator[float, None, Tensor]:
    """Logits (classes, i, j, k) from tiles of at most ``voxels``; yields the share that is done."""
    shape = (grid.shape[1], grid.shape[2], grid.shape[3])
    edge = network.config.tile_edge
    size, overlap = tile_size(shape, voxels, network.factor), OVERLAP
    if edge:
        # Less than a factor's voxels in common would leave gaps, since tiles begin at its multiples.
        size, overlap = (edge, edge, edge), max(network.factor, int(edge * OVERLAP_SHARE))
    boxes = tile_boxes(shape, size, overlap, network.factor)
    if len(boxes) == 1:
        return (yield from _shares(network.steps(grid[None]), network, 0.0, 1.0))[0]
    total = grid.new_zeros((network.config.classes, *shape))
    weight = grid.new_zeros(shape)
    for index, box in enumerate(boxes):
        place = tuple(slice(start, stop) for start, stop in box)
        steps = network.steps(grid[(slice(None), *place)][None])
        logits = yield from _shares(steps, network, index / len(boxes), 1 / len(boxes))
        ramp = _ramp(box, grid, overlap)
        total[(slice(None), *place)] += logits[0] * ramp
        weight[place] += ramp
    return total.div_(weight)


def _shares(
    steps: Generator[None, None, Tensor], network: ResidualUNet, done: float, share: float
) -> Generator[float, None, Tensor]:
    blocks = len(network.down) + len(network.up)
    for block in itertools.count(1):
        try:
            next(steps)
        except StopIteration as stop:
            yield done + share
            result: Tensor = stop.value
            break
        yield done + share * block / (blocks + 1)
    return result


def tile_size(shape: tuple[int, int, int], voxels: int, factor: int) -> tuple[int, int, int]:
    """Extents of the largest tile of at most ``voxels``; the grid's own where it fits.

    Args:
        shape: Of the grid.
        voxels: Of one tile; where not even the smallest tile fits, that one is used.
        factor: Extents are multiples of this many voxels.
    """
    size = list(shape)
    least = max(2 * OVERLAP, factor)
    while math.prod(size) > voxels and max(size) > least:
        longest = size.index(max(size))
        size[longest] = max(least, -(-(size[longest] // 2 + OVERLAP // 2) // factor) * factor)
        if size[longest] >= shape[longest]:
            break
    return size[0], size[1], size[2]


def tile_boxes(shape: tuple[int, int, int], size: tuple[int, int, int], overlap: int, factor: int) -> list[Box]:
    """Boxes that cover a grid and overlap by more than ``overlap`` less ``factor``; one box where the grid fits.

    Args:
        shape: Of the grid.
        size: Of a box.
        overlap: Voxels that neighbours share, at least ``factor``.
        factor: Boxes begin at multiples of this many voxels, but for the last.
    """
    axes = []
    for extent, length in zip(shape, size, strict=True):
        count = 1 if length >= extent else -(-(extent - overlap) // max(1, length - overlap))
        starts = [round((extent - length) * index / max(1, count - 1)) // factor * factor for index in range(count - 1)]
        starts.append(max(0, extent - length))
        axes.append([(start, min(extent, start + length)) for start in starts])
    return [(i, j, k) for i, j, k in itertools.product(*axes)]


def _ramp(box: Box, grid: Tensor, overlap: int) -> Tensor:
    """Weights of a tile's voxels: 1 inside, falling towards those faces that are not the grid's."""
    ramp = grid.new_ones(())
    for axis, (start, stop) in enumerate(box):
        place = torch.arange(stop - start, device=grid.device, dtype=grid.dtype)
        line = torch.ones_like(place)
        if start > 0:
            line = torch.minimum(line, (place + 1) / overlap)
        if stop < grid.shape[axis + 1]:
            line = torch.minimum(line, (stop - start - place) / overlap)
        ramp = ramp[..., None] * line
    return ramp
