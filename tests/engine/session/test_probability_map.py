"""Probabilities of all voxels: exact next to the surface, sensible elsewhere, in the scan's axis order."""

from __future__ import annotations

import numpy as np
import pytest

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.geometry import voxel_to_world
from napari_ossnet.engine.session import SegmentationSession


def true_probability(result, toy) -> np.ndarray:
    indices = np.stack(np.meshgrid(*[np.arange(size) for size in result.labels.shape], indexing="ij"), axis=-1)
    points = voxel_to_world(result.affine, indices.reshape(-1, 3))
    distance = toy.radius - np.linalg.norm(points - toy.centre, axis=1)
    return (1 / (1 + np.exp(-distance))).reshape(result.labels.shape)


def test_it_agrees_with_the_field_and_cuts_the_mask_at_the_threshold(a_session, a_turned_volume, toy):
    _, result = toy.run(a_session.segment(toy.request(a_turned_volume)))

    probability = a_session.probability_map(result)

    truth = true_probability(result, toy)
    assert probability.shape == (1, *result.labels.shape)
    assert probability.dtype == np.float32
    assert np.abs(probability[0] - truth).max() < 0.1
    band = tuple(result.band_samples.T)
    assert np.allclose(probability[0][band], truth[band], atol=1e-4)
    assert np.array_equal(probability[0] > 0.5, result.labels > 0)


def test_a_coarse_run_has_no_spikes_at_its_samples(a_session, toy):
    """A small scan, whose own first step would be finer than the one that was asked for."""
    scan = toy.volume((24, 23, 25), (0, 1, 2), (-1, -1, 1))
    _, result = toy.run(a_session.segment(toy.request(scan, step=8)))

    probability = a_session.probability_map(result)

    logit = np.log(probability[0] / (1 - probability[0]))
    # Distances change by a voxel from one voxel to the next, and a line through samples 8 apart is no steeper.
    assert max(np.abs(np.diff(logit, axis=axis)).max() for axis in range(3)) < 1.1


def test_a_region_has_probabilities_of_its_own(a_session, a_volume, toy):
    toy.run(a_session.segment(toy.request(a_volume)))
    _, fine = toy.run(a_session.refine_region((10, 12, 8), (26, 20, 30), 2))

    probability = a_session.probability_map(fine)

    assert probability.shape == (1, *fine.labels.shape)
    assert np.array_equal(probability[0] > 0.5, fine.labels > 0)


def test_several_classes_have_one_map_each(a_volume, toy):
    session = SegmentationSession(encode=toy.encoder(formula=toy.two_parts, task=toy.task(2)))
    _, result = toy.run(session.segment(toy.request(a_volume)))

    probability = session.probability_map(result)

    assert probability.shape == (2, *result.labels.shape)
    assert (probability.sum(axis=0) <= 1.00001).all()
    assert np.mean((probability[0] > 0.5) & (result.labels != 2)) < 1e-3


def test_points_that_are_gone_are_asked_for(a_session, a_volume, toy):
    _, result = toy.run(a_session.segment(toy.request(a_volume)))
    a_session.release()

    with pytest.raises(InputError, match="again"):
        a_session.probability_map(result)
