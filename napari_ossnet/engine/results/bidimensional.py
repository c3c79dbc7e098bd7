"""Owns the bidimensional product: the longest diameter in an axial slice times the longest one across it.

Macdonald et al. 1990 and Wen et al. 2010 (RANO) measure a tumour by it, a reader by hand on one slice. Here every
slice is measured on the outline that the logits draw, finer than a voxel, and the largest product counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_ossnet.engine.geometry import axis_codes_of, voxel_to_world
from napari_ossnet.engine.surfaces.surface import Mesh

#: Lines across the longest diameter on which the object is measured.
_LINES = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Bidimensional:
    """The two diameters of the slice whose product is largest, in mm, and where that slice lies."""

    longest_mm: float = 0.0
    across_mm: float = 0.0
    #: Index of the slice along the axial axis of the affine that was given; None where there is no slice.
    slice_index: int | None = None

    @property
    def product_mm2(self) -> float:
        """The product of the two diameters."""
        return self.longest_mm * self.across_mm


def axial_axis(affine: np.ndarray) -> int:
    """The voxel axis along which a scan's axial slices are stacked: the one nearest to head and feet."""
    codes = axis_codes_of(affine)
    return next(axis for axis, letter in enumerate(codes) if letter in "SI")


def bidimensional(mesh: Mesh, affine: np.ndarray) -> Bidimensional:
    """The largest bidimensional product of a closed mesh over the axial slices of a scan.

    Args:
        mesh: In RAS mm.
        affine: Of the scan, or of a refined region: its axial slices are the planes through its voxels' centres.
    """
    if mesh.is_empty:
        return Bidimensional()
    axis = axial_axis(affine)
    vertices = voxel_to_world(np.linalg.inv(affine), mesh.vertices_world)
    heights = vertices[:, axis]
    best = Bidimensional()
    for index in range(int(np.ceil(heights.min())), int(np.floor(heights.max())) + 1):
        segments = _cut(vertices, mesh.faces, axis, index)
        if len(segments):
            longest, across = diameters(voxel_to_world(affine, segments.reshape(-1, 3)).reshape(-1, 2, 3))
            if longest * across > best.product_mm2:
                best = Bidimensional(longest_mm=longest, across_mm=across, slice_index=index)
    return best


def diameters(segments: np.ndarray) -> tuple[float, float]:
    """The longest diameter of an outline, and the longest extent at right angles to it.

    Args:
        segments: Pieces of the outline, all in one plane, (n, 2 ends, 3).
    """
    points = segments.reshape(-1, 3)
    start, end = _farthest_pair(points)
    longest = float(np.linalg.norm(end - start))
    if longest == 0:
        return 0.0, 0.0
    along = (end - start) / longest
    normal = _plane_normal(points)
    sideways = np.cross(normal, along)
    ends = np.stack([(segments - start) @ along, (segments - start) @ sideways], axis=-1)
    return longest, _longest_across(ends, longest)


def _longest_across(ends: np.ndarray, longest: float) -> float:
    """The largest extent of an outline (n, 2 ends, along and across) on lines across it.

    The lines lie half a spacing from the ends; a line meets a piece of the outline whose ends lie on its two sides.
    """
    best = 0.0
    for position in (np.arange(_LINES) + 0.5) / _LINES * longest:
        first, second = ends[:, 0, 0] - position, ends[:, 1, 0] - position
        is_met = (first > 0) != (second > 0)
        if is_met.any():
            share = first[is_met] / (first[is_met] - second[is_met])
            across = ends[is_met, 0, 1] * (1 - share) + ends[is_met, 1, 1] * share
            best = max(best, float(across.max() - across.min()))
    return best


def _cut(vertices: np.ndarray, faces: np.ndarray, axis: int, height: float) -> np.ndarray:
    """Where a plane across an axis cuts the triangles, as segments (n, 2 ends, 3)."""
    is_above = vertices[:, axis][faces] > height
    count = is_above.sum(axis=1)
    is_cut = (count == 1) | (count == 2)
    corners, above = vertices[faces[is_cut]], is_above[is_cut]
    # The corner that is alone on its side: both ends of the segment lie on its two edges.
    alone = np.where(above.sum(axis=1) == 1, above.argmax(axis=1), (~above).argmax(axis=1))
    rows = np.arange(len(corners))
    apex = corners[rows, alone]
    ends = []
    for step in (1, 2):
        other = corners[rows, (alone + step) % 3]
        share = (height - apex[:, axis]) / (other[:, axis] - apex[:, axis])
        ends.append(apex + share[:, None] * (other - apex))
    return np.stack(ends, axis=1)


def _farthest_pair(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two points that are farthest apart, among the corners of the flat convex hull."""
    hull = _flat_hull(points)
    squares = ((hull[:, None] - hull[None]) ** 2).sum(axis=2)
    first, second = np.unravel_index(int(squares.argmax()), squares.shape)
    return hull[first], hull[second]


def _flat_hull(points: np.ndarray) -> np.ndarray:
    from scipy.spatial import ConvexHull, QhullError

    flat = (points - points[0]) @ _plane_basis(points).T
    try:
        return points[ConvexHull(flat).vertices]
    except (QhullError, ValueError):
        return points


def _plane_basis(points: np.ndarray) -> np.ndarray:
    """Two directions (2, 3) that span the plane of the points."""
    _, _, directions = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
    return directions[:2]


def _plane_normal(points: np.ndarray) -> np.ndarray:
    first, second = _plane_basis(points)
    return np.cross(first, second)
