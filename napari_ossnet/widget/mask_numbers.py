"""Owns the numbers of a mask that was edited by hand: the field knows nothing of it, so only the mask is asked."""

from __future__ import annotations

import numpy as np

from napari_ossnet.engine.geometry import voxel_to_world
from napari_ossnet.engine.results.measurement import max_diameter_mm, voxel_volume_ml
from napari_ossnet.engine.shapes import Affine
from napari_ossnet.engine.surfaces.surface import Mesh
from napari_ossnet.widget.state import MeasurementRow

#: The surface of the bare mask is a staircase, about 9 % too large on a sphere; blurred by this many voxels it is
#: within 1 % from a radius of 6 voxels on.
BLUR_VOXELS = 0.9


def measure_mask(title: str, mask: np.ndarray, affine: Affine) -> MeasurementRow:
    """Volume, surface area and largest diameter of a binary mask (i, j, k) with its affine to RAS mm."""
    mesh = mesh_of_mask(mask, affine)
    return MeasurementRow(
        title=title,
        volume_ml=float(np.count_nonzero(mask)) * voxel_volume_ml(affine),
        surface_area_cm2=mesh.area_mm2 / 100.0,
        max_diameter_mm=max_diameter_mm(mesh.vertices_world),
    )


def mesh_of_mask(mask: np.ndarray, affine: Affine) -> Mesh:
    """The smoothed surface of a binary mask (i, j, k), closed, RAS mm, normals outward."""
    vertices, faces = _surface(mask)
    mesh = Mesh(vertices_world=voxel_to_world(affine, vertices), faces=faces)
    # Marching cubes winds faces for objects darker than their surroundings; a left-handed affine turns them again.
    return mesh if mesh.volume_mm3 >= 0 else Mesh(vertices_world=mesh.vertices_world, faces=faces[:, ::-1].copy())


def _surface(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (v, 3) in voxels and faces (f, 3); only the box around the object is looked at."""
    from scipy.ndimage import gaussian_filter
    from skimage.measure import marching_cubes

    occupied = [np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    if not len(occupied[0]):
        return np.empty((0, 3)), np.empty((0, 3), dtype=np.int64)
    start = np.array([indices[0] for indices in occupied])
    box = tuple(slice(int(indices[0]), int(indices[-1]) + 1) for indices in occupied)
    padding = int(np.ceil(4 * BLUR_VOXELS)) + 1
    padded = np.pad(mask[box].astype(np.float32), padding)
    blurred = gaussian_filter(padded, BLUR_VOXELS)
    if blurred.max() <= 0.5:
        # A thing of a few voxels drowns in its blur; its staircase is what there is.
        blurred = padded
    vertices, faces, _, _ = marching_cubes(blurred, 0.5)
    return vertices.astype(np.float64) - padding + start, faces.astype(np.int64)
