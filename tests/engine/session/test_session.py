"""The front ends' door: what goes in, what comes out, what is kept, and how it fails."""

from __future__ import annotations

import gc
import json
import weakref

import numpy as np
import pytest

from napari_ossnet.engine.errors import DeviceError, InputError, OutOfMemoryError
from napari_ossnet.engine.events import Message, Progress
from napari_ossnet.engine.session import SegmentationSession


def test_the_mask_is_the_object_in_the_scans_own_grid(a_session, a_turned_volume, toy):
    _, result = toy.run(a_session.segment(toy.request(a_turned_volume)))

    assert result.labels.shape == a_turned_volume.shape
    assert result.labels.dtype == np.uint8
    assert np.array_equal(result.affine, a_turned_volume.affine)
    assert np.array_equal(result.labels == 2, toy.is_in_ball(result))
    assert set(np.unique(result.labels)) == {0, 2}


def test_the_generation_tells_whether_a_result_s_field_is_at_hand(a_session, a_volume, a_turned_volume, toy):
    toy.run(a_session.segment(toy.request(a_volume)))
    first = a_session.generation

    toy.run(a_session.rethreshold(0.7))
    toy.run(a_session.segment(toy.request(a_volume)))
    assert a_session.generation == first

    toy.run(a_session.segment(toy.request(a_volume, step=2)))
    second = a_session.generation
    steps = a_session.segment(toy.request(a_turned_volume))
    next(steps)
    steps.close()
    assert len({first, second, a_session.generation}) == 3, "a cancelled run has let go of the scan before, too"

    third = a_session.generation
    a_session.release()
    assert a_session.generation != third


def test_what_was_said_before_a_run_is_in_its_report(a_session, a_volume, toy):
    _, result = toy.run(a_session.segment(toy.request(a_volume, messages=("The rest is blank.",))))

    assert result.report()["messages"][0] == "The rest is blank."


def test_every_snapshot_lies_where_its_affine_says(a_session, a_turned_volume, toy):
    events, _ = toy.run(a_session.segment(toy.request(a_turned_volume)))

    snapshots = toy.snapshots(events)
    assert [snapshot.step for snapshot in snapshots] == [4, 2, 1]
    for snapshot in snapshots:
        assert np.array_equal(snapshot.labels > 0, toy.is_in_ball(snapshot))


def test_first_voxel_and_steps_say_the_same_as_the_affine(a_session, a_turned_volume, toy):
    events, _ = toy.run(a_session.segment(toy.request(a_turned_volume)))

    for snapshot in toy.snapshots(events):
        assert all(float(first).is_integer() and first >= 0 for first in snapshot.first_voxel)
        last = np.array(snapshot.first_voxel) + np.array(snapshot.steps) * (np.array(snapshot.labels.shape) - 1)
        assert (last <= np.array(a_turned_volume.shape) - 1).all()
        from_samples = np.diag([*snapshot.steps, 1.0])
        from_samples[:3, 3] = snapshot.first_voxel
        assert np.allclose(snapshot.affine, a_turned_volume.affine @ from_samples, atol=1e-9)


def test_the_bounds_of_every_snapshot_are_the_scans_outer_faces(a_session, a_turned_volume, toy):
    events, _ = toy.run(a_session.segment(toy.request(a_turned_volume)))

    for snapshot in toy.snapshots(events):
        low, high = np.array(snapshot.bounds) * snapshot.steps + snapshot.first_voxel
        assert low == pytest.approx([-0.5] * 3)
        assert high == pytest.approx(np.array(a_turned_volume.shape) - 0.5)


def test_band_samples_are_in_scan_order_with_their_logits(a_session, a_turned_volume, toy):
    events, _ = toy.run(a_session.segment(toy.request(a_turned_volume)))

    for snapshot in toy.snapshots(events):
        points = (np.c_[snapshot.band_samples, np.ones(len(snapshot.band_samples))] @ snapshot.affine.T)[:, :3]
        expected = toy.radius - np.linalg.norm(points - toy.centre, axis=1)
        assert np.allclose(snapshot.band_logits[:, 0], expected, atol=1e-4)
        assert np.array_equal(snapshot.labels[tuple(snapshot.band_samples.T)] > 0, snapshot.band_logits[:, 0] > 0)


def test_several_classes_carry_the_tasks_labels(a_volume, toy):
    session = SegmentationSession(encode=toy.encoder(formula=toy.two_parts, task=toy.task(2)))

    _, result = toy.run(session.segment(toy.request(a_volume)))

    assert np.array_equal(result.labels > 0, toy.is_in_ball(result) | (result.labels > 0))
    right = np.argwhere(result.labels == 2) @ result.affine[:3, :3].T + result.affine[:3, 3]
    left = np.argwhere(result.labels == 3) @ result.affine[:3, :3].T + result.affine[:3, 3]
    assert right[:, 0].min() > toy.centre[0] - 1
    assert left[:, 0].max() < toy.centre[0] + 1
    assert [item.label for item in result.measurements] == [None, 2, 3]
    assert result.whole.volume_ml == pytest.approx(sum(item.volume_ml for item in result.measurements[1:]))


def test_the_same_scan_is_encoded_once(a_session, an_encoder, a_volume, toy):
    toy.run(a_session.segment(toy.request(a_volume)))
    toy.run(a_session.segment(toy.request(a_volume, step=2)))
    assert len(an_encoder.fields) == 1

    other = toy.volume((41, 38, 35), (0, 1, 2), (-1, -1, 1))
    toy.run(a_session.segment(toy.request(other)))
    assert len(an_encoder.fields) == 2


def test_another_budget_is_kept_from_the_encoding_on(a_session, an_encoder, a_volume, toy):
    toy.run(a_session.segment(toy.request(a_volume)))
    toy.run(a_session.segment(toy.request(a_volume, memory_bytes=2**30)))
    toy.run(a_session.segment(toy.request(a_volume, memory_bytes=2**30, step=2)))
    assert len(an_encoder.fields) == 2


def test_a_field_without_its_mirror_image_does_not_serve_a_request_with_it(a_session, an_encoder, a_volume, toy):
    _, plain = toy.run(a_session.segment(toy.request(a_volume)))
    _, mirrored = toy.run(a_session.segment(toy.request(a_volume, mirrored=True)))
    assert len(an_encoder.fields) == 2
    assert [result.report()["mirrored"] for result in (plain, mirrored)] == [False, True]


def test_release_forgets_everything(a_session, an_encoder, a_volume, toy):
    toy.run(a_session.segment(toy.request(a_volume)))

    a_session.release()

    assert a_session.result is None
    with pytest.raises(InputError, match="segment a scan first"):
        toy.run(a_session.rethreshold(0.4))
    toy.run(a_session.segment(toy.request(a_volume)))
    assert len(an_encoder.fields) == 2


def test_a_moved_threshold_gives_the_mask_of_a_fresh_run_for_fewer_questions(a_session, a_volume, toy):
    toy.run(a_session.segment(toy.request(a_volume)))

    _, moved = toy.run(a_session.rethreshold(0.7))

    _, fresh = toy.run(SegmentationSession(encode=toy.encoder()).segment(toy.request(a_volume, threshold=0.7)))
    assert np.array_equal(moved.labels, fresh.labels)
    assert moved.threshold == 0.7
    assert 0 < moved.evaluated_locations < fresh.evaluated_locations
    assert moved.timings.encoding_s < 0.1


def test_a_coarse_result_still_has_the_scans_grid(a_session, a_volume, toy):
    events, result = toy.run(a_session.segment(toy.request(a_volume, step=4)))

    assert toy.snapshots(events)[-1].step == 4
    assert result.labels.shape == a_volume.shape
    assert np.mean((result.labels > 0) != toy.is_in_ball(result)) < 0.02


def test_nothing_found_is_an_empty_mask_and_a_message(a_volume, toy):
    session = SegmentationSession(encode=toy.encoder(formula=lambda points: -np.ones(len(points))))

    events, result = toy.run(session.segment(toy.request(a_volume)))

    assert result.is_empty
    assert any(isinstance(event, Message) and "Nothing was found" in event.text for event in events)
    assert result.whole.volume_ml == result.whole.surface_area_cm2 == result.whole.max_diameter_mm == 0
    assert any("Nothing was found" in text for text in result.report()["messages"])


def test_the_report_is_json_and_holds_what_reviews_read(a_session, a_volume, toy):
    _, result = toy.run(a_session.segment(toy.request(a_volume)))

    report = json.loads(json.dumps(result.report()))

    sphere_ml = 4 / 3 * np.pi * toy.radius**3 / 1000
    assert report["volume_ml"] == pytest.approx(sphere_ml, rel=0.01)
    assert report["surface_area_cm2"] == pytest.approx(4 * np.pi * toy.radius**2 / 100, rel=0.02)
    assert report["max_diameter_mm"] == pytest.approx(2 * toy.radius, rel=0.01)
    assert report["evaluated_locations"] == result.evaluated_locations > 0
    assert 0 < report["first_snapshot_s"] <= report["elapsed_s"]
    assert report["peak_memory_bytes"] > 0
    assert report["device"] == "cpu"
    assert report["weights"] == {"name": "toy-weights", "sha256": "0" * 64, "task": "toy", "variant": "c"}
    assert {"napari_ossnet", "torch", "python"} <= set(report["versions"])
    assert [item["step"] for item in report["snapshots"]] == [4, 2, 1]
    assert report["snapshots"][-1]["evaluated_locations"] == report["evaluated_locations"]


def test_closing_the_run_cancels_it_and_the_session_goes_on(a_session, an_encoder, a_volume, toy):
    steps = a_session.segment(toy.request(a_volume))
    while not toy.snapshots([next(steps)]):
        pass
    steps.close()
    asked = an_encoder.fields[0].asked

    _, result = toy.run(a_session.segment(toy.request(a_volume)))

    assert len(an_encoder.fields) == 1
    assert np.array_equal(result.labels == 2, toy.is_in_ball(result))
    assert result.evaluated_locations == an_encoder.fields[0].asked - asked


@pytest.mark.parametrize(
    ("failure", "expected", "words"),
    [
        (RuntimeError("CUDA error: an illegal memory access"), DeviceError, "illegal memory access"),
        (RuntimeError("CUDA out of memory. Tried to allocate"), OutOfMemoryError, "--device cpu"),
        (MemoryError(), OutOfMemoryError, "--device cpu"),
    ],
)
def test_no_runtime_error_ever_leaves_a_run(failure, expected, words, a_session, an_encoder, a_volume, toy):
    steps = a_session.segment(toy.request(a_volume))
    while not toy.snapshots([next(steps)]):
        pass
    an_encoder.fields[0].failure = failure

    with pytest.raises(expected, match=words):
        toy.run(steps)

    an_encoder.fields[0].failure = None
    _, result = toy.run(a_session.segment(toy.request(a_volume)))
    assert np.array_equal(result.labels == 2, toy.is_in_ball(result))


def test_the_old_field_is_gone_before_the_next_scan_is_encoded(an_encoder, a_volume, toy):
    left = []

    def encode(request, earlier):
        gc.collect()
        left.append(sum(field() is not None for field in fields))
        encoded = yield from an_encoder(request, earlier)
        fields.append(weakref.ref(an_encoder.fields.pop()))
        return encoded

    fields = []
    session = SegmentationSession(encode=encode)
    toy.run(session.segment(toy.request(a_volume)))
    toy.run(session.segment(toy.request(toy.volume((30, 32, 34), (0, 1, 2), (1, 1, 1)))))
    assert left == [0, 0]


@pytest.mark.parametrize("options", [{"step": 3}, {"step": 8, "schedule": "published"}, {"schedule": "none"}])
def test_a_step_that_a_schedule_does_not_have_is_refused_before_anything_is_encoded(
    options, a_session, an_encoder, a_volume, toy
):
    with pytest.raises(InputError, match="schedule"):
        toy.run(a_session.segment(toy.request(a_volume, **options)))
    assert an_encoder.fields == []


def test_a_box_whose_mask_fits_no_machine_is_refused(a_session, a_volume, toy):
    toy.run(a_session.segment(toy.request(a_volume)))
    with pytest.raises(InputError, match="smaller box or factor"):
        toy.run(a_session.refine_region((0, 0, 0), (30, 30, 30), factor=1000))


def test_a_wrong_threshold_is_refused_before_anything_is_encoded(a_session, an_encoder, a_volume, toy):
    with pytest.raises(InputError, match="between 0 and 1"):
        toy.run(a_session.segment(toy.request(a_volume, threshold=1.5)))

    assert not an_encoder.fields


def test_progress_names_the_stages_in_their_order(a_session, a_volume, toy):
    events, _ = toy.run(a_session.segment(toy.request(a_volume)))

    stages = [event.stage for event in events if isinstance(event, Progress)]
    assert list(dict.fromkeys(stages)) == ["encoding", "refining", "measuring"]
