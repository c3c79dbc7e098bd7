"""Owns the way from a lattice, whose axes are the task's, back to the scan: labels, snapshots, boxes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from napari_ossnet.engine.events import Snapshot
from napari_ossnet.engine.geometry import Lattice, Orientation, scaling_affine, voxel_to_world
from napari_ossnet.engine.refining.lattice_snapshot import LatticeSnapshot
from napari_ossnet.engine.results.segmentation import RegionOfScan
from napari_ossnet.engine.shapes import Affine, LabelMap
from napari_ossnet.engine.task_definition import Task
from napari_ossnet.engine.volume import Volume

Triple = tuple[int, int, int]
#: Digits to which sample positions in scan voxels are rounded, so that whole voxels come out whole.
_DIGITS = 9


@dataclass(frozen=True, kw_only=True)
class ScanFrame:
    """Brings what was found on one lattice into the order and the frame of the scan.

    Attributes:
        volume: The scan.
        orientation: How its axes map to the task's.
        lattice: Where labels were asked for: the scan's voxels, a box of them, or a finer region.
        task: Its classes' labels stand in the masks.
    """

    volume: Volume
    orientation: Orientation
    lattice: Lattice
    task: Task

    @property
    def class_labels(self) -> tuple[int, ...]:
        """The label in the mask of every foreground class, in the network's order."""
        return tuple(item.label for item in self.task.classes)

    def labels(self, classes: np.ndarray) -> LabelMap:
        """The mask in the scan's axis order, of classes in the lattice's; its voxels are the lattice's points."""
        table = np.array([0, *self.class_labels], dtype=np.uint8)
        in_order = self.orientation.to_scan(classes)
        is_same = np.array_equal(table, np.arange(len(table)))
        return np.ascontiguousarray(in_order if is_same else table[in_order])

    def scan_from_samples(self, steps: Triple, shape_task: Triple) -> Affine:
        """Sample index in scan order to scan voxel: diagonal, and the offset is the first sample's voxel.

        Args:
            steps: Lattice points from sample to sample, along the lattice's axes.
            shape_task: Samples along the lattice's axes.
        """
        turned = self._turned(shape_task)
        to_lattice = scaling_affine(steps, (0, 0, 0)) @ np.linalg.inv(turned.scan_from_task)
        return np.round(np.linalg.inv(self.volume.affine) @ self.lattice.affine @ to_lattice, _DIGITS)

    def snapshot(self, found: LatticeSnapshot, elapsed_s: float) -> Snapshot:
        """The snapshot in the scan's axis order, on the host.

        Args:
            found: As the refinement gave it.
            elapsed_s: Since the run began, encoding included.
        """
        i, j, k = found.labels.shape
        scan_from_samples = self.scan_from_samples(found.steps, (i, j, k))
        first = scan_from_samples[:3, 3]
        spread = np.diag(scan_from_samples)[:3]
        low, high = self._bounds(found.steps, (i, j, k))
        return Snapshot(
            step=float(spread.max()),
            steps=(float(spread[0]), float(spread[1]), float(spread[2])),
            labels=self.labels(found.labels.cpu().numpy()),
            first_voxel=(float(first[0]), float(first[1]), float(first[2])),
            affine=self.volume.affine @ scan_from_samples,
            bounds=((low[0], low[1], low[2]), (high[0], high[1], high[2])),
            band_samples=self._turned((i, j, k)).scan_indices(found.band_samples.cpu().numpy()).astype(np.int32),
            band_logits=found.band_logits.float().cpu().numpy(),
            threshold=found.threshold,
            class_labels=self.class_labels,
            evaluated_locations=found.evaluated_locations,
            elapsed_s=elapsed_s,
            is_final=found.is_final,
        )

    def _bounds(self, steps: Triple, shape_task: Triple) -> tuple[list[float], list[float]]:
        """The outer faces of the lattice's voxels, in samples of the scan's order."""
        corners = np.array([np.full(3, -0.5), np.array(self.lattice.shape) - 0.5]) / steps
        turned = voxel_to_world(self._turned(shape_task).scan_from_task, corners)
        return turned.min(axis=0).tolist(), turned.max(axis=0).tolist()

    def _turned(self, shape_task: Triple) -> Orientation:
        """The scan's orientation, for an array of another shape."""
        order = np.argsort(self.orientation.scan_axes)
        i, j, k = (shape_task[axis] for axis in order)
        return replace(self.orientation, scan_shape=(i, j, k))


def region_affine(affine: Affine, region: RegionOfScan, shape: tuple[int, ...]) -> Affine:
    """Voxel of a region's mask to world, RAS mm: its voxels tile the box of scan voxels, outer face to outer face."""
    i, j, k = ((stop - start) / size for start, stop, size in zip(region.start, region.stop, shape, strict=True))
    a, b, c = (start - 0.5 + 0.5 * scale for start, scale in zip(region.start, (i, j, k), strict=True))
    return affine @ scaling_affine((i, j, k), (a, b, c))


def region_lattice(lattice: Lattice, orientation: Orientation, region: RegionOfScan) -> Lattice:
    """The finer lattice of a region, in task order.

    Raises:
        InputError: The box is empty or leaves the scan, or the factor is below 1.
    """
    start, stop = box_in_task_order(orientation, region.start, region.stop)
    return lattice.region(start, stop, region.factor)


def box_in_task_order(orientation: Orientation, start: Triple, stop: Triple) -> tuple[Triple, Triple]:
    """A half-open box of scan voxels as one in task order."""
    corners = orientation.task_indices(np.array([start, [last - 1 for last in stop]]))
    low, high = corners.min(axis=0), corners.max(axis=0) + 1
    return (int(low[0]), int(low[1]), int(low[2])), (int(high[0]), int(high[1]), int(high[2]))


def cropped(lattice: Lattice, start: Triple, stop: Triple) -> Lattice:
    """The lattice's points from ``start`` up to, not including, ``stop``."""
    i, j, k = (last - first for first, last in zip(start, stop, strict=True))
    shift = scaling_affine((1, 1, 1), start)
    return Lattice(shape=(i, j, k), to_grid=lattice.to_grid @ shift, affine=lattice.affine @ shift)
