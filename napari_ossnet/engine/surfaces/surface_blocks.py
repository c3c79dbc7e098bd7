"""Marching cubes block by block, so that memory follows the surface and not the box around it; the seams are welded."""

from __future__ import annotations

from collections.abc import Generator
from itertools import product

import numpy as np

from napari_ossnet.engine.shapes import Faces
from napari_ossnet.engine.surfaces.surface_field import BandField, Triple

#: Cells along the edge of a block: 64^3 float32 are a megabyte.
BLOCK = 64
#: Vertices on the faces of two blocks that are nearer than this, in samples, are one.
_WELD = 1e-4


def marching_cubes_in_blocks(field: BandField) -> Generator[None, None, tuple[np.ndarray, Faces]]:
    """Vertices (v, 3), float64, in samples, and faces (f, 3) of the surface at height zero, closed.

    It pauses after every block that has a part of the surface.

    Marching cubes as in Lewiner et al. 2003 (scikit-image).
    """
    all_vertices, all_faces, seams = [], [], []
    count = 0
    for start in _starts(field.shape):
        vertices, faces = _block(field, start)
        if not len(faces):
            continue
        on_seam = (np.abs(vertices - np.round(vertices / BLOCK) * BLOCK) < _WELD).any(axis=1)
        all_vertices.append(vertices + start)
        all_faces.append(faces + count)
        seams.append(np.flatnonzero(on_seam) + count)
        count += len(vertices)
        yield
    if not all_faces:
        return np.empty((0, 3)), np.empty((0, 3), dtype=np.int64)
    return _welded(np.concatenate(all_vertices), np.concatenate(all_faces), np.concatenate(seams))


def _starts(shape: Triple) -> list[np.ndarray]:
    """Lowest samples of the blocks; the first lie one sample outside, where the surface is closed."""
    ranges = [range(-1, size, BLOCK) for size in shape]
    return [np.array(start) for start in product(*ranges)]


def _block(field: BandField, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The surface in one block, vertices in samples from its lowest one."""
    from skimage.measure import marching_cubes

    nothing = np.empty((0, 3)), np.empty((0, 3), dtype=np.int64)
    stop = np.minimum(start + BLOCK + 1, np.array(field.shape) + 1)
    inside = field.is_inside(_triple(np.maximum(start, 0)), _triple(np.minimum(stop, field.shape)))
    touches_end = bool((start < 0).any() or (stop > field.shape).any())
    if not inside.any() or (inside.all() and not touches_end):
        return nothing
    values = field.box(_triple(start), _triple(stop))
    vertices, faces, _, _ = marching_cubes(values, 0.0, gradient_direction="ascent", allow_degenerate=True)
    return vertices.astype(np.float64), faces.astype(np.int64)


def _welded(vertices: np.ndarray, faces: np.ndarray, seam: np.ndarray) -> tuple[np.ndarray, Faces]:
    """One vertex in place of those that blocks have in common; faces that collapse by it go."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    pairs = cKDTree(vertices[seam]).query_pairs(_WELD, output_type="ndarray") if len(seam) else np.empty((0, 2), int)
    links = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(seam), len(seam)))
    _, group = connected_components(links, directed=False)
    target = np.arange(len(vertices))
    # Of each group the first vertex stays.
    _, first = np.unique(group, return_index=True)
    target[seam] = seam[first][group] if len(seam) else seam
    faces = target[faces]
    is_proper = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    used, faces = np.unique(faces[is_proper], return_inverse=True)
    return vertices[used], faces.reshape(-1, 3)


def _triple(values: np.ndarray) -> Triple:
    i, j, k = (int(value) for value in values)
    return i, j, k
