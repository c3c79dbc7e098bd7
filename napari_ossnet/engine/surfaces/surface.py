"""Owns the surface of a segmentation: marching cubes on the logits next to the boundary, closed, in RAS millimetres."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.events import Snapshot
from napari_ossnet.engine.geometry import voxel_to_world
from napari_ossnet.engine.shapes import Faces, VerticesWorld
from napari_ossnet.engine.surfaces.surface_blocks import marching_cubes_in_blocks
from napari_ossnet.engine.surfaces.surface_field import BandField

if TYPE_CHECKING:
    from napari_ossnet.engine.results.segmentation import Segmentation

#: Faces that are measured at once.
_FACES = 2**15


@dataclass(frozen=True, slots=True, kw_only=True)
class Mesh:
    """A closed triangle mesh; seen from outside, the corners of every face run counter-clockwise.

    Attributes:
        vertices_world: (v, 3), float64, RAS mm.
        faces: (f, 3) indices of vertices.
    """

    vertices_world: VerticesWorld
    faces: Faces

    @property
    def is_empty(self) -> bool:
        """Whether there is no surface."""
        return len(self.faces) == 0

    @property
    def area_mm2(self) -> float:
        """The surface area."""
        normals = (np.cross(b - a, c - a) for a, b, c in self._corners())
        return float(sum(np.linalg.norm(normal, axis=1).sum() for normal in normals) / 2)

    @property
    def volume_mm3(self) -> float:
        """The enclosed volume, by the divergence theorem: a sixth of the sum of a . (b x c) over the faces."""
        if self.is_empty:
            return 0.0
        # From the mesh's own middle: far from the origin the terms would cancel badly.
        middle = self.vertices_world.mean(axis=0)
        return float(sum(((a - middle) * np.cross(b - middle, c - middle)).sum() for a, b, c in self._corners()) / 6)

    def _corners(self) -> Iterator[np.ndarray]:
        """The three corners of every face, (3, faces, 3), for a part of the faces at a time: they may be millions."""
        for start in range(0, len(self.faces), _FACES):
            yield np.moveaxis(self.vertices_world[self.faces[start : start + _FACES]], 1, 0)


def extract_surface(source: Snapshot | Segmentation, label: int | None = None) -> Mesh:
    """The surface at any step, of one label or of everything that is not background.

    It runs through the logits, not the mask: each vertex lies where the logit, linear between two samples of different
    labels, meets the threshold. Where the object touches the end of the samples it is closed at the outer
    faces of the voxels there, at any step.

    Args:
        source: A snapshot, or a finished segmentation (its last snapshot counts).
        label: A label of the task's classes; None takes all of them together.

    Raises:
        InputError: There is no such label.
    """
    steps = extraction(source, label)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


def extraction(source: Snapshot | Segmentation, label: int | None = None) -> Generator[None, None, Mesh]:
    """``extract_surface`` with pauses, at most a few hundredths of a second apart."""
    snapshot = source if isinstance(source, Snapshot) else source.snapshot
    if label is not None and label not in snapshot.class_labels:
        raise InputError(f"There is no label {label}, only {', '.join(map(str, snapshot.class_labels))}; choose one.")
    vertices, faces = yield from marching_cubes_in_blocks(BandField(snapshot, label))
    mesh = Mesh(vertices_world=voxel_to_world(snapshot.affine, vertices), faces=faces)
    # A left-handed affine turns every face inside out.
    return mesh if mesh.volume_mm3 >= 0 else Mesh(vertices_world=mesh.vertices_world, faces=faces[:, ::-1].copy())
