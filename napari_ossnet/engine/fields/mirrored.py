"""A scan and its mirror image, both asked: the mean of two answers, at twice the cost.

Heads are nearly symmetric, so a network that was trained with mirrored scans answers the same question twice with
errors of its own each time. One that was trained on one side only, such as a crop of the left hippocampus, does not.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from napari_ossnet.engine.events import Progress
from napari_ossnet.engine.fields.build import build_field
from napari_ossnet.engine.fields.protocol import OccupancyField
from napari_ossnet.engine.scans.preparation import PreparedVolume
from napari_ossnet.engine.task_definition import Task
from napari_ossnet.engine.tensors import Locations, Logits


class MirroredField:
    """The mean of a field's logits and those of the mirror image's field at the mirrored location.

    Args of the constructor:
        field: Of the scan; kept as ``field``.
        mirror: Of its mirror image.
        axis: Of the grid, across which it was mirrored.
        size: Grid voxels along it.
    """

    def __init__(self, field: OccupancyField, mirror: OccupancyField, axis: int, size: int) -> None:
        self.field = field
        self._mirror = mirror
        self._axis = axis
        self._last = size - 1
        self.device = field.device
        self.class_count = field.class_count
        self.bytes_per_location = field.bytes_per_location + mirror.bytes_per_location

    def query(self, locations: Locations) -> Logits:
        """Logits (n, class_count) float32 of locations (n, 3), grid frame."""
        return (self.field.query(locations) + self._mirror.query(self._mirrored(locations))) / 2

    def prior(self, locations: Locations) -> Tensor | None:
        """Where either encoder says "may be occupied", (n,) bool."""
        priors = (self.field.prior(locations), self._mirror.prior(self._mirrored(locations)))
        return None if priors[0] is None or priors[1] is None else priors[0] | priors[1]

    def _mirrored(self, locations: Locations) -> Locations:
        mirrored = locations.clone()
        mirrored[:, self._axis] = self._last - mirrored[:, self._axis]
        return mirrored


def build_mirrored_field(
    network: nn.Module, prepared: PreparedVolume, *, device: torch.device, memory_bytes: int | None
) -> Generator[Progress, None, MirroredField]:
    """Encodes a scan and its mirror image; the arguments and errors are those of ``build_field``."""
    axis = left_right_axis(prepared.task)
    half = None if memory_bytes is None else memory_bytes // 2
    field = yield from build_field(network, prepared, device=device, memory_bytes=half)
    mirror = yield from build_field(network, mirror_image(prepared, axis), device=device, memory_bytes=half)
    return MirroredField(field, mirror, axis, prepared.grid_shape[1 + axis])


def left_right_axis(task: Task) -> int:
    """Which of the grid's axes runs from one side of the body to the other."""
    return next(axis for axis, letter in enumerate(task.axes) if letter in "LR")


def mirror_image(prepared: PreparedVolume, axis: int) -> PreparedVolume:
    """The same grid with its voxels in the opposite order along an axis; only a network may look at it."""
    size = prepared.grid_shape[1 + axis]
    start, stop = list(prepared.box_start), list(prepared.box_stop)
    start[axis], stop[axis] = size - prepared.box_stop[axis], size - prepared.box_start[axis]
    return replace(
        prepared,
        voxels=np.ascontiguousarray(np.flip(prepared.grid, 1 + axis)),
        box_start=(start[0], start[1], start[2]),
        box_stop=(stop[0], stop[1], stop[2]),
    )
