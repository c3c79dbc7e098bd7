"""Owns what the worker makes ready for the layers: labels in layer order, surfaces of a size that a window can bear."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_ossnet.engine.events import Event, Snapshot
from napari_ossnet.engine.results.segmentation import Segmentation
from napari_ossnet.engine.task_definition import Task
from napari_ossnet.widget.layers import Placement, mask_to_layer, mesh_to_layer, slices_to_layer

#: Surfaces of the steps in between follow each other no faster than this.
SURFACE_INTERVAL_S = 0.4
#: Handing more triangles than this to a layer takes longer than a slot may; what is *shown* is thinned to it.
MOST_FACES = 50_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelsFrame:
    """Labels of one step, so that the slot only hands them to the layer.

    Attributes:
        labels: In layer order (z, y, x), contiguous, uint8.
        transform: Keyword arguments that place the layer.
        step: Scan voxels between two samples.
        is_final: Whether these are the run's last.
    """

    labels: np.ndarray
    transform: dict[str, Any]
    step: float
    is_final: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SurfaceFrame:
    """A surface of one step.

    Attributes:
        vertices: (v, 3) float32 in the scan layer's index frame.
        faces: (f, 3) int32.
        values: (v,) float32, 0 to 1: where on the surface layer's colormap the vertex's class lies.
        transform: Keyword arguments that place the layer.
        is_thinned: Whether it has fewer triangles than the exact one, and must not be saved.
    """

    vertices: np.ndarray
    faces: np.ndarray
    values: np.ndarray
    transform: dict[str, Any]
    is_thinned: bool


Frame = LabelsFrame | SurfaceFrame


class FrameMaker:
    """Turns snapshots and results into frames that follow the scan's layer.

    Args:
        task: Its classes give the colours.
        placement: The scan's.
        coarsest: Steps coarser than this, in scan voxels, are not shown: what is shown already is better.
        has_surface: Whether surfaces are wanted too.
        slice_axis: Labels become their outlines on the scan's slices, across this axis of the layer; None leaves them
            filled, on slices as fine as the rest.
        clock: In seconds.
    """

    def __init__(
        self,
        task: Task,
        placement: Placement,
        *,
        coarsest: float = np.inf,
        has_surface: bool = True,
        slice_axis: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._task = task
        self._placement = placement
        self._coarsest = coarsest
        self._has_surface = has_surface
        self._slice_axis = slice_axis
        self._clock = clock
        self._surface_at = -np.inf

    def through(self, steps: Generator[Event, None, Segmentation]) -> Generator[Any, None, Segmentation]:
        """The events of a run with frames in place of its snapshots; the last frames are those of the result."""
        try:
            while True:
                try:
                    event = next(steps)
                except StopIteration as stop:
                    result: Segmentation = stop.value
                    break
                if isinstance(event, Snapshot):
                    yield from self._of_snapshot(event)
                else:
                    yield event
        finally:
            steps.close()
        yield self._labels(result.labels, result.affine, result.snapshot.step, is_final=True)
        if self._has_surface:
            yield self._surface(result)
        return result

    def _of_snapshot(self, snapshot: Snapshot) -> Generator[Frame, None, None]:
        if snapshot.step > self._coarsest:
            return
        yield self._labels(snapshot.labels, snapshot.affine, snapshot.step, is_final=False)
        if self._has_surface and not snapshot.is_final and self._clock() - self._surface_at >= SURFACE_INTERVAL_S:
            yield self._surface(snapshot)
            self._surface_at = self._clock()

    def _labels(self, labels: np.ndarray, affine: np.ndarray, step: float, *, is_final: bool) -> LabelsFrame:
        if self._slice_axis is None:
            in_layer_order, transform = mask_to_layer(labels, affine, self._placement)
        else:
            filled, transform = slices_to_layer(labels, affine, self._placement, self._slice_axis)
            in_layer_order = outlined(filled, self._slice_axis)
        return LabelsFrame(labels=in_layer_order, transform=transform, step=step, is_final=is_final)

    def _surface(self, source: Snapshot | Segmentation) -> SurfaceFrame:
        from napari_ossnet.engine.surfaces.surface import extract_surface

        several = len(self._task.classes) > 1
        parts, exact_faces = [], 0
        for index, segment in enumerate(self._task.classes):
            mesh = extract_surface(source, segment.label if several else None)
            exact_faces += len(mesh.faces)
            vertices, faces = thinned(mesh.vertices_world, mesh.faces, MOST_FACES // len(self._task.classes))
            parts.append((vertices, faces, np.full(len(vertices), class_value(index, len(self._task.classes)))))
        vertices, faces, values = _joined(parts)
        in_layer_frame, transform = mesh_to_layer(vertices, self._placement)
        return SurfaceFrame(
            vertices=in_layer_frame,
            faces=faces.astype(np.int32),
            values=values.astype(np.float32),
            transform=transform,
            is_thinned=len(faces) < exact_faces,
        )


def outlined(labels: np.ndarray, slice_axis: int) -> np.ndarray:
    """Labels (z, y, x) only where a neighbour on the same slice has another one; the end of the array is no border.

    Not napari's contours: they are worked out in the window's thread, and warn in 3D.
    """
    is_border = np.zeros(labels.shape, dtype=bool)
    for axis in {0, 1, 2} - {slice_axis}:
        lower: list[slice] = [slice(None)] * 3
        upper = lower.copy()
        lower[axis], upper[axis] = slice(None, -1), slice(1, None)
        differs = labels[tuple(lower)] != labels[tuple(upper)]
        is_border[tuple(lower)] |= differs
        is_border[tuple(upper)] |= differs
    return np.where(is_border, labels, 0)


def class_value(index: int, count: int) -> float:
    """Where on a colormap of ``count`` equal bands the class of this index lies."""
    return (index + 0.5) / count


def thinned(vertices: np.ndarray, faces: np.ndarray, most_faces: int) -> tuple[np.ndarray, np.ndarray]:
    """A coarser mesh of at most ``most_faces`` triangles for showing, by merging all vertices in a cell of a grid.

    Rossignac and Borrel, "Multi-resolution 3D approximations for rendering complex scenes", 1993. Exported surfaces
    are never thinned.
    """
    if len(faces) <= most_faces:
        return vertices, faces
    edges = np.linalg.norm(vertices[faces[:, 0]] - vertices[faces[:, 1]], axis=1)
    # Triangles fall with the square of the cell's size, once it is larger than an edge.
    cell = float(edges.mean()) * np.sqrt(len(faces) / most_faces)
    thin_vertices, thin_faces = _clustered(vertices, faces, cell)
    while len(thin_faces) > most_faces:
        cell *= 1.3
        thin_vertices, thin_faces = _clustered(vertices, faces, cell)
    return thin_vertices, thin_faces


def _clustered(vertices: np.ndarray, faces: np.ndarray, cell: float) -> tuple[np.ndarray, np.ndarray]:
    cells = np.floor((vertices - vertices.min(axis=0)) / cell).astype(np.int64)
    extent = cells.max(axis=0) + 1
    keys = (cells[:, 0] * extent[1] + cells[:, 1]) * extent[2] + cells[:, 2]
    _, cluster, counts = np.unique(keys, return_inverse=True, return_counts=True)
    sums = np.stack([np.bincount(cluster, weights=vertices[:, axis]) for axis in range(3)], axis=1)
    merged = cluster[faces]
    is_open = (merged[:, 0] != merged[:, 1]) & (merged[:, 1] != merged[:, 2]) & (merged[:, 2] != merged[:, 0])
    return sums / counts[:, np.newaxis], merged[is_open]


def _joined(parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    offsets = np.cumsum([0, *(len(vertices) for vertices, _, _ in parts[:-1])])
    vertices = np.concatenate([vertices.reshape(-1, 3) for vertices, _, _ in parts])
    faces = np.concatenate(
        [faces.reshape(-1, 3) + offset for (_, faces, _), offset in zip(parts, offsets, strict=True)]
    )
    return vertices, faces, np.concatenate([values for _, _, values in parts])
