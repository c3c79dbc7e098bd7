"""Owns the octree: from a coarse grid evaluated everywhere to the finest step, asking only where labels are in doubt.

What one step does, given the step before:

1. Cells whose corners agree keep their label for every finer sample in them, unasked.
2. In the other cells the finer samples are predicted: trilinear between the corners.
3. Samples next to a sample of another label are evaluated, and samples whose prediction is close to the decision
   compared with how much the logits vary there. At coarse steps so is all of a cell that has such a corner.
4. Where an evaluated label is not the predicted one, its neighbours are looked at again, until every pair of
   neighbours with different labels is known: the boundary is followed wherever it goes.

So at every step all of the boundary that was met anywhere is exact; what can be missed is only an object or a hole
that no evaluated sample of any step hit.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from napari_ossnet.engine.events import Message, Progress
from napari_ossnet.engine.refining.decision import Decision
from napari_ossnet.engine.refining.level_grid import LevelGrid
from napari_ossnet.engine.refining.point_evaluation import PointEvaluator
from napari_ossnet.engine.refining.sample_prediction import Children, predict_children, upsampled_state, variation
from napari_ossnet.engine.refining.steps import fineness
from napari_ossnet.engine.tensors import Logits

#: Marks a sample that was evaluated, beside its label in the low bits.
KNOWN = 0x80
LABEL = 0x7F

Asking = Generator[Progress | Message, None, "Level"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caution:
    """How far from the boundary the octree still looks, in shares of the logits' variation over the cell at hand.

    The defaults come from trained networks: on the demo scan, of which every voxel was asked once, OSS-Net X's mask was
    wrong at 47 of 8.9 million voxels; looking into cells only down to step 8 left 202, for a fifth fewer points.

    Attributes:
        cells: Where a corner of a cell is nearer to the decision than this, every finer sample in it is evaluated ...
        cells_step: ... down to this step, in grid voxels on finer lattices: what a field can hide has the grid's size.
        samples: A predicted sample next to the boundary's cells is evaluated if it is nearer to the decision than this.
        corners_step: Down to this step, all corners of a cell of two labels are evaluated, not only predicted.
    """

    cells: float = 0.2
    cells_step: int = 4
    samples: float = 0.2
    corners_step: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """What is known at one step.

    Attributes:
        step: The nominal step.
        grid: Its samples.
        state: Label of every sample, with ``KNOWN`` where it was evaluated; uint8 (samples,), dense, changed in place.
        keys: Samples that have logits, sorted, int64 (n,).
        logits: Theirs, evaluated or predicted, float32 (n, classes).
        cells: Cells all of whose corners have logits, as keys of their lowest corners, sorted.
        mixed_cells: The number of those whose corners differ in label.
    """

    step: int
    grid: LevelGrid
    state: Tensor
    keys: Tensor
    logits: Logits
    cells: Tensor
    mixed_cells: int = 0


class Octree:
    """Takes a lattice from step to step."""

    def __init__(self, evaluator: PointEvaluator, decision: Decision, caution: Caution) -> None:
        self.evaluator = evaluator
        self.decision = decision
        self.caution = caution
        self.device = evaluator.device
        self._fineness = fineness(evaluator.lattice)

    def coarsest(self, grid: LevelGrid, step: int) -> Asking:
        """The first level: every sample of the grid is evaluated."""
        keys = torch.arange(grid.count, device=self.device)
        logits = yield from self.evaluator.evaluate(grid.points_of(keys), step)
        state = self.decision.labels(logits) | KNOWN
        level = Level(step=step, grid=grid, state=state, keys=keys, logits=logits, cells=grid.existing_cells(keys))
        return replace(level, mixed_cells=len(self._mixed_cells(level)))

    def finer(
        self, level: Level, grid: LevelGrid, step: int, *, forced: Tensor | None = None, is_last: bool = False
    ) -> Asking:
        """The next level.

        Args:
            level: The one before.
            grid: The finer samples.
            step: Their nominal step.
            forced: Cells of ``level`` in which every finer sample is evaluated, whatever the corners say.
            is_last: Whether no finer level comes, so that the corners of its cells need no logits.
        """
        state = upsampled_state(level.state, level.grid, grid, LABEL)
        yield self.evaluator.progress(step)
        predicting = predict_children(
            grid, level.grid, *self._cells_to_subdivide(level, forced), doubt=self.caution.samples
        )
        children = yield from self._with_progress(predicting, step)
        keys, logits = children.keys, children.logits
        is_known = (state[keys] & KNOWN) != 0
        predicted = keys[~is_known]
        state[predicted] = self.decision.labels(logits[~is_known])
        is_doubted = self.decision.margins(logits) < children.tolerance
        is_doubted |= self._touches_other_label(state, grid, keys)
        asked = keys[is_doubted & ~is_known]
        found = yield from self._follow(state, grid, asked, step)
        keys, logits = _merged(keys, logits, *found)
        level = Level(step=step, grid=grid, state=state, keys=keys, logits=logits, cells=children.cells)
        return level if is_last else (yield from self._complete_corners(level))

    def interpolated(self, level: Level, finest: LevelGrid) -> Generator[Progress, None, Tensor]:
        """Labels of all points of a finer lattice, uint8 (n,), without asking: predicted from the level's samples."""
        while level.grid.steps != finest.steps:
            i, j, k = (max(1, step // 2) for step in level.grid.steps)
            grid = LevelGrid(lattice_shape=finest.lattice_shape, steps=(i, j, k))
            state = upsampled_state(level.state, level.grid, grid, LABEL)
            predicting = predict_children(grid, level.grid, *self._cells_to_subdivide(level, None), doubt=0.0)
            children = yield from self._with_progress(predicting, level.step)
            state[children.keys] = self.decision.labels(children.logits)
            level = replace(
                level, grid=grid, state=state, keys=children.keys, logits=children.logits, cells=children.cells
            )
        # In place: the state is this method's own by now, and the lattice may be large.
        return level.state.bitwise_and_(LABEL)

    def _with_progress(self, steps: Generator[None, None, Children], step: int) -> Generator[Progress, None, Children]:
        """The outcome of work that asks for nothing but pauses; at each pause the run can be stopped."""
        while True:
            try:
                next(steps)
            except StopIteration as stop:
                return stop.value
            yield self.evaluator.progress(step)

    def _follow(
        self, state: Tensor, grid: LevelGrid, asked: Tensor, step: int
    ) -> Generator[Progress | Message, None, tuple[Tensor, Logits]]:
        """Evaluates samples, then those beside every sample whose label came out other than predicted, and so on."""
        all_keys, all_logits = [], []
        while len(asked):
            logits = yield from self.evaluator.evaluate(grid.points_of(asked), step)
            labels = self.decision.labels(logits)
            is_surprise = labels != (state[asked] & LABEL)
            state[asked] = labels | KNOWN
            all_keys.append(asked)
            all_logits.append(logits)
            asked = self._open_neighbours(state, grid, asked[is_surprise], labels[is_surprise])
        if not all_keys:
            classes = self.evaluator.field.class_count
            return asked, torch.empty((0, classes), dtype=torch.float32, device=self.device)
        return torch.cat(all_keys), torch.cat(all_logits)

    def _complete_corners(self, level: Level) -> Asking:
        """Gives every corner of a cell of two labels a logit, and adds those cells to the level's."""
        while True:
            mixed = self._mixed_cells(level)
            corners = level.grid.corners(mixed).unique()
            is_wanted = ~_is_member(corners, level.keys)
            if level.step >= self.caution.corners_step:
                is_wanted |= (level.state[corners] & KNOWN) == 0
            asked = corners[is_wanted]
            if not len(asked):
                return replace(level, cells=torch.cat([level.cells, mixed]).unique(), mixed_cells=len(mixed))
            found = yield from self._follow(level.state, level.grid, asked, level.step)
            keys, logits = _merged(level.keys, level.logits, *found)
            level = replace(level, keys=keys, logits=logits)

    def _mixed_cells(self, level: Level) -> Tensor:
        """Cells with corners of different labels, sorted: each has an edge whose ends differ, and those are known."""
        boundary = level.keys[self._touches_other_label(level.state, level.grid, level.keys)]
        cells = level.grid.cells_around(boundary)
        labels = level.state[level.grid.corners(cells)] & LABEL
        return cells[(labels != labels[:, :1]).any(dim=1)]

    def _cells_to_subdivide(self, level: Level, forced: Tensor | None) -> tuple[Tensor, Logits, Tensor]:
        """Cells (c,), their corners' logits (c, 8, classes), and which of them are forced (c,)."""
        grid = level.grid
        cells = level.cells
        corners = grid.corners(cells)
        labels = level.state[corners] & LABEL
        is_mixed = (labels != labels[:, :1]).any(dim=1)
        logits = level.logits[torch.searchsorted(level.keys, corners)]
        is_forced = torch.zeros_like(is_mixed) if forced is None else _is_member(cells, forced)
        if level.step * self._fineness >= self.caution.cells_step:
            is_forced |= self._is_doubtful(logits)
        is_chosen = is_mixed | is_forced
        return cells[is_chosen], logits[is_chosen], is_forced[is_chosen]

    def _is_doubtful(self, corner_logits: Logits) -> Tensor:
        cells, corners, classes = corner_logits.shape
        margins = self.decision.margins(corner_logits.reshape(-1, classes)).reshape(cells, corners)
        return margins.amin(dim=1) < self.caution.cells * variation(corner_logits)

    def _open_neighbours(self, state: Tensor, grid: LevelGrid, keys: Tensor, labels: Tensor) -> Tensor:
        """Neighbours of the keys (n,) that were not evaluated and have another label, sorted."""
        found = []
        for beside in grid.neighbours(keys):
            there = state[beside]
            found.append(beside[((there & KNOWN) == 0) & (there != labels)])
        return torch.cat(found).unique()

    def _touches_other_label(self, state: Tensor, grid: LevelGrid, keys: Tensor) -> Tensor:
        labels = state[keys] & LABEL
        touches = torch.zeros_like(keys, dtype=torch.bool)
        for beside in grid.neighbours(keys):
            touches |= (state[beside] & LABEL) != labels
        return touches


def _is_member(keys: Tensor, sorted_keys: Tensor) -> Tensor:
    """Which of the keys are among the sorted ones."""
    if not len(sorted_keys):
        return torch.zeros(keys.shape, dtype=torch.bool, device=keys.device)
    places = torch.searchsorted(sorted_keys, keys).clamp_(max=len(sorted_keys) - 1)
    return sorted_keys[places] == keys


def _merged(keys: Tensor, logits: Logits, new_keys: Tensor, new_logits: Logits) -> tuple[Tensor, Logits]:
    """Sorted keys with their logits; where a key comes twice, the new logits count."""
    all_keys = torch.cat([new_keys, keys])
    order = torch.argsort(all_keys, stable=True)
    all_keys = all_keys[order]
    is_first = torch.ones(len(all_keys), dtype=torch.bool, device=all_keys.device)
    is_first[1:] = all_keys[1:] != all_keys[:-1]
    return all_keys[is_first], torch.cat([new_logits, logits])[order[is_first]]
