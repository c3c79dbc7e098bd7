"""Boxes of one finer lattice share their points."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_ossnet.engine.refining.known_points import KnownPoints
from napari_ossnet.engine.refining.known_window import KnownWindow

WHOLE = (8, 10, 12)


def keys_of(points, shape):
    return torch.as_tensor(np.ravel_multi_index(np.array(points).T, shape))


def test_a_point_is_found_through_every_window_that_holds_it():
    whole = KnownPoints()
    one = KnownWindow(whole, whole_shape=WHOLE, first=(1, 2, 3), shape=(4, 5, 6))
    other = KnownWindow(whole, whole_shape=WHOLE, first=(2, 2, 2), shape=(3, 4, 5))
    # Points of the whole lattice (3, 4, 5) and (1, 2, 3): the second lies outside the other window.
    one.add(keys_of([(2, 2, 2), (0, 0, 0)], (4, 5, 6)), torch.tensor([[1.5], [-2.0]]))
    one.merge()

    is_known, logits = other.look_up(keys_of([(1, 2, 3), (0, 0, 0)], (3, 4, 5)))
    keys, everything = other.everything()

    assert is_known.tolist() == [True, False]
    assert logits.tolist() == [[1.5]]
    assert keys.tolist() == keys_of([(1, 2, 3)], (3, 4, 5)).tolist()
    assert everything.tolist() == [[1.5]]


def test_a_cropped_window_begins_where_its_part_does():
    window = KnownWindow(KnownPoints(), whole_shape=WHOLE, first=(1, 2, 3), shape=(4, 5, 6))
    part = window.cropped((1, 0, 2), (2, 3, 2))
    part.add(keys_of([(1, 2, 1)], (2, 3, 2)), torch.tensor([[7.0]]))
    part.merge()

    is_known, _ = window.look_up(keys_of([(2, 2, 3)], (4, 5, 6)))

    assert is_known.tolist() == [True]


def test_a_window_in_which_nothing_is_known_says_so():
    whole = KnownPoints()
    KnownWindow(whole, whole_shape=WHOLE, first=(0, 0, 0), shape=(2, 2, 2)).add(torch.tensor([0]), torch.ones(1, 1))
    with pytest.raises(ValueError, match="no point"):
        KnownWindow(whole, whole_shape=WHOLE, first=(4, 4, 4), shape=(2, 2, 2)).everything()


def test_the_keys_of_a_window_are_sorted():
    whole = KnownPoints()
    window = KnownWindow(whole, whole_shape=WHOLE, first=(1, 2, 3), shape=(4, 5, 6))
    keys = torch.randperm(4 * 5 * 6, generator=torch.Generator().manual_seed(3))
    window.add(keys, keys[:, None].float())

    found, logits = window.everything()

    assert found.tolist() == sorted(keys.tolist())
    assert logits[:, 0].tolist() == sorted(keys.tolist())


@pytest.mark.parametrize("orientation", [((0, 1, 2), (-1, -1, 1)), ((2, 0, 1), (1, -1, -1))], ids=str)
def test_regions_that_overlap_share_what_was_asked(orientation, a_session, toy):
    volume = toy.volume((41, 38, 35), *orientation)
    toy.run(a_session.segment(toy.request(volume)))
    toy.run(a_session.refine_region((10, 12, 8), (26, 20, 30), 4))
    alone = type(a_session)(encode=a_session._encode)
    toy.run(alone.segment(toy.request(volume)))

    _, again = toy.run(a_session.refine_region((12, 12, 8), (24, 20, 30), 4))
    _, fresh = toy.run(alone.refine_region((12, 12, 8), (24, 20, 30), 4))

    assert np.array_equal(again.labels, fresh.labels)
    assert np.array_equal(again.labels > 0, toy.is_in_ball(again))
    assert again.evaluated_locations < 0.2 * fresh.evaluated_locations
