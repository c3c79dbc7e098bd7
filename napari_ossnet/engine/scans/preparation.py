"""Owns the way from a scan to the network's grid, and back: orientation, resampling, placement, normalisation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.geometry import Lattice, Orientation, scaling_affine, spacing_of
from napari_ossnet.engine.scans.channels import for_each_channel
from napari_ossnet.engine.scans.foreground import Foreground, find_foreground
from napari_ossnet.engine.scans.resampling import resample_axis, resize_trilinear
from napari_ossnet.engine.scans.scan_checks import refuse_unusable
from napari_ossnet.engine.scans.scan_grid import ScanGrid
from napari_ossnet.engine.shapes import Affine, GridData, ScanData
from napari_ossnet.engine.task_definition import Task, Triple
from napari_ossnet.engine.volume import Volume

#: Voxel sizes closer to the task's than this share count as equal: resampling would only blur.
_SPACING_TOLERANCE = 0.01
#: Planes that are normalised at once, so that the float64 work space stays small.
_SLAB = 16


@dataclass(frozen=True, kw_only=True)
class PreparedVolume:
    """A scan in the network's grid, and the way back.

    Attributes:
        task: The task that it was prepared for.
        volume: The scan as it was given.
        voxels: The network's grid, normalised and padded, or the scan that is the grid once it is normalised.
        grid_affine: Grid voxel to world position, RAS mm.
        lattice: The scan's own voxels in the task's axis order; it may reach beyond the grid.
        orientation: How the scan's axes map to the task's.
        box_start: First grid voxel that the scan may fill; outside of the box the grid is padding.
        box_stop: Grid voxel after the last one that the scan may fill.
    """

    task: Task
    volume: Volume
    voxels: GridData | ScanGrid
    grid_affine: Affine
    lattice: Lattice
    orientation: Orientation
    box_start: Triple
    box_stop: Triple

    @cached_property
    def grid(self) -> GridData:
        """The network's grid, float32 (channels, I, J, K), normalised and padded; made when it is first asked for."""
        return self.voxels.whole() if isinstance(self.voxels, ScanGrid) else self.voxels

    @property
    def grid_shape(self) -> tuple[int, int, int, int]:
        """Channels and voxels of the grid."""
        channels, i, j, k = self.voxels.shape
        return channels, i, j, k

    def encoder_input(self) -> GridData:
        """The grid at half its size, float32, each voxel the mean of 2^3.

        The same as the published trilinear resize to half with align_corners=False (spec section 3).
        """
        half = np.zeros((self.grid.shape[0], *(size // 2 for size in self.grid.shape[1:])), dtype=np.float32)
        for corner in np.ndindex(2, 2, 2):
            half += self.grid[(slice(None), *(slice(first, None, 2) for first in corner))]
        half *= np.float32(0.125)
        return half

    def covered_box(self, lattice: Lattice | None = None) -> tuple[Triple, Triple]:
        """The lattice points that lie in the grid's box, first and one past the last; outside is background.

        Args:
            lattice: A lattice in the same frame, such as a finer region; the scan's own by default.
        """
        lattice = lattice or self.lattice
        scale, offset = np.diag(lattice.to_grid)[:3], lattice.to_grid[:3, 3]
        # Half a grid voxel beyond the outermost centres still belongs to the box.
        first = np.ceil((np.asarray(self.box_start) - 0.5 - offset) / scale - 1e-6)
        last = np.floor((np.asarray(self.box_stop) - 0.5 - offset) / scale + 1e-6)
        start = np.clip(first, 0, lattice.shape).astype(int)
        stop = np.clip(last + 1, start, lattice.shape).astype(int)
        return (int(start[0]), int(start[1]), int(start[2])), (int(stop[0]), int(stop[1]), int(stop[2]))


def prepare(task: Task, volume: Volume) -> PreparedVolume:
    """The scan in the network's grid, as spec section 3 has it for the published shapes and for any other.

    Raises:
        InputError: The scan can't be used for the task (see ``scan_checks``).
    """
    refuse_unusable(task, volume)
    orientation = Orientation.between(volume.affine, volume.shape, task.axes)
    affine = volume.affine @ orientation.scan_from_task
    oriented = orientation.to_task(volume.data)
    if task.placement == "resize":
        voxels, to_grid = _resized(task, oriented)
    else:
        voxels, to_grid = _placed(task, np.ascontiguousarray(oriented), spacing_of(affine))
    i, j, k = (start + size for start, size in zip(task.box_start, task.box_shape, strict=True))
    return PreparedVolume(
        task=task,
        volume=volume,
        voxels=voxels,
        grid_affine=affine @ np.linalg.inv(to_grid),
        lattice=Lattice(shape=orientation.task_shape, to_grid=to_grid, affine=affine),
        orientation=orientation,
        box_start=task.box_start,
        box_stop=(i, j, k),
    )


def _resized(task: Task, oriented: ScanData) -> tuple[GridData | ScanGrid, Affine]:
    """The scan stretched over the whole grid; normalised by the statistics of the scan itself, as published.

    An axis of more voxels than the grid's is looked up like any other, without smoothing, although slices are then
    passed over: the published networks were trained on such scans resized in this very way.
    """
    statistics = [mean_and_deviation(channel) for channel in oriented]
    if oriented.shape[1:] == task.grid_shape:
        _refuse_constant(deviation for _, deviation in statistics)
        return ScanGrid(oriented, statistics), np.eye(4)
    grid = resize_trilinear(oriented, task.grid_shape)
    for channel, (mean, deviation) in zip(grid, statistics, strict=True):
        # After the resize rather than before: the two commute, and this needs no second copy of the scan.
        _normalise(channel, mean, deviation)
    scale = [size / length for size, length in zip(task.grid_shape, oriented.shape[1:], strict=True)]
    # align_corners=False: faces meet faces, (i + 1/2) * scale = g + 1/2.
    return grid, scaling_affine(
        (scale[0], scale[1], scale[2]), (0.5 * scale[0] - 0.5, 0.5 * scale[1] - 0.5, 0.5 * scale[2] - 0.5)
    )


def _placed(task: Task, oriented: ScanData, spacing_mm: tuple[float, float, float]) -> tuple[GridData, Affine]:
    """The scan at the task's spacing in the box inside the grid, normalised, with zeros around the box."""
    scale = _scales(task, spacing_mm)
    background: tuple[float, ...] = (0.0,) * task.channels
    centre: tuple[float, ...] = tuple((size - 1) / 2 for size in oriented.shape[1:])
    if task.placement == "foreground":
        foreground = find_foreground(oriented)
        background = foreground.background
        if oriented.shape[1:] != task.box_shape or scale != (1.0, 1.0, 1.0):
            centre = _foreground_centre(task, foreground, scale)
    offset = _offsets(task, centre, scale)
    grid = np.zeros((task.channels, *task.grid_shape), dtype=np.float32)
    box = grid[(slice(None), *(slice(a, a + size) for a, size in zip(task.box_start, task.box_shape, strict=True)))]
    parts = [
        _covered(size, s, o, length)
        for size, s, o, length in zip(oriented.shape[1:], scale, offset, task.box_shape, strict=True)
    ]
    filled = box[(slice(None), *(slice(first, last) for first, last in parts))]
    if 0 in filled.shape:
        raise InputError("The scan does not overlap the network's grid; crop it around its anatomy.")

    def place(channel: int) -> None:
        if task.scan_shape is not None:
            box[channel] = background[channel]
        filled[channel] = _resampled(oriented[channel], scale, offset, parts)
        # The published box is normalised with its background, before it is padded; without one, the scan alone is.
        placed = box[channel] if task.scan_shape is not None else filled[channel]
        _normalise(placed, *mean_and_deviation(placed))

    for_each_channel(place, range(task.channels))
    i, j, k = (start + o for start, o in zip(task.box_start, offset, strict=True))
    return grid, scaling_affine(scale, (i, j, k))


def _scales(task: Task, spacing_mm: tuple[float, float, float]) -> tuple[float, float, float]:
    """Grid voxels a scan voxel along each task axis; 1 where the two are as good as equal."""
    if task.spacing_mm is None:
        raise InputError(
            f"The task '{task.name}' has no spacing but is not resized; its definition contradicts itself."
        )
    ratios = (found / wanted for found, wanted in zip(spacing_mm, task.spacing_mm, strict=True))
    i, j, k = (1.0 if abs(ratio - 1.0) < _SPACING_TOLERANCE else ratio for ratio in ratios)
    return i, j, k


def _offsets(task: Task, centre: tuple[float, ...], scale: tuple[float, float, float]) -> tuple[float, float, float]:
    """Box location of the scan's first voxel such that the scan location ``centre`` comes to the box's centre.

    At the task's own spacing the shift is made whole (an odd voxel goes before), so that nothing is interpolated
    without need.
    """
    exact = [(box - 1) / 2 - s * c for box, s, c in zip(task.box_shape, scale, centre, strict=True)]
    i, j, k = (
        float(np.ceil(offset - 1e-6)) if s == 1.0 else float(offset) for offset, s in zip(exact, scale, strict=True)
    )
    return i, j, k


def _foreground_centre(
    task: Task, foreground: Foreground, scale: tuple[float, float, float]
) -> tuple[float, float, float]:
    """The scan location, in voxels of the oriented scan, that belongs at the centre of the box.

    The middle of the foreground; along the body's long axis, where the foreground is taller than the box (a head that
    is not skull-stripped, with its neck), the place that brings the top of the head to the top of the box.
    """
    centre = [(start + stop - 1) / 2 for start, stop in zip(foreground.start, foreground.stop, strict=True)]
    for axis, letter in enumerate(task.axes):
        half_box = task.box_shape[axis] / scale[axis] / 2
        if foreground.stop[axis] - foreground.start[axis] > 2 * half_box:
            if letter == "S":
                centre[axis] = foreground.stop[axis] - 0.5 - half_box
            elif letter == "I":
                centre[axis] = foreground.start[axis] - 0.5 + half_box
    return centre[0], centre[1], centre[2]


def _covered(size: int, scale: float, offset: float, box: int) -> tuple[int, int]:
    """First box voxel, and one past the last, whose centre lies within the scan's ``size`` voxels on one axis."""
    first = int(np.ceil(offset - 0.5 * scale - 1e-6))
    last = int(np.floor(offset + (size - 0.5) * scale - 1e-6))
    start = min(max(first, 0), box)
    return start, max(min(last + 1, box), start)


def _resampled(
    channel: np.ndarray, scale: tuple[float, ...], offset: tuple[float, ...], parts: list[tuple[int, int]]
) -> np.ndarray:
    """A channel (i, j, k) of the oriented scan at the box voxels of ``parts``."""
    for axis, (s, o, (first, last)) in enumerate(zip(scale, offset, parts, strict=True)):
        if s == 1.0:
            steps = [slice(None)] * 3
            steps[axis] = slice(first - int(o), last - int(o))
            channel = channel[tuple(steps)]
        else:
            channel = resample_axis(channel, axis, (np.arange(first, last) - o) / s)
    return channel


def mean_and_deviation(channel: np.ndarray) -> tuple[float, float]:
    """Mean and unbiased standard deviation of a channel (spec section 3), summed in float64 slab by slab."""
    slabs = [channel[first : first + _SLAB] for first in range(0, len(channel), _SLAB)]
    mean = sum(float(slab.sum(dtype=np.float64)) for slab in slabs) / channel.size
    squares = sum(float(np.square(slab - np.float64(mean), dtype=np.float64).sum()) for slab in slabs)
    return mean, float(np.sqrt(squares / (channel.size - 1)))


def _normalise(channel: np.ndarray, mean: float, deviation: float) -> None:
    """Z-score a channel in place."""
    _refuse_constant([deviation])
    channel -= np.float32(mean)
    channel /= np.float32(deviation)


def _refuse_constant(deviations: Iterable[float]) -> None:
    if min(deviations) <= 0:
        raise InputError("An image is constant where the network looks; check that all images show the same anatomy.")
