"""Owns the snapshot of a step in the lattice's own axis order, on the field's device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from napari_ossnet.engine.refining.level_grid import LevelGrid, Triple
from napari_ossnet.engine.tensors import Logits


@dataclass(frozen=True, slots=True, kw_only=True)
class LatticeSnapshot:
    """The labels as far as they are known after a step.

    Attributes:
        step: The nominal step in lattice points.
        steps: Lattice points from one sample to the next on each axis; sample a is lattice point ``steps * a``.
        labels: Class of each sample, uint8 (a, b, c).
        band_samples: Samples whose logits are known, next to the boundary, indices into ``labels`` (n, 3), int64.
        band_logits: Their logits, (n, classes).
        threshold: The probability that the labels stand for.
        evaluated_locations: Locations that the field was asked for so far.
        elapsed_s: Since the refinement began.
        is_final: Whether this is the last step.
    """

    step: int
    steps: Triple
    labels: Tensor
    band_samples: Tensor
    band_logits: Logits
    threshold: float
    evaluated_locations: int
    elapsed_s: float
    is_final: bool


def regular_labels(grid: LevelGrid, state: Tensor, label_bits: int) -> Tensor:
    """A copy of the labels (a, b, c) of the samples that are whole steps apart, from the state of all samples (n,)."""
    i, j, k = grid.regular_shape
    return state.reshape(grid.shape)[:i, :j, :k] & label_bits


def regular_band(grid: LevelGrid, keys: Tensor, logits: Logits) -> tuple[Tensor, Logits]:
    """Sample indices (m, 3) and logits of those of the keys (n,) that are whole steps apart."""
    samples = grid.samples_of(keys)
    is_regular = (samples < torch.tensor(grid.regular_shape, device=keys.device)).all(dim=1)
    return samples[is_regular], logits[is_regular]
