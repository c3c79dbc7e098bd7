"""Owns the published schedule of dense prediction (spec section 5), kept as an option and as the baseline.

Stages 4, 2, 1. Every point of the stage-4 grid is evaluated. At stage s the occupied points found so far are dilated
by a cube of 3^s lattice points, and every point of the step-s grid in there that is not occupied yet is evaluated.

With the prior, the stage-4 points *inside* the auxiliary segmentation are evaluated and all others are taken as
empty. That is what the published code does; the paper's text has it the other way round (points inside count as
occupied, all others are evaluated), which does not fit how the auxiliary label is made. The stage grids start at the
lattice's first point, not at the padded grid's, so that the padding costs nothing here.
"""

from __future__ import annotations

from collections.abc import Generator

import torch
from torch import Tensor

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.events import Message, Progress
from napari_ossnet.engine.refining.decision import Decision
from napari_ossnet.engine.refining.lattice_snapshot import LatticeSnapshot
from napari_ossnet.engine.refining.level_grid import LevelGrid, Triple
from napari_ossnet.engine.refining.point_evaluation import PointEvaluator
from napari_ossnet.engine.tensors import Logits

#: Spec section 5.
STAGES = (4, 2, 1)


def published_steps(
    evaluator: PointEvaluator, decision: Decision, *, final_step: int, use_prior: bool
) -> Generator[Progress | Message | LatticeSnapshot, None, tuple[Tensor, LatticeSnapshot]]:
    """Labels of all lattice points, uint8 of its shape, and the last snapshot; a snapshot after every stage.

    Raises:
        InputError: The field has no prior where one is wanted.
    """
    schedule = _PublishedSchedule(evaluator, decision)
    for stage in STAGES[: STAGES.index(final_step) + 1]:
        asked = schedule.first_points(use_prior) if stage == STAGES[0] else schedule.next_points(stage)
        yield from schedule.ask(asked, stage)
        snapshot = schedule.snapshot(stage, is_final=stage == final_step)
        yield snapshot
    return _nearest(snapshot.labels, evaluator.lattice.shape, final_step), snapshot


class _PublishedSchedule:
    """The occupied points so far, dense, and every logit that was asked for."""

    def __init__(self, evaluator: PointEvaluator, decision: Decision) -> None:
        self._evaluator = evaluator
        self._decision = decision
        self._device = evaluator.device
        self._labels = torch.zeros(evaluator.lattice.shape, dtype=torch.uint8, device=self._device)
        self._keys = torch.empty(0, dtype=torch.int64, device=self._device)
        self._logits = torch.empty((0, evaluator.field.class_count), device=self._device)

    def first_points(self, use_prior: bool) -> Tensor:
        grid = self._grid(STAGES[0])
        points = grid.points_of(grid.keys_of(_regular_samples(grid, self._device)))
        if not use_prior:
            return points
        field = self._evaluator.field
        is_inside = field.prior(self._evaluator.lattice.locations(points.to(field.device)))
        if is_inside is None:
            raise InputError("This variant has no prior; choose the schedule octree or published.")
        return points[is_inside.to(self._device)]

    def next_points(self, stage: int) -> Tensor:
        is_wanted = dilated(self._labels > 0, 3**stage) & (self._labels == 0)
        coarse = is_wanted[::stage, ::stage, ::stage]
        return coarse.nonzero() * stage

    def ask(self, points: Tensor, stage: int) -> Generator[Progress | Message, None, None]:
        logits = yield from self._evaluator.evaluate(points, stage)
        labels = self._decision.labels(logits)
        self._labels[tuple(points.T)] = labels
        everything = torch.cat([self._keys, self._grid(1).keys_of(points)])
        order = torch.argsort(everything, stable=True)
        is_first = torch.ones(len(everything), dtype=torch.bool, device=self._device)
        is_first[1:] = everything[order][1:] != everything[order][:-1]
        self._keys = everything[order][is_first]
        self._logits = torch.cat([self._logits, logits])[order[is_first]]

    def snapshot(self, stage: int, *, is_final: bool) -> LatticeSnapshot:
        labels = self._labels[::stage, ::stage, ::stage].contiguous()
        samples, logits = self._band(labels, stage)
        return LatticeSnapshot(
            step=stage,
            steps=(stage, stage, stage),
            labels=labels,
            band_samples=samples,
            band_logits=logits,
            threshold=self._decision.threshold,
            evaluated_locations=self._evaluator.evaluated,
            elapsed_s=self._evaluator.elapsed_s,
            is_final=is_final,
        )

    def _band(self, labels: Tensor, stage: int) -> tuple[Tensor, Logits]:
        """Evaluated samples of the stage that have a neighbour of another label."""
        points = self._grid(1).samples_of(self._keys)
        is_sample = (points % stage == 0).all(dim=1)
        i, j, k = labels.shape
        grid = LevelGrid(lattice_shape=(i, j, k), steps=(1, 1, 1))
        keys = grid.keys_of(torch.div(points[is_sample], stage, rounding_mode="floor"))
        flat = labels.flatten()
        is_boundary = torch.zeros_like(keys, dtype=torch.bool)
        for beside in grid.neighbours(keys):
            is_boundary |= flat[beside] != flat[keys]
        return grid.samples_of(keys[is_boundary]), self._logits[is_sample][is_boundary]

    def _grid(self, step: int) -> LevelGrid:
        return LevelGrid(lattice_shape=self._evaluator.lattice.shape, steps=(step, step, step))


def dilated(is_set: Tensor, edge: int) -> Tensor:
    """The points (i, j, k) within a cube of ``edge`` (odd) points around any set one; one axis after the other."""
    radius = edge // 2
    for axis in range(3):
        size = is_set.shape[axis]
        spread = is_set.clone()
        for shift in range(1, min(radius, size - 1) + 1):
            spread.narrow(axis, shift, size - shift).logical_or_(is_set.narrow(axis, 0, size - shift))
            spread.narrow(axis, 0, size - shift).logical_or_(is_set.narrow(axis, shift, size - shift))
        is_set = spread
    return is_set


def _regular_samples(grid: LevelGrid, device: torch.device) -> Tensor:
    return torch.cartesian_prod(*[torch.arange(size, device=device) for size in grid.regular_shape])


def _nearest(labels: Tensor, shape: Triple, step: int) -> Tensor:
    """The labels of all lattice points: those of the nearest sample."""
    for axis, size in enumerate(shape):
        places = torch.arange(size, device=labels.device)
        nearest = torch.div(places + step // 2, step, rounding_mode="floor").clamp_(max=labels.shape[axis] - 1)
        labels = labels.index_select(axis, nearest)
    return labels
