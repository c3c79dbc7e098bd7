"""Owns the numbers that a mask is asked for: volume, surface area, largest diameter, for the whole and each class."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ossnet.engine.shapes import Affine, LabelMap, VerticesWorld
from napari_ossnet.engine.surfaces.surface import extraction

if TYPE_CHECKING:
    from napari_ossnet.engine.events import Snapshot
    from napari_ossnet.engine.tasks import Task

#: Up to this many points every pair is compared.
_FEW_POINTS = 2000
#: Directions in which extreme points are looked for among more: half a sphere, about 9 degrees apart.
_DIRECTIONS = 250
#: Pairs from which a longer one is looked for.
_STARTS = 8
#: Numbers that a table of distances or projections holds at once.
_TABLE = 2**22


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """The numbers of one class, or of all classes together."""

    name: str
    title: str
    #: The class's label in the mask; None for all classes together.
    label: int | None
    voxels: int
    #: From the mask: voxels times their size.
    volume_ml: float
    #: Inside the surface that the logits draw, finer than a voxel.
    field_volume_ml: float
    surface_area_cm2: float
    #: The largest distance between two points of the surface.
    max_diameter_mm: float

    def as_dict(self) -> dict[str, Any]:
        """The numbers as plain JSON values."""
        return asdict(self)


def measure(
    labels: LabelMap, affine: Affine, task: Task, snapshot: Snapshot
) -> Generator[None, None, tuple[Measurement, ...]]:
    """The numbers of the whole object, then of each class where there are several; it pauses now and then.

    Args:
        labels: The mask.
        affine: Its voxels to world, RAS mm.
        task: Its classes.
        snapshot: The last step, from whose logits the surface is drawn.
    """
    whole = yield from _measure_one(labels, affine, snapshot, "whole", "Whole object", None)
    if len(task.classes) == 1:
        return (replace(whole, name=task.classes[0].name, title=task.classes[0].title),)
    found = [whole]
    for item in task.classes:
        found.append((yield from _measure_one(labels, affine, snapshot, item.name, item.title, item.label)))
    return tuple(found)


def _measure_one(
    labels: LabelMap, affine: Affine, snapshot: Snapshot, name: str, title: str, label: int | None
) -> Generator[None, None, Measurement]:
    mesh = yield from extraction(snapshot, label)
    voxels = count_voxels(labels, label)
    yield
    return Measurement(
        name=name,
        title=title,
        label=label,
        voxels=voxels,
        volume_ml=voxels * voxel_volume_ml(affine),
        field_volume_ml=mesh.volume_mm3 / 1000.0,
        surface_area_cm2=mesh.area_mm2 / 100.0,
        max_diameter_mm=max_diameter_mm(mesh.vertices_world),
    )


def voxel_volume_ml(affine: Affine) -> float:
    """The volume of one voxel in millilitres: the affine's determinant in cubic millimetres, by 1000."""
    return float(abs(np.linalg.det(affine[:3, :3]))) / 1000.0


def count_voxels(labels: LabelMap, label: int | None) -> int:
    """The number of voxels with this label, of any label where it is None."""
    return int(np.count_nonzero(labels if label is None else labels == label))


def max_diameter_mm(vertices_world: VerticesWorld) -> float:
    """The largest distance between any two of the points (n, 3); 0 for fewer than two.

    Of many points only those are compared that lie farthest out in one of many directions, and from the longest of
    their pairs on each end is moved to the point farthest from the other until nothing is gained. The pair farthest
    apart is farthest out along its own line, so that even without the second part no more than 0.4 % were missed
    (1 - cos of the largest gap between directions).
    """
    points = np.asarray(vertices_world, dtype=np.float64)
    if len(points) <= _FEW_POINTS:
        return max((length for length, _, _ in _longest_pairs(points, 1)), default=0.0)
    extremes = points[_extreme_points(points - points.mean(axis=0))]
    starts = _longest_pairs(extremes, _STARTS)
    return max((_stretched(points, extremes[start], length) for length, start, _ in starts), default=0.0)


def _longest_pairs(points: np.ndarray, count: int) -> list[tuple[float, int, int]]:
    """The longest distance from each of the points that have the longest ones: length and the two indices."""
    if len(points) < 2:
        return []
    farthest = np.zeros(len(points))
    partner = np.zeros(len(points), dtype=int)
    rows = max(1, _TABLE // len(points))
    for start in range(0, len(points), rows):
        part = points[start : start + rows]
        squares = ((part[:, None, :] - points[None, :, :]) ** 2).sum(axis=2)
        partner[start : start + rows] = squares.argmax(axis=1)
        farthest[start : start + rows] = np.sqrt(squares.max(axis=1))
    order = np.argsort(-farthest)[:count]
    return [(float(farthest[index]), int(index), int(partner[index])) for index in order]


def _stretched(points: np.ndarray, end: np.ndarray, length: float) -> float:
    """The length that is reached by going from an end to the point farthest from it, over and over."""
    while True:
        distances = np.linalg.norm(points - end, axis=1)
        farthest = int(distances.argmax())
        if distances[farthest] <= length * (1 + 1e-12):
            return max(length, float(distances[farthest]))
        length, end = float(distances[farthest]), points[farthest]


def _extreme_points(points: np.ndarray) -> np.ndarray:
    """Indices of the points (n, 3) that are first or last in any of the directions."""
    directions = _half_sphere(_DIRECTIONS).astype(np.float32)
    points = np.ascontiguousarray(points.T, dtype=np.float32)
    found = []
    rows = max(1, _TABLE // points.shape[1])
    for start in range(0, len(directions), rows):
        along = directions[start : start + rows] @ points
        found += [along.argmax(axis=1), along.argmin(axis=1)]
    return np.unique(np.concatenate(found))


def _half_sphere(count: int) -> np.ndarray:
    """Directions (n, 3) spread evenly over the upper half sphere: a golden-angle spiral."""
    index = np.arange(count) + 0.5
    z = index / count
    angle = np.pi * (1 + 5**0.5) * index
    radius = np.sqrt(1 - z**2)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), z], axis=1)
