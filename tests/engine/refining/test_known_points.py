"""A moved threshold looks up what is known: the same mask as a fresh run's, for fewer questions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_ossnet.engine.refining.known_points import KnownPoints
from napari_ossnet.engine.refining.refinement import refine


@pytest.mark.parametrize("schedule", ["octree", "published"])
@pytest.mark.parametrize("threshold", [0.35, 0.5, 0.72])
def test_the_mask_of_a_moved_threshold_is_a_fresh_runs(schedule, threshold, a_shape, a_lattice, formulas):
    known = KnownPoints()
    formulas.run(refine(a_shape, a_lattice, known=known, schedule=schedule))

    _, moved = formulas.run(refine(a_shape, a_lattice, known=known, schedule=schedule, threshold=threshold))
    _, fresh = formulas.run(refine(a_shape, a_lattice, schedule=schedule, threshold=threshold))

    assert np.array_equal(moved.labels.numpy(), fresh.labels.numpy())
    assert moved.evaluated_locations < fresh.evaluated_locations


def test_the_same_threshold_again_asks_for_nothing(a_shape, a_lattice, formulas):
    known = KnownPoints()
    formulas.run(refine(a_shape, a_lattice, known=known))

    events, again = formulas.run(refine(a_shape, a_lattice, known=known))

    assert again.evaluated_locations == 0
    assert len(formulas.snapshots_of(events)) >= 3


@pytest.mark.parametrize("chunks_later", [0, 3])
def test_a_run_that_was_cancelled_leaves_its_points(chunks_later, a_lattice, formulas):
    field = formulas.field(formulas.sphere((33.3, 28.1, 25.7), 17.4))
    known = KnownPoints()
    steps = refine(field, a_lattice, known=known, chunk_size=100)
    while len(formulas.snapshots_of([next(steps)])) == 0:
        pass
    at_snapshot = field.asked
    while field.asked < at_snapshot + 100 * chunks_later:
        next(steps)
    steps.close()
    asked_before = field.asked

    _, refined = formulas.run(refine(field, a_lattice, known=known, chunk_size=100))

    assert np.array_equal(refined.labels.numpy(), formulas.exhaustive(field, a_lattice))
    assert asked_before + refined.evaluated_locations == field.asked
    _, fresh = formulas.run(refine(field, a_lattice))
    assert asked_before + refined.evaluated_locations == fresh.evaluated_locations


def test_points_are_found_by_key_whatever_order_they_came_in():
    known = KnownPoints()
    known.add(torch.tensor([7, 3]), torch.tensor([[0.7], [0.3]]))
    known.add(torch.tensor([5, 3]), torch.tensor([[0.5], [0.3]]))
    known.merge()

    is_known, logits = known.look_up(torch.tensor([3, 4, 5, 9, 7]))

    assert is_known.tolist() == [True, False, True, False, True]
    assert logits.flatten().tolist() == pytest.approx([0.3, 0.5, 0.7])
    assert len(known) == 3


def test_points_that_were_not_merged_yet_are_not_found():
    known = KnownPoints()
    known.add(torch.tensor([7]), torch.tensor([[0.7]]))

    is_known, logits = known.look_up(torch.tensor([7]))

    assert not is_known.any()
    assert logits is None
