"""The octree against the exhaustive mask, on shapes whose every voxel is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.ndimage import label

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.refining.known_points import KnownPoints
from napari_ossnet.engine.refining.octree import Caution
from napari_ossnet.engine.refining.refinement import refine


def test_the_octrees_mask_is_the_exhaustive_one(a_shape, a_lattice, formulas):
    _, refined = formulas.run(refine(a_shape, a_lattice))

    assert np.array_equal(refined.labels.numpy(), formulas.exhaustive(a_shape, a_lattice))


@pytest.mark.parametrize("shape", [(33, 32, 31), (17, 16, 15), (5, 40, 9), (1, 30, 30), (64, 64, 64), (2, 2, 2)])
def test_lattices_of_any_size_are_covered_up_to_their_last_point(shape, formulas):
    field = formulas.field(formulas.sphere(tuple(0.7 * size for size in shape), 0.4 * max(shape)))
    lattice = formulas.lattice(*shape)

    _, refined = formulas.run(refine(field, lattice))

    assert np.array_equal(refined.labels.numpy(), formulas.exhaustive(field, lattice))


@pytest.mark.parametrize("threshold", [0.05, 0.3, 0.9])
def test_any_threshold_is_cut_as_exactly_as_the_usual_one(threshold, a_lattice, formulas):
    field = formulas.field(formulas.torus((35.0, 30.2, 26.4), 18.3, 6.2))

    _, refined = formulas.run(refine(field, a_lattice, threshold=threshold))

    assert np.array_equal(refined.labels.numpy(), formulas.exhaustive(field, a_lattice, threshold))


def test_on_a_rough_surface_only_specks_that_touch_nothing_are_missed(formulas):
    lattice = formulas.lattice(80, 80, 80)
    waves = torch.tensor([[0.9, 0.4, 0.1], [0.2, 1.1, 0.5], [0.3, 0.2, 1.3]])
    ball = formulas.sphere((40.0, 40.0, 40.0), 25.0)
    field = formulas.field(lambda locations: ball(locations) + 1.5 * torch.sin(locations @ waves).sum(dim=1))

    _, refined = formulas.run(refine(field, lattice))

    truth = formulas.exhaustive(field, lattice)
    is_wrong = refined.labels.numpy() != truth
    for side in (truth > 0, truth == 0):
        pieces, _ = label(side)
        largest = np.bincount(pieces[side]).argmax()
        assert not is_wrong[pieces == largest].any()
    assert np.mean(is_wrong) < 3e-4


def test_no_point_is_asked_for_twice_in_a_run(a_shape, a_lattice, formulas):
    known = KnownPoints()

    _, refined = formulas.run(refine(a_shape, a_lattice, known=known))
    known.merge()

    assert len(known) == refined.evaluated_locations


def test_evaluated_locations_grow_like_the_surface(formulas):
    asked = []
    for size in (64, 128, 256):
        field = formulas.field(formulas.sphere((0.48 * size,) * 3, 0.31 * size))
        _, refined = formulas.run(refine(field, formulas.lattice(size, size, size)))
        asked.append(refined.evaluated_locations)

    exponents = [np.log2(large / small) for small, large in itertools.pairwise(asked)]
    assert max(exponents) < 2.2


def test_a_small_object_that_no_coarse_sample_hits_is_found_where_the_prior_points(formulas):
    lattice = formulas.lattice(200, 200, 120)
    ball = formulas.sphere((107.0, 92.0, 60.0), 4.0)
    blind = formulas.field(ball, prior=lambda locations: torch.zeros(len(locations), dtype=torch.bool))
    near = formulas.sphere((110.0, 90.0, 60.0), 20.0)
    pointed = formulas.field(ball, prior=lambda locations: near(locations) > 0)

    _, missed = formulas.run(refine(blind, lattice))
    _, found = formulas.run(refine(pointed, lattice))

    assert not missed.labels.any()
    assert np.array_equal(found.labels.numpy(), formulas.exhaustive(pointed, lattice))


def test_a_prior_that_denies_everything_removes_nothing(a_lattice, formulas):
    ball = formulas.sphere((33.3, 28.1, 25.7), 17.4)
    field = formulas.field(ball, prior=lambda locations: torch.zeros(len(locations), dtype=torch.bool))

    _, refined = formulas.run(refine(field, a_lattice))

    assert np.array_equal(refined.labels.numpy(), formulas.exhaustive(field, a_lattice))


def test_thick_slices_are_sampled_more_densely_along_their_axis(formulas):
    lattice = formulas.lattice(160, 160, 20)
    lattice = type(lattice)(shape=lattice.shape, to_grid=np.diag([1.0, 1, 8, 1]), affine=np.diag([0.5, 0.5, 4, 1]))
    field = formulas.field(formulas.sphere((80.0, 80.0, 84.0), 20.0))

    events, refined = formulas.run(refine(field, lattice))

    first = formulas.snapshots_of(events)[0]
    assert first.steps[0] == first.steps[1] == 8 * first.steps[2]
    assert np.array_equal(refined.labels.numpy(), formulas.exhaustive(field, lattice))


def test_stopping_at_a_coarse_step_still_labels_every_point(a_lattice, formulas):
    field = formulas.field(formulas.sphere((33.3, 28.1, 25.7), 17.4))

    events, refined = formulas.run(refine(field, a_lattice, final_step=4))

    truth = formulas.exhaustive(field, a_lattice)
    assert formulas.snapshots_of(events)[-1].step == 4
    assert refined.labels.shape == a_lattice.shape
    assert np.mean(refined.labels.numpy() != truth) < 0.01
    assert np.array_equal(refined.labels.numpy()[::4, ::4, ::4], truth[::4, ::4, ::4])


def test_doubtful_cells_are_searched_to_the_same_distance_in_the_scan_however_fine_the_lattice(formulas):
    field = formulas.field(formulas.sphere((16.0, 16.0, 16.0), 9.0))
    lattice = formulas.lattice(32, 32, 32).region((0, 0, 0), (32, 32, 32), 4.0)
    # Every cell is in doubt: samples 2 grid voxels apart are all asked for, the eightfold between them are not.
    _, refined = formulas.run(refine(field, lattice, caution=Caution(cells=100.0, cells_step=4)))

    surface = 4 * np.pi * (9.0 * 4) ** 2
    assert refined.evaluated_locations < 16**3 + 6 * surface


@pytest.mark.parametrize("step", [0, 3, 5, 32])
def test_a_step_that_is_none_is_refused(step, a_lattice, formulas):
    with pytest.raises(InputError, match="finest step"):
        formulas.run(refine(formulas.field(formulas.sphere((9.0, 9.0, 9.0), 5.0)), a_lattice, final_step=step))


@pytest.mark.parametrize("threshold", [0.0, 1.0, -0.5, float("nan")])
def test_a_threshold_that_is_no_probability_is_refused(threshold, a_lattice, formulas):
    with pytest.raises(InputError, match="between 0 and 1"):
        formulas.run(refine(formulas.field(formulas.sphere((9.0, 9.0, 9.0), 5.0)), a_lattice, threshold=threshold))
