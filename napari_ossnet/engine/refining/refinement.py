"""Owns coarse to fine: from a field and a lattice to labels, by the octree or by the published schedule.

``refine`` is a generator: progress at every chunk, a snapshot for every finished step, the labels in the end. Closing
it cancels the run; every snapshot stays valid, and every evaluated point stays in the known points.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor

from napari_ossnet.engine.device import chunk_size_for
from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.events import Message, Progress
from napari_ossnet.engine.fields.protocol import OccupancyField
from napari_ossnet.engine.geometry import Lattice
from napari_ossnet.engine.refining.decision import Decision
from napari_ossnet.engine.refining.known_points import KnownPoints
from napari_ossnet.engine.refining.lattice_snapshot import LatticeSnapshot, regular_band, regular_labels
from napari_ossnet.engine.refining.octree import KNOWN, LABEL, Caution, Level, Octree
from napari_ossnet.engine.refining.octree_hints import Hints, Seeds
from napari_ossnet.engine.refining.point_evaluation import PointEvaluator
from napari_ossnet.engine.refining.published_schedule import STAGES, published_steps
from napari_ossnet.engine.refining.step_sizes import STEPS
from napari_ossnet.engine.refining.steps import Rung, finest_grid, ladder

Schedule = Literal["octree", "published", "published-prior"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refined:
    """The outcome of a refinement.

    Attributes:
        labels: Class of every lattice point, 0 is background, uint8 of the lattice's shape, on the field's device.
        snapshot: The last step's.
        evaluated_locations: Locations that the field was asked for.
        elapsed_s: Duration.
    """

    labels: Tensor
    snapshot: LatticeSnapshot
    evaluated_locations: int
    elapsed_s: float


Refining = Generator[Progress | Message | LatticeSnapshot, None, Refined]


def refine(
    field: OccupancyField,
    lattice: Lattice,
    *,
    schedule: Schedule = "octree",
    threshold: float = 0.5,
    final_step: int = 1,
    chunk_size: int | None = None,
    known: KnownPoints | None = None,
    seeds: Seeds | None = None,
    caution: Caution | None = None,
) -> Refining:
    """Labels of a lattice's points, coarse to fine.

    Args:
        field: The encoded scan.
        lattice: Where labels are asked for.
        schedule: ``octree``, or the published one without or with the encoder's prior (see ``published_schedule``).
        threshold: Probability above which a location is occupied.
        final_step: The finest step that is evaluated; labels between its samples are interpolated.
        chunk_size: Locations a pass; None takes what half of the free memory holds.
        known: Points of this field and lattice that need not be asked for again; new ones are added.
        seeds: Places near which the octree looks even if it hits nothing there.
        caution: How far from the boundary the octree looks.

    Raises:
        InputError: The threshold, the step or the schedule can't be used.
        OutOfMemoryError: Not even the smallest chunk fits.
    """
    decision = Decision(threshold)
    check_schedule(schedule, final_step)
    chunk_size = chunk_size if chunk_size is not None else chunk_size_for(None, field)
    evaluator = PointEvaluator(field, lattice, chunk_size=chunk_size, known=known)
    if schedule == "octree":
        hints = Hints(field, lattice, seeds)
        labels, snapshot = yield from _octree(evaluator, decision, caution or Caution(), hints, final_step)
    else:
        labels, snapshot = yield from published_steps(
            evaluator, decision, final_step=final_step, use_prior=schedule == "published-prior"
        )
    return Refined(
        labels=labels,
        snapshot=snapshot,
        evaluated_locations=evaluator.evaluated,
        elapsed_s=evaluator.elapsed_s,
    )


def check_schedule(schedule: str, final_step: int) -> None:
    """Refuse a step that a schedule does not have.

    Raises:
        InputError: There is no such schedule, or it has no such step.
    """
    if schedule not in get_args(Schedule):
        raise InputError(f"The schedule must be octree, published or published-prior, got {schedule!r}.")
    steps = STEPS if schedule == "octree" else STAGES
    if final_step not in steps:
        found = ", ".join(map(str, sorted(steps)))
        raise InputError(f"The finest step of the schedule {schedule} must be one of {found}, got {final_step}.")


def _octree(
    evaluator: PointEvaluator, decision: Decision, caution: Caution, hints: Hints, final_step: int
) -> Generator[Progress | Message | LatticeSnapshot, None, tuple[Tensor, LatticeSnapshot]]:
    octree = Octree(evaluator, decision, caution)
    rungs = ladder(evaluator.lattice, final_step=final_step, has_prior=hints.has_prior)
    finest = finest_grid(evaluator.lattice)
    level: Level | None = None
    for position, rung in enumerate(rungs):
        evaluator.expected = _forecast(level, rungs[position : position + 1], 1)
        evaluator.later = _forecast(level, rungs[position + 1 :], 2)
        if level is None:
            level = yield from octree.coarsest(rung.grid, rung.step)
        else:
            forced = level.cells if rung.is_dense else hints.cells_to_search(level)
            is_last = rung.grid == finest
            level = yield from octree.finer(level, rung.grid, rung.step, forced=forced, is_last=is_last)
        snapshot = _snapshot(level, evaluator, decision.threshold, is_final=position == len(rungs) - 1)
        yield snapshot
    assert level is not None
    if level.grid == finest:
        return snapshot.labels, snapshot
    labels = yield from octree.interpolated(level, finest)
    return labels.reshape(evaluator.lattice.shape), snapshot


def _snapshot(level: Level, evaluator: PointEvaluator, threshold: float, *, is_final: bool) -> LatticeSnapshot:
    is_known = (level.state[level.keys] & KNOWN) != 0
    band_samples, band_logits = regular_band(level.grid, level.keys[is_known], level.logits[is_known])
    if level.grid == finest_grid(evaluator.lattice):
        # Nothing comes after the finest level: its state becomes the labels, without a copy of the whole lattice.
        labels = level.state.bitwise_and_(LABEL).reshape(level.grid.shape)
    else:
        labels = regular_labels(level.grid, level.state, LABEL)
    return LatticeSnapshot(
        step=level.step,
        steps=level.grid.steps,
        labels=labels,
        band_samples=band_samples,
        band_logits=band_logits,
        threshold=threshold,
        evaluated_locations=evaluator.evaluated,
        elapsed_s=evaluator.elapsed_s,
        is_final=is_final,
    )


def _forecast(level: Level | None, rungs: list[Rung], ahead: int) -> int:
    """About how many points some steps will ask for, the first of them ``ahead`` steps after the level.

    A surface goes through four times as many cells at half the step, and asks for about one point a cell.
    """
    surface = 0 if level is None else level.mixed_cells
    return sum(
        rung.grid.count if rung.is_dense else surface * 4 ** (ahead + position) for position, rung in enumerate(rungs)
    )
