"""Asking a network for whole masks and for locations the way the product does: through the engine's fields."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from napari_ossnet.engine.fields.build import build_field
from napari_ossnet.engine.fields.protocol import OccupancyField
from napari_ossnet.engine.geometry import Lattice, Orientation
from napari_ossnet.engine.refining.refinement import refine
from napari_ossnet.engine.tasks import PreparedVolume, Task
from napari_ossnet.engine.volume import Volume
from ossnet_training.losses import predicted_classes

T = TypeVar("T")


def finish(steps: Generator[Any, None, T]) -> T:
    """The result of an engine generator whose events nobody watches."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


def field_of(network: nn.Module, task: Task, grid: np.ndarray, device: torch.device) -> OccupancyField:
    """A network on a prepared grid (channels, i, j, k), as a field.

    Args:
        network: In evaluation mode.
        task: The grid's.
        grid: As cached: prepared, any float type.
        device: Where to answer.
    """
    identity = np.eye(4)
    shape = (grid.shape[1], grid.shape[2], grid.shape[3])
    grid = np.asarray(grid, dtype=np.float32)
    prepared = PreparedVolume(
        task=task,
        volume=Volume(data=grid, affine=identity, channel_names=task.modality_names),
        voxels=grid,
        grid_affine=identity,
        lattice=Lattice(shape=shape, to_grid=identity, affine=identity),
        orientation=Orientation.between(identity, shape, "RAS"),
        box_start=task.box_start,
        box_stop=box_stop(task),
    )
    return finish(build_field(network, prepared, device=device))


def dense_classes(field: OccupancyField, lattice: Lattice, step: int = 1) -> Tensor:
    """Class numbers of all points of a lattice, uint8, by the octree down to ``step`` voxels."""
    return finish(refine(field, lattice, final_step=step)).labels


def grid_lattice(task: Task) -> Lattice:
    """The voxels of the network's own grid as a lattice."""
    return Lattice(shape=task.grid_shape, to_grid=np.eye(4), affine=np.eye(4))


@torch.no_grad()
def classes_at_locations(field: OccupancyField, locations: Tensor, chunk: int = 16384) -> Tensor:
    """Class numbers (n,), uint8, at grid locations (n, 3)."""
    return torch.cat([predicted_classes(field.query(part.float())) for part in locations.to(field.device).split(chunk)])


def box_stop(task: Task) -> tuple[int, int, int]:
    """The grid voxel after the last one that a scan may fill."""
    i, j, k = (start + size for start, size in zip(task.box_start, task.box_shape, strict=True))
    return i, j, k
