"""What long work reports while it runs: progress, messages and snapshots, as frozen values.

Every long task of the engine is a generator that yields these events and returns its result. A front end may stop
iterating at any event; that is how a run is cancelled, and the last snapshot stays usable.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from napari_ossnet.engine.shapes import Affine, LabelMap


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far the work is.

    ``points_total`` is an estimate, corrected while steps are added; both counts are 0 where a stage has no points.
    """

    stage: Literal["weights", "preparing", "encoding", "refining", "surface", "measuring", "download"]
    #: Lattice step (in scan voxels) under way, 0 where the stage has none.
    step: float = 0
    points_done: int = 0
    points_total: int = 0
    elapsed_s: float = 0.0
    #: None until a rate has been measured.
    remaining_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One sentence for the user, shown once."""

    text: str
    level: Literal["info", "warning"] = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The segmentation as far as it is known after a finished step, in the axis order of the scan.

    Sample ``a`` of ``labels`` lies at scan voxel ``first_voxel + steps * a`` on each axis, hence at world position
    ``affine @ (a, 1)``: samples are points, nothing is shifted by half a voxel between steps.
    """

    #: The nominal step in scan voxels: 16, 8, ... 1, and below 1 in a refined region.
    step: float
    #: The step along i, j, k: ``step``, but less along an axis whose voxels are much thicker than the others'.
    steps: tuple[float, float, float]
    labels: LabelMap
    first_voxel: tuple[float, float, float]
    affine: Affine
    #: The outer faces of the voxels that were asked for, in samples: the lowest and the highest along i, j, k. With
    #: every voxel a sample (-1/2, size - 1/2); coarser samples end up to a step before the last voxel.
    bounds: tuple[tuple[float, float, float], tuple[float, float, float]]
    #: Evaluated samples next to the boundary, indices into ``labels`` (n, 3), and their logits (n, classes).
    band_samples: np.ndarray
    band_logits: np.ndarray
    threshold: float
    #: The labels that the columns of ``band_logits`` stand for; with several classes the background comes before them.
    class_labels: tuple[int, ...]
    evaluated_locations: int
    elapsed_s: float
    is_final: bool


Event = Progress | Message | Snapshot
