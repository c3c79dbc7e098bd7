"""Regions finer than the scan: in the right place, without a seam, led by what is known."""

from __future__ import annotations

import numpy as np
import pytest

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.events import Message
from napari_ossnet.engine.session import SegmentationSession

START, STOP = (10, 12, 8), (26, 20, 30)


@pytest.fixture(params=[((0, 1, 2), (-1, -1, 1)), ((2, 0, 1), (1, -1, -1)), ((1, 0, 2), (1, 1, 1))], ids=str)
def a_turned_volume(request, toy):
    axes, signs = request.param
    return toy.volume((41, 38, 35), axes, signs)


@pytest.mark.parametrize("factor", [1, 3, 4])
def test_the_fine_mask_is_the_object_where_its_affine_says(factor, a_session, a_turned_volume, toy):
    toy.run(a_session.segment(toy.request(a_turned_volume)))

    events, fine = toy.run(a_session.refine_region(START, STOP, factor))

    expected_shape = tuple((stop - start) * factor for start, stop in zip(START, STOP, strict=True))
    assert fine.labels.shape == expected_shape
    assert np.array_equal(fine.labels > 0, toy.is_in_ball(fine))
    for snapshot in toy.snapshots(events):
        assert np.array_equal(snapshot.labels > 0, toy.is_in_ball(snapshot))


@pytest.mark.parametrize("factor", [2, 2.5])
def test_the_fine_voxels_tile_the_box_exactly(factor, a_session, a_turned_volume, toy):
    toy.run(a_session.segment(toy.request(a_turned_volume)))

    _, fine = toy.run(a_session.refine_region(START, STOP, factor))

    to_scan = np.linalg.inv(a_turned_volume.affine) @ fine.affine
    lower = to_scan @ [-0.5, -0.5, -0.5, 1]
    upper = to_scan @ [*(np.array(fine.labels.shape) - 0.5), 1]
    assert np.allclose(lower[:3], np.array(START) - 0.5)
    assert np.allclose(upper[:3], np.array(STOP) - 0.5)


def test_snapshots_of_a_region_name_their_step_in_scan_voxels(a_session, a_volume, toy):
    toy.run(a_session.segment(toy.request(a_volume)))

    events, fine = toy.run(a_session.refine_region(START, STOP, 4))

    steps = [snapshot.step for snapshot in toy.snapshots(events)]
    assert steps[-1] == 0.25
    assert fine.region is not None
    assert fine.report()["region"]["note"] == "interpolated beyond the scan's resolution"
    assert any(isinstance(event, Message) and "beyond the scan's resolution" in event.text for event in events)


def test_a_region_asks_for_little_beside_its_voxels(a_session, a_volume, toy):
    toy.run(a_session.segment(toy.request(a_volume)))

    _, fine = toy.run(a_session.refine_region((4, 4, 4), (36, 34, 32), 8))

    assert fine.evaluated_locations < 0.05 * fine.labels.size


def test_the_same_region_at_another_threshold_reuses_its_points(a_session, a_volume, toy):
    toy.run(a_session.segment(toy.request(a_volume)))
    _, first = toy.run(a_session.refine_region(START, STOP, 4))

    _, again = toy.run(a_session.refine_region(START, STOP, 4))

    assert again.evaluated_locations == 0
    assert np.array_equal(first.labels, again.labels)


def test_a_region_after_a_cancelled_move_of_the_threshold_belongs_to_the_result(a_session, a_volume, toy):
    toy.run(a_session.segment(toy.request(a_volume)))
    box = ((10, 12, 8), (26, 20, 30), 2)
    _, expected = toy.run(a_session.refine_region(*box))

    move = a_session.segment(toy.request(a_volume, threshold=0.9))
    next(move)
    move.close()
    _, found = toy.run(a_session.refine_region(*box))

    assert found.threshold == a_session.result.threshold == 0.5
    assert np.array_equal(found.labels, expected.labels)


def test_a_small_object_known_from_the_scan_is_found_again_in_its_region(a_volume, toy):
    speck = toy.centre + np.array([6.0, 4.0, -3.0])
    session = SegmentationSession(
        encode=toy.encoder(formula=lambda points: 1.2 - np.linalg.norm(points - speck, axis=1))
    )
    request = toy.request(a_volume, step=1, schedule="octree")
    _, coarse = toy.run(session.segment(request))
    if coarse.is_empty:
        _, coarse = toy.run(session.segment(toy.request(a_volume, schedule="published")))

    _, fine = toy.run(session.refine_region((2, 2, 2), (39, 36, 33), 4))

    volume = 4 / 3 * np.pi * 1.2**3
    assert fine.whole.volume_ml * 1000 == pytest.approx(volume, rel=0.05)


@pytest.mark.parametrize(
    ("start", "stop", "factor"),
    [((0, 0, 0), (0, 5, 5), 2), ((0, 0, 0), (90, 5, 5), 2), ((-1, 0, 0), (5, 5, 5), 2), ((0, 0, 0), (5, 5, 5), 0.5)],
)
def test_a_box_that_is_none_is_refused(start, stop, factor, a_session, a_volume, toy):
    toy.run(a_session.segment(toy.request(a_volume)))

    with pytest.raises(InputError):
        toy.run(a_session.refine_region(start, stop, factor))


def test_a_region_before_any_scan_is_refused(a_session, toy):
    with pytest.raises(InputError, match="segment a scan first"):
        toy.run(a_session.refine_region(START, STOP, 2))
