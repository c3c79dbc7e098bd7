"""Owns the pieces that a surface falls into: telling them apart, and leaving out those that are too small."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from napari_ossnet.engine.surfaces.surface import Mesh


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A surface without its small pieces, and what was left out."""

    mesh: Mesh
    dropped_count: int
    dropped_ml: float

    @property
    def sentence(self) -> str:
        """What to tell the user; empty where nothing was left out."""
        if not self.dropped_count:
            return ""
        pieces = "piece" if self.dropped_count == 1 else "pieces"
        return f"{self.dropped_count} small {pieces} of the surface ({self.dropped_ml:.3f} mL together) left out."


def components(mesh: Mesh) -> list[Mesh]:
    """The objects of a closed surface, the largest first; a cavity goes with the object around it."""
    pieces = _pieces(mesh)
    objects = sorted((piece for piece in pieces if piece.volume_mm3 > 0), key=lambda piece: -piece.volume_mm3)
    holes = [piece for piece in pieces if piece.volume_mm3 <= 0]
    if not holes or not objects:
        return objects
    parts = [[item] for item in objects]
    for hole, owner in zip(holes, _smallest_around(holes, objects), strict=True):
        parts[owner].append(hole)
    return [_joined(part) if len(part) > 1 else part[0] for part in parts]


def drop_small(mesh: Mesh, least_ml: float) -> Kept:
    """The surface without objects that enclose less than ``least_ml``, and without cavities as small as that."""
    pieces = _pieces(mesh)
    is_kept = [abs(piece.volume_mm3) / 1000 >= least_ml for piece in pieces]
    dropped = [piece for piece, kept in zip(pieces, is_kept, strict=True) if not kept]
    return Kept(
        mesh=_joined([piece for piece, kept in zip(pieces, is_kept, strict=True) if kept]),
        dropped_count=len(dropped),
        dropped_ml=sum(abs(piece.volume_mm3) for piece in dropped) / 1000,
    )


def _pieces(mesh: Mesh) -> list[Mesh]:
    """The connected parts of a mesh."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    if mesh.is_empty:
        return []
    count = len(mesh.vertices_world)
    rows, columns = mesh.faces[:, [0, 1]].ravel(), mesh.faces[:, [1, 2]].ravel()
    graph = coo_matrix((np.ones(len(rows), dtype=bool), (rows, columns)), shape=(count, count))
    number, part = connected_components(graph, directed=False)
    part_of_face = part[mesh.faces[:, 0]]
    order = np.argsort(part_of_face, kind="stable")
    bounds = np.searchsorted(part_of_face[order], np.arange(number + 1))
    return [_compact(mesh, mesh.faces[order[first:last]]) for first, last in pairwise(bounds) if last > first]


def _compact(mesh: Mesh, faces: np.ndarray) -> Mesh:
    used, renumbered = np.unique(faces, return_inverse=True)
    return Mesh(vertices_world=mesh.vertices_world[used], faces=renumbered.reshape(-1, 3))


def _joined(meshes: list[Mesh]) -> Mesh:
    if not meshes:
        return Mesh(vertices_world=np.empty((0, 3)), faces=np.empty((0, 3), dtype=np.int64))
    starts = np.cumsum([0, *(len(mesh.vertices_world) for mesh in meshes[:-1])])
    return Mesh(
        vertices_world=np.concatenate([mesh.vertices_world for mesh in meshes]),
        faces=np.concatenate([mesh.faces + start for mesh, start in zip(meshes, starts, strict=True)]),
    )


def _smallest_around(holes: list[Mesh], objects: list[Mesh]) -> list[int]:
    """For every hole the smallest object whose box holds the hole's; the objects come largest first."""
    low, high = _boxes(objects)
    found = []
    for hole_low, hole_high in zip(*_boxes(holes), strict=True):
        around = np.flatnonzero(((low <= hole_low) & (high >= hole_high)).all(axis=1))
        found.append(int(around[-1]) if len(around) else 0)
    return found


def _boxes(meshes: list[Mesh]) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and the highest corners (n, 3) of the boxes around meshes."""
    lowest = [mesh.vertices_world.min(axis=0) for mesh in meshes]
    highest = [mesh.vertices_world.max(axis=0) for mesh in meshes]
    return np.array(lowest), np.array(highest)
