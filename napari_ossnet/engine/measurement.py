"""Owns the numbers that a mask is asked for: volume, surface area, largest diameter, for the whole and each class."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ossnet.engine.shapes import Affine, LabelMap, VerticesWorld
from napari_ossnet.engine.surface import extract_surface

if TYPE_CHECKING:
    from napari_ossnet.engine.events import Snapshot
    from napari_ossnet.engine.tasks import Task

#: Rows of the distance table that are held at once: hulls have thousands of corners, not millions.
_ROWS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """The numbers of one class, or of all classes together."""

    name: str
    title: str
    #: The class's label in the mask; None for all classes together.
    label: int | None
    voxels: int
    volume_ml: float
    surface_area_cm2: float
    #: The largest distance between two points of the surface.
    max_diameter_mm: float

    def as_dict(self) -> dict[str, Any]:
        """The numbers as plain JSON values."""
        return asdict(self)


def measure(labels: LabelMap, affine: Affine, task: Task, snapshot: Snapshot) -> tuple[Measurement, ...]:
    """The numbers of the whole object, then of each class where there are several.

    Args:
        labels: The mask.
        affine: Its voxels to world, RAS mm.
        task: Its classes.
        snapshot: The last step, from whose logits the surface is drawn.
    """
    found = [_measure_one(labels, affine, snapshot, "whole", "Whole object", None)]
    if len(task.classes) == 1:
        found[0] = replace(found[0], name=task.classes[0].name, title=task.classes[0].title)
        return tuple(found)
    for item in task.classes:
        found.append(_measure_one(labels, affine, snapshot, item.name, item.title, item.label))
    return tuple(found)


def _measure_one(
    labels: LabelMap, affine: Affine, snapshot: Snapshot, name: str, title: str, label: int | None
) -> Measurement:
    mesh = extract_surface(snapshot, label)
    voxels = count_voxels(labels, label)
    return Measurement(
        name=name,
        title=title,
        label=label,
        voxels=voxels,
        volume_ml=voxels * voxel_volume_ml(affine),
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

    The two points that are farthest apart are corners of the convex hull, so only those are compared.
    """
    if len(vertices_world) < 2:
        return 0.0
    corners = _hull_corners(np.asarray(vertices_world, dtype=np.float64))
    farthest = 0.0
    for start in range(0, len(corners), _ROWS):
        differences = corners[start : start + _ROWS, None, :] - corners[None, start:, :]
        farthest = max(farthest, float((differences**2).sum(axis=2).max()))
    return float(np.sqrt(farthest))


def _hull_corners(points: np.ndarray) -> np.ndarray:
    from scipy.spatial import ConvexHull, QhullError

    if len(points) < 5:
        return points
    try:
        return points[ConvexHull(points).vertices]
    except QhullError:
        # Points in one plane or on one line have no hull in space; jittering the input (QJ) gives them a thin one.
        return points[ConvexHull(points, qhull_options="QJ").vertices]
