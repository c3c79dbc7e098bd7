"""Owns the ladder of steps: where the octree starts on a lattice, and how far apart samples are along each axis."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from napari_ossnet.engine.geometry import Lattice, spacing_of
from napari_ossnet.engine.refining.level_grid import LevelGrid, Triple

#: The step at which everything is evaluated, whatever a prior says.
DENSE_STEP = 16
#: The same where the field has no prior that would point at small things.
DENSE_STEP_WITHOUT_PRIOR = 8
#: While the next finer grid has no more samples than this, the ladder starts there: small scans start finer.
FEW_SAMPLES = 4096
#: Where the first grid has more samples than this, a coarser one comes before it, for an early first picture.
MANY_SAMPLES = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One step: its nominal size, its samples, and whether all of them are evaluated."""

    step: int
    grid: LevelGrid
    is_dense: bool


def ladder(lattice: Lattice, *, final_step: int, has_prior: bool, first_step: int = 1) -> list[Rung]:
    """The steps from coarse to fine, each half the one before, from at least ``first_step`` to one of ``STEPS``."""
    thickness = _thickness(lattice)
    # On a lattice finer than the grid (a refined region) fewer points of it are as good.
    dense = (DENSE_STEP if has_prior else DENSE_STEP_WITHOUT_PRIOR) / fineness(lattice)
    top = DENSE_STEP
    while top > 1 and _grid(lattice, top // 2, thickness).count <= FEW_SAMPLES:
        top //= 2
    while _grid(lattice, top, thickness).count > MANY_SAMPLES and max(_grid(lattice, top, thickness).shape) > 8:
        top *= 2
    top = max(top, final_step, first_step)
    steps = [top >> level for level in range(top.bit_length()) if top >> level >= final_step]
    return [Rung(step=step, grid=_grid(lattice, step, thickness), is_dense=step >= min(dense, top)) for step in steps]


def fineness(lattice: Lattice) -> float:
    """Grid voxels from one lattice point to the next where the lattice is finer than the grid (a region), else 1."""
    return min(1.0, float(np.sqrt((lattice.to_grid[:3, :3] ** 2).sum(axis=0)).max()))


def finest_grid(lattice: Lattice) -> LevelGrid:
    """The grid whose samples are all points of the lattice."""
    return LevelGrid(lattice_shape=lattice.shape, steps=(1, 1, 1))


def _thickness(lattice: Lattice) -> Triple:
    """How many halvings each axis is ahead: an axis of voxels 2^n times as thick needs samples 2^n times as dense."""
    spacing = spacing_of(lattice.affine)
    i, j, k = (max(0, round(math.log2(size / min(spacing)))) for size in spacing)
    return i, j, k


def _grid(lattice: Lattice, step: int, thickness: Triple) -> LevelGrid:
    i, j, k = (max(1, step >> halvings) for halvings in thickness)
    return LevelGrid(lattice_shape=lattice.shape, steps=(i, j, k))
