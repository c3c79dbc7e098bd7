"""What goes between the engine's process and its parent: the same arrays, in the same places, as plain words."""

from __future__ import annotations

import json

import numpy as np
import pytest

from napari_ossnet.engine import wire
from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.events import Message, Progress
from napari_ossnet.engine.exchange import Exchange
from napari_ossnet.engine.surfaces.surface import extract_surface


@pytest.fixture
def an_exchange(tmp_path):
    return Exchange(tmp_path)


def words_of(volume, exchange):
    """A segment command for the volume."""
    image = {"data": exchange.put("image", volume.data), "affine": volume.affine.tolist(), "channels": ["case_mr"]}
    return {"command": "segment", "id": 1, "task": "hippocampus", "images": {"mr": image}}


def test_a_scan_arrives_as_it_was_sent(a_turned_volume, an_exchange):
    scan = wire.scan_from_words(words_of(a_turned_volume, an_exchange), an_exchange)

    assert np.array_equal(scan.volume.data, a_turned_volume.data)
    assert np.array_equal(scan.volume.affine, a_turned_volume.affine)
    assert scan.image_names == {"mr": "case_mr"}


def test_a_scan_is_mapped_not_copied(a_volume, an_exchange):
    scan = wire.volume_from_words(words_of(a_volume, an_exchange)["images"]["mr"], an_exchange)

    assert isinstance(scan.data.base, np.memmap) or isinstance(scan.data, np.memmap)


def test_the_same_files_are_the_same_scan_and_others_are_not(a_volume, an_exchange):
    words = words_of(a_volume, an_exchange)
    scan = wire.scan_from_words(words, an_exchange)

    assert scan.is_of({**words, "id": 2, "threshold": 0.7})
    assert not scan.is_of(words_of(a_volume, an_exchange))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"images": {}}, "mr"),
        ({"task": "spleen"}, "spleen"),
        ({"task": None}, "None"),
        ({"images": {"mr": {"data": "x.npy"}}}, "affine"),
        ({"images": {"mr": {"data": "../x.npy", "affine": [], "channels": []}}}, "inside"),
        ({"images": {"mr": {"data": "gone.npy", "affine": [], "channels": []}}}, "gone.npy"),
    ],
)
def test_what_is_wrong_with_a_scan_is_said(a_volume, an_exchange, change, said):
    with pytest.raises(InputError, match=said):
        wire.scan_from_words({**words_of(a_volume, an_exchange), **change}, an_exchange)


def handed(volume, *messages):
    return wire.HandedScan({}, volume, [Message(text=text) for text in messages])


def test_a_command_without_images_or_with_unknown_settings_is_refused(a_volume, an_exchange):
    with pytest.raises(InputError, match="images"):
        wire.scan_from_words({"task": "hippocampus"}, an_exchange)
    with pytest.raises(InputError, match="thresholds"):
        wire.request_from_words({**words_of(a_volume, an_exchange), "thresholds": 0.4}, handed(a_volume))


def test_settings_reach_the_request_and_missing_ones_keep_its_defaults(a_volume, an_exchange):
    words = {**words_of(a_volume, an_exchange), "threshold": 0.3, "device": "cpu", "memory_bytes": None}

    request = wire.request_from_words(words, handed(a_volume, "The rest is blank."))

    assert (request.threshold, request.device, request.memory_bytes, request.step) == (0.3, "cpu", None, 1)
    assert request.messages == ("The rest is blank.",)


def test_events_are_plain_words():
    progress = wire.progress_to_words(Progress(stage="refining", step=2, points_done=5, points_total=9))

    assert json.loads(json.dumps(progress)) == progress
    assert (progress["event"], progress["stage"], progress["points_done"]) == ("progress", "refining", 5)
    assert wire.message_to_words(Message(text="Mind.", level="warning")) == {
        "event": "message", "text": "Mind.", "level": "warning",
    }  # fmt: skip


def test_a_coarse_snapshots_labels_stay_within_half_a_step_on_the_scans_voxels(a_session, a_turned_volume, toy):
    events, result = toy.run(a_session.segment(toy.request(a_turned_volume)))
    truth = np.argwhere(result.labels > 0).mean(axis=0)

    for snapshot in toy.snapshots(events):
        labels = wire.labels_on_voxels(snapshot, a_turned_volume.shape)
        assert labels.shape == a_turned_volume.shape
        assert np.abs(np.argwhere(labels > 0).mean(axis=0) - truth).max() <= snapshot.step / 2


def test_the_last_snapshot_on_voxels_is_the_mask(a_session, a_turned_volume, toy):
    events, result = toy.run(a_session.segment(toy.request(a_turned_volume)))

    last = toy.snapshots(events)[-1]
    assert np.array_equal(wire.labels_on_voxels(last, a_turned_volume.shape), result.labels)


def test_a_result_carries_mask_surfaces_and_report(a_session, a_volume, an_exchange, toy):
    _, result = toy.run(a_session.segment(toy.request(a_volume)))

    words = json.loads(json.dumps(wire.result_to_words(result, an_exchange)))

    assert np.array_equal(an_exchange.get(words["labels"]), result.labels)
    assert np.allclose(words["affine"], result.affine)
    (surface,) = words["surfaces"]
    mesh = extract_surface(result, surface["label"])
    assert np.allclose(an_exchange.get(surface["vertices"]), mesh.vertices_world, atol=1e-4)
    assert np.array_equal(an_exchange.get(surface["faces"]), mesh.faces)
    assert words["report"]["volume_ml"] == pytest.approx(result.whole.volume_ml)
