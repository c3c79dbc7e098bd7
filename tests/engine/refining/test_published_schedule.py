"""The published schedule against a transcription of its description that works on one point at a time."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.refining.published_schedule import dilated
from napari_ossnet.engine.refining.refinement import refine


def by_hand(formula, shape, prior=None):
    """Spec section 5, point by point, with sets: the occupied points and how many were asked for."""
    asked = 0

    def is_occupied(point):
        return float(formula(torch.tensor([point], dtype=torch.float32))) > 0

    def grid(step):
        return itertools.product(*[range(0, size, step) for size in shape])

    occupied = set()
    for point in grid(4):
        if prior is not None and not bool(prior(torch.tensor([point], dtype=torch.float32))):
            continue
        asked += 1
        if is_occupied(point):
            occupied.add(point)
    for stage in (2, 1):
        radius = 3**stage // 2
        span = range(-radius, radius + 1)
        wanted = {
            (a + di, b + dj, c + dk) for a, b, c in occupied for di in span for dj in span for dk in span
        } - occupied
        for point in grid(stage):
            if point in wanted:
                asked += 1
                if is_occupied(point):
                    occupied.add(point)
    return occupied, asked


@pytest.mark.parametrize("has_prior", [False, True])
def test_the_schedule_is_that_of_the_paper(has_prior, formulas):
    shape = (22, 19, 17)
    formula = formulas.ellipsoid((9.3, 8.1, 9.7), (7.4, 6.0, 5.0))
    around = formulas.sphere((8.0, 8.0, 8.0), 7.5)
    prior = (lambda locations: around(locations) > 0) if has_prior else None
    field = formulas.field(formula, prior=prior)
    expected, asked = by_hand(formula, shape, prior)

    _, refined = formulas.run(
        refine(field, formulas.lattice(*shape), schedule="published-prior" if has_prior else "published")
    )

    assert set(map(tuple, np.argwhere(refined.labels.numpy()))) == expected
    assert refined.evaluated_locations == asked == field.asked


def test_it_asks_for_several_times_as_much_as_the_octree(formulas):
    field = formulas.field(formulas.sphere((60.0, 62.0, 58.0), 31.6))
    lattice = formulas.lattice(128, 128, 128)

    _, published = formulas.run(refine(field, lattice, schedule="published"))
    _, octree = formulas.run(refine(field, lattice))

    assert np.array_equal(published.labels.numpy(), octree.labels.numpy())
    assert published.evaluated_locations > 4 * octree.evaluated_locations


def test_every_stage_gives_a_snapshot_of_its_own_points(a_lattice, formulas):
    field = formulas.field(formulas.sphere((33.3, 28.1, 25.7), 17.4))

    events, _ = formulas.run(refine(field, a_lattice, schedule="published"))

    truth = formulas.exhaustive(field, a_lattice)
    snapshots = formulas.snapshots_of(events)
    assert [snapshot.step for snapshot in snapshots] == [4, 2, 1]
    for snapshot in snapshots:
        step = snapshot.step
        # Not always all of it: a point that no dilation reaches is missed.
        assert np.mean(snapshot.labels.numpy() != truth[::step, ::step, ::step]) < 1e-4


def test_without_a_prior_the_published_prior_is_refused(a_lattice, formulas):
    field = formulas.field(formulas.sphere((9.0, 9.0, 9.0), 5.0))

    with pytest.raises(InputError, match="no prior"):
        formulas.run(refine(field, a_lattice, schedule="published-prior"))


def test_an_unknown_schedule_is_refused(a_lattice, formulas):
    with pytest.raises(InputError, match="schedule"):
        formulas.run(refine(formulas.field(formulas.sphere((9.0, 9.0, 9.0), 5.0)), a_lattice, schedule="all"))


@pytest.mark.parametrize("edge", [1, 3, 9])
def test_dilation_is_by_a_cube(edge):
    points = torch.zeros((12, 11, 4), dtype=torch.bool)
    points[1, 5, 2] = points[10, 0, 0] = True

    grown = dilated(points, edge)

    near = torch.zeros_like(points)
    for index in np.ndindex(*points.shape):
        near[index] = any(np.abs(np.subtract(index, point)).max() <= edge // 2 for point in [(1, 5, 2), (10, 0, 0)])
    assert torch.equal(grown, near)
