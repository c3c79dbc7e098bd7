"""The surface of a snapshot with its vertices on the field's level set: extraction and projection together."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

from napari_ossnet.engine.device import chunk_size_for
from napari_ossnet.engine.encoded_scan import EncodedScan
from napari_ossnet.engine.events import Progress, Snapshot
from napari_ossnet.engine.geometry import voxel_to_world, world_to_voxel
from napari_ossnet.engine.refining.decision import Decision
from napari_ossnet.engine.surfaces.surface import Mesh, extraction
from napari_ossnet.engine.surfaces.surface_projection import SurfaceProjection

#: On the CPU a pass holds no more than this, so that progress comes several times a second.
_CPU_CHUNK = 1024


def exact_surface(
    encoded: EncodedScan, snapshot: Snapshot, label: int | None, memory_bytes: int | None
) -> Generator[Progress, None, Mesh]:
    """The surface of a snapshot of this scan, at any step.

    Args:
        encoded: The scan.
        snapshot: One of its snapshots.
        label: A label of the task's classes; None takes all of them together.
        memory_bytes: Budget of a pass.

    Raises:
        InputError: There is no such label.
    """
    yield Progress(stage="surface", step=snapshot.step)
    extracting = extraction(snapshot, label)
    while True:
        try:
            next(extracting)
        except StopIteration as stop:
            mesh: Mesh = stop.value
            break
        yield Progress(stage="surface", step=snapshot.step)
    column = None if label is None else 1 + snapshot.class_labels.index(label)
    chunk = chunk_size_for(memory_bytes, encoded.field)
    projection = SurfaceProjection(
        encoded.field,
        encoded.prepared.grid_affine,
        Decision(snapshot.threshold),
        chunk_size=min(chunk, _CPU_CHUNK) if encoded.device.type == "cpu" else chunk,
        column=column,
    )
    return (
        yield from projection.project(
            mesh,
            reach=_sample_spacing(encoded, snapshot),
            is_free=_is_between_samples(mesh, snapshot),
            edges_world=_edges(mesh, snapshot),
        )
    )


def _sample_spacing(encoded: EncodedScan, snapshot: Snapshot) -> float:
    """The largest distance from sample to sample along an axis, in grid voxels."""
    to_grid = np.linalg.inv(encoded.prepared.grid_affine) @ snapshot.affine
    return float(np.linalg.norm(to_grid[:3, :3], axis=0).max())


def _is_between_samples(mesh: Mesh, snapshot: Snapshot) -> np.ndarray:
    """Which vertices are not those that close the surface beyond the last sample, where there is no level set."""
    places = world_to_voxel(snapshot.affine, mesh.vertices_world)
    last = np.array(snapshot.labels.shape) - 1
    return np.asarray(((places > -1e-3) & (places < last + 1e-3)).all(axis=1))


def _edges(mesh: Mesh, snapshot: Snapshot) -> tuple[np.ndarray, np.ndarray]:
    """The samples between which each vertex lies, (v, 3) each, in RAS mm: marching cubes puts them on edges."""
    places = world_to_voxel(snapshot.affine, mesh.vertices_world)
    nearest = np.round(places)
    axis = np.abs(places - nearest).argmax(axis=1)
    rows = np.arange(len(places))
    low, high = nearest.copy(), nearest.copy()
    low[rows, axis], high[rows, axis] = np.floor(places[rows, axis]), np.ceil(places[rows, axis])
    return voxel_to_world(snapshot.affine, low), voxel_to_world(snapshot.affine, high)
