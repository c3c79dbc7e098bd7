"""How far a network's surface lies from the true one beyond the scan's resolution, and where that comes from.

Measured on scans of analytic shapes (``synthesis/shapes.py``), whose true surface is known between voxels. The mask is
refined on voxels ``factor`` times finer, the surface extracted from it, and each vertex's signed distance from the
truth taken. It is split into three parts that add up in squares:

- *offset*: the mean, a surface too far in or out everywhere;
- *grid*: what depends on where between two voxel centres the vertex lies (along the axis that its normal is closest
  to), which is the mark of interpolation: of features in OSS-Net X, of the scan in OSS-Net C's windows;
- *rest*: what is left, noise and what the network has not learnt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from napari_ossnet.engine.checkpoints import load_checkpoint
from napari_ossnet.engine.device import choose_device
from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.fields.build import build_field
from napari_ossnet.engine.fields.protocol import OccupancyField
from napari_ossnet.engine.refining.refinement import refine
from napari_ossnet.engine.scans.scan_frame import ScanFrame
from napari_ossnet.engine.surfaces.surface import extract_surface
from napari_ossnet.engine.tasks import PreparedVolume, prepare
from ossnet_training.answering import finish
from ossnet_training.cache import read_case
from ossnet_training.comparing import cases_to_judge
from ossnet_training.pool_cases import PoolCase
from ossnet_training.run_folder import weights_of
from ossnet_training.synthesis.shapes import AnalyticShape, shape_of

#: Parts of a voxel that a vertex's place is sorted into.
_PHASES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class LocationError:
    """Distances from the true surface in mm over the vertices of all cases; see the module for the three parts."""

    factor: int
    mean_distance: float
    percentile_95: float
    offset: float
    grid: float
    rest: float
    vertices: int


def location_errors(source: str, factors: Sequence[int], *, device: str = "auto") -> list[LocationError]:
    """The errors of a run's best weights at each factor, on its own validation cases.

    Args:
        source: A run on scans of shapes.
        factors: How many times finer than the scan's the voxels are.
        device: As `ossnet segment` takes it.

    Raises:
        EngineError: Weights or data can't be used, or the cases are no scans of shapes.
    """
    cases, _ = cases_to_judge(source, data=None, split=None)
    loaded = load_checkpoint(weights_of(source))
    parts: dict[int, list[np.ndarray]] = {factor: [] for factor in factors}
    for case in cases:
        shape = shape_of(case.name)
        assert not isinstance(case, PoolCase)
        volume, _ = read_case(case, loaded.card.task)
        prepared = prepare(loaded.card.task, volume)
        field = finish(build_field(loaded.network, prepared, device=torch.device(choose_device(device))))
        for factor in factors:
            parts[factor].append(signed_errors(shape, surface_vertices(field, prepared, factor)))
    if not all(sum(map(len, found)) for found in parts.values()):
        raise InputError(f"{source} finds no surface in these scans; train it for longer.")
    return [summarise(factor, np.concatenate(found)) for factor, found in parts.items()]


def surface_vertices(field: OccupancyField, prepared: PreparedVolume, factor: float) -> np.ndarray:
    """Vertices (n, 3) in mm of a field's surface, from voxels ``factor`` times finer than the scan's."""
    lattice = prepared.lattice.region((0, 0, 0), prepared.lattice.shape, factor)
    frame = ScanFrame(volume=prepared.volume, orientation=prepared.orientation, lattice=lattice, task=prepared.task)
    refined = finish(refine(field, lattice))
    return extract_surface(frame.snapshot(refined.snapshot, 0.0)).vertices_world


def signed_errors(shape: AnalyticShape, vertices: np.ndarray) -> np.ndarray:
    """Distance from the true surface and the place within a voxel (0 to 1), (n, 2), of vertices (n, 3) in voxels."""
    distances = shape.distance(vertices)
    step = 1e-4
    slopes = np.stack([shape.distance(vertices + step * axis) - distances for axis in np.eye(3)], axis=1)
    axis = np.abs(slopes).argmax(axis=1)
    rows = np.arange(len(vertices))
    places = vertices[rows, axis] % 1.0
    # Measured along the outward normal, so that both sides of a shape count alike.
    phases = np.where(slopes[rows, axis] < 0, (1.0 - places) % 1.0, places)
    return np.stack([distances, phases], axis=1)


def summarise(factor: int, errors: np.ndarray) -> LocationError:
    """The figures of (n, 2) errors from ``signed_errors``."""
    distances, phases = errors.T
    bins = np.minimum((phases * _PHASES).astype(int), _PHASES - 1)
    counts = np.bincount(bins, minlength=_PHASES)
    means = np.bincount(bins, weights=distances, minlength=_PHASES) / np.maximum(counts, 1)
    offset = distances.mean()
    return LocationError(
        factor=factor,
        mean_distance=float(np.abs(distances).mean()),
        percentile_95=float(np.percentile(np.abs(distances), 95)),
        offset=float(offset),
        grid=float(np.sqrt((counts * (means - offset) ** 2).sum() / len(distances))),
        rest=float(np.sqrt(((distances - means[bins]) ** 2).mean())),
        vertices=len(distances),
    )


def error_table(found: dict[str, list[LocationError]]) -> str:
    """A Markdown table, a row a network and factor."""
    lines = [
        "| network | factor | mean distance (mm) | 95 % | offset | grid | rest | vertices |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, errors in found.items():
        lines += [
            f"| {name} | {e.factor} | {e.mean_distance:.4f} | {e.percentile_95:.4f} | {e.offset:+.4f} | {e.grid:.4f} | "
            f"{e.rest:.4f} | {e.vertices:,} |"
            for e in errors
        ]
    return "\n".join(lines) + "\n"
