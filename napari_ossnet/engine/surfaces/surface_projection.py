"""Moves a surface's vertices onto the level set of the field itself: between samples a mesh is only linear.

Each vertex goes along the field's gradient: one Newton step, then false position (Illinois) along the same line, where
every step asks for one location a vertex. Where that meets no level set (a flat or kinked field beside the surface),
the vertex is looked for on the edge that it lies on, between a sample inside and one outside: there is one for sure.
The connections of the mesh stay, so a closed surface stays closed.
"""

from __future__ import annotations

import time
from collections.abc import Generator

import numpy as np
import torch
from torch import Tensor

from napari_ossnet.engine.events import Progress
from napari_ossnet.engine.fields.protocol import OccupancyField
from napari_ossnet.engine.geometry import voxel_to_world, world_to_voxel
from napari_ossnet.engine.refining.decision import Decision
from napari_ossnet.engine.shapes import Affine
from napari_ossnet.engine.surfaces.surface import Mesh
from napari_ossnet.engine.tensors import Locations

#: Grid voxels over which the gradient is measured: patches between voxels are blends, with kinks at every voxel.
_DIFFERENCE = 0.2
#: Steps along the line after Newton's.
_STEPS = 4
#: Steps along an edge, for the few vertices that need it.
_EDGE_STEPS = 10
#: A vertex this near to the level set, in grid voxels, is left alone.
_TOLERANCE = 1e-3

Projecting = Generator[Progress, None, Mesh]


class SurfaceProjection:
    """Projects meshes onto the level set of one field.

    Args of the constructor:
        field: The encoded scan.
        grid_affine: Grid voxels to world, RAS mm.
        decision: Which level.
        chunk_size: Locations a pass.
        column: The class among several; None takes everything that is not background.
    """

    def __init__(
        self,
        field: OccupancyField,
        grid_affine: Affine,
        decision: Decision,
        *,
        chunk_size: int,
        column: int | None = None,
    ) -> None:
        self._field = field
        self._grid_affine = grid_affine
        self._decision = decision
        self._chunk_size = chunk_size
        self._column = column
        self._started_at = time.perf_counter()
        self._asked = 0
        self._total = 0

    def project(
        self,
        mesh: Mesh,
        *,
        reach: float = 1.0,
        is_free: np.ndarray | None = None,
        edges_world: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> Projecting:
        """The same mesh with its vertices on the level set; a vertex that can't get nearer stays where it is.

        Args:
            mesh: In RAS mm.
            reach: How far a vertex may go, in grid voxels.
            is_free: Which vertices may move at all (v,); None lets all of them.
            edges_world: For each vertex the two ends of the edge that it lies on, (v, 3) each, in RAS mm.
        """
        if mesh.is_empty:
            return mesh
        free = np.arange(len(mesh.vertices_world)) if is_free is None else np.flatnonzero(is_free)
        start = self._locations(mesh.vertices_world[free])
        self._total = len(start) * (5 + _STEPS)
        line = yield from self._along_gradient(start, reach)
        moved = line.best()
        if edges_world is not None:
            stuck = line.is_off().nonzero()[:, 0]
            ends = [self._locations(end[free])[stuck] for end in edges_world]
            moved[stuck] = yield from self._along_edges(moved[stuck], *ends)
        vertices = mesh.vertices_world.copy()
        vertices[free] = voxel_to_world(self._grid_affine, moved.cpu().double().numpy())
        return Mesh(vertices_world=vertices, faces=mesh.faces)

    def _locations(self, points_world: np.ndarray) -> Locations:
        """World positions (n, 3) in grid voxels, on the field's device."""
        locations = world_to_voxel(self._grid_affine, points_world)
        return torch.as_tensor(locations, dtype=torch.float32, device=self._field.device)

    def _along_gradient(self, start: Locations, reach: float) -> Generator[Progress, None, _Line]:
        height = yield from self._heights(start)
        gradient = torch.empty_like(start)
        for axis in range(3):
            beside = start.clone()
            beside[:, axis] += _DIFFERENCE
            above = yield from self._heights(beside)
            gradient[:, axis] = (above - height) / _DIFFERENCE
        slope = gradient.norm(dim=1).clamp_(min=1e-6)
        line = _Line(start, gradient / slope[:, None], height, slope, torch.full_like(slope, reach))
        return (yield from self._searched(line, 1 + _STEPS))

    def _along_edges(self, here: Locations, low: Locations, high: Locations) -> Generator[Progress, None, Locations]:
        """Where the level set cuts the edges; ``here`` for an edge whose ends lie on one side of it."""
        low_height = yield from self._heights(low)
        high_height = yield from self._heights(high)
        line = yield from self._searched(_Line.between(low, high, low_height, high_height), _EDGE_STEPS)
        is_cut = (low_height > 0) != (high_height > 0)
        return torch.where(is_cut[:, None], line.best(), here)

    def _searched(self, line: _Line, steps: int) -> Generator[Progress, None, _Line]:
        for _ in range(steps):
            wanted = line.wanted()
            if not len(wanted):
                break
            line.answer(wanted, (yield from self._heights(line.places(wanted))))
        return line

    def _heights(self, locations: Locations) -> Generator[Progress, None, Tensor]:
        found = []
        for chunk in locations.split(self._chunk_size):
            found.append(self._decision.heights(self._field.query(chunk), self._column))
            self._asked += len(chunk)
            yield Progress(
                stage="surface",
                points_done=self._asked,
                points_total=max(self._total, self._asked),
                elapsed_s=time.perf_counter() - self._started_at,
            )
        return torch.cat(found) if found else locations[:, 0]


class _Line:
    """The search along every vertex's own line: place s is ``start + s * direction``, in grid voxels."""

    def __init__(self, start: Locations, direction: Tensor, height: Tensor, slope: Tensor, reach: Tensor) -> None:
        self._start, self._direction, self._slope, self._reach = start, direction, slope, reach
        # The end that was asked last, and the other one; where their signs differ the root lies between them.
        self._s, self._h = torch.zeros_like(height), height.clone()
        self._other_s, self._other_h = torch.zeros_like(height), torch.zeros_like(height)
        self._next = (-height / slope).clamp(-reach, reach)
        self._best_s, self._best_h = self._s.clone(), height.clone()

    @classmethod
    def between(cls, low: Locations, high: Locations, low_height: Tensor, high_height: Tensor) -> _Line:
        """The search from one place to another (n, 3), whose heights are known."""
        length = (high - low).norm(dim=1).clamp_(min=1e-6)
        slope = ((high_height - low_height).abs() / length).clamp_(min=1e-6)
        line = cls(low, (high - low) / length[:, None], low_height, slope, length)
        line._other_s, line._other_h = length.clone(), high_height.clone()
        line._next = length * low_height / (low_height - high_height)
        return line

    def is_off(self) -> Tensor:
        """Which vertices are not on the level set (n,)."""
        return self._best_h.abs() > _TOLERANCE * self._slope

    def wanted(self) -> Tensor:
        """Vertices that are not on the level set yet, and have a place to be asked next."""
        return (self.is_off() & self._next.isfinite()).nonzero()[:, 0]

    def places(self, vertices: Tensor) -> Locations:
        """Where each of the vertices (n,) is to be asked next."""
        return self._start[vertices] + self._next[vertices, None] * self._direction[vertices]

    def answer(self, vertices: Tensor, height: Tensor) -> None:
        """Takes in the heights (n,) found there and chooses the next places."""
        s, h = self._next[vertices], height
        is_better = h.abs() < self._best_h[vertices].abs()
        self._best_s[vertices] = torch.where(is_better, s, self._best_s[vertices])
        self._best_h[vertices] = torch.where(is_better, h, self._best_h[vertices])
        last_s, last_h = self._s[vertices], self._h[vertices]
        other_s, other_h = self._other_s[vertices], self._other_h[vertices]
        # Illinois (Dowell and Jarratt 1971): the end that stays put counts half, so that it does not stay for ever.
        has_crossed = h * last_h < 0
        keeps_bracket = ~has_crossed & (h * other_h < 0)
        new_other_s = torch.where(keeps_bracket, other_s, last_s)
        new_other_h = torch.where(keeps_bracket, other_h / 2, last_h)
        self._s[vertices], self._h[vertices] = s, h
        self._other_s[vertices], self._other_h[vertices] = new_other_s, new_other_h
        step = h * (s - new_other_s) / (h - new_other_h)
        reach = self._reach[vertices]
        self._next[vertices] = (s - step).clamp(-reach, reach)

    def best(self) -> Locations:
        """The place nearest to the level set that was asked on each line."""
        return self._start + self._best_s[:, None] * self._direction
