"""The logic on the real child process, against real MRML nodes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import slicer
from OSSNetLib import nodes

WAIT_MS = 120_000


def test_a_run_streams_from_coarse_to_fine_and_fills_the_scene(
    a_logic: SimpleNamespace, a_volume_node: Callable[..., object], qtbot: object
) -> None:
    volume = a_volume_node()
    a_logic.logic.segment("hippocampus", {"mr": volume}, weights="tiny", device="cpu")
    qtbot.waitUntil(lambda: not a_logic.logic.is_busy, timeout=WAIT_MS)
    assert a_logic.failures == []
    assert len(a_logic.steps) >= 3
    assert a_logic.steps == sorted(a_logic.steps, reverse=True)
    result = a_logic.logic.result
    assert result.segmentation_node.GetSegmentation().GetNumberOfSegments() == 2
    assert result.table_node.GetNumberOfRows() == 3
    assert a_logic.reports[0]["weights"]["name"] == "tiny"
    assert slicer.util.getNodesByClass("vtkMRMLModelNode") == []


def test_the_segments_equal_the_engines_own_mask(
    a_logic: SimpleNamespace, a_volume_node: Callable[..., object], qtbot: object
) -> None:
    from napari_ossnet.engine.completion import complete
    from napari_ossnet.engine.session import SegmentationSession, SegmentRequest
    from napari_ossnet.engine.volume import Volume

    volume = a_volume_node()
    a_logic.logic.segment("hippocampus", {"mr": volume}, weights="tiny", device="cpu")
    qtbot.waitUntil(lambda: not a_logic.logic.is_busy, timeout=WAIT_MS)
    scan = Volume(data=nodes.volume_to_array(volume), affine=nodes.volume_to_affine(volume), channel_names=("mr",))
    request = SegmentRequest(volume=scan, task="hippocampus", weights="tiny", device="cpu")
    expected = complete(SegmentationSession().segment(request)).labels
    result = a_logic.logic.result
    assert np.array_equal(nodes.read_labels(result.segmentation_node, result.task.classes, volume), expected)


def test_a_killed_child_is_a_sentence_and_the_next_run_starts_another(
    a_logic: SimpleNamespace, a_volume_node: Callable[..., object], qtbot: object
) -> None:
    pids = []
    a_logic.logic.process.received.connect(lambda words: pids.append(words["pid"]) if "pid" in words else None)
    volume = a_volume_node()
    a_logic.logic.segment("hippocampus", {"mr": volume}, weights="tiny", device="cpu")
    qtbot.waitUntil(lambda: bool(pids), timeout=WAIT_MS)
    os.kill(pids[0], signal.SIGKILL)
    qtbot.waitUntil(lambda: bool(a_logic.failures), timeout=WAIT_MS)
    assert "ended unexpectedly" in a_logic.failures[0]
    assert not a_logic.logic.is_busy
    a_logic.logic.segment("hippocampus", {"mr": volume}, weights="tiny", device="cpu")
    qtbot.waitUntil(lambda: bool(a_logic.reports), timeout=WAIT_MS)
    assert len(set(pids)) == 2


def test_cancelling_keeps_what_was_shown_and_the_child(
    a_logic: SimpleNamespace, a_volume_node: Callable[..., object], qtbot: object
) -> None:
    pids = []
    a_logic.logic.process.received.connect(lambda words: pids.append(words["pid"]) if "pid" in words else None)
    volume = a_volume_node()
    a_logic.logic.snapshot_shown.connect(lambda step: a_logic.logic.cancel())
    a_logic.logic.segment("hippocampus", {"mr": volume}, weights="tiny", device="cpu")
    qtbot.waitUntil(lambda: not a_logic.logic.is_busy, timeout=WAIT_MS)
    assert a_logic.cancelled == [True]
    assert a_logic.reports == []
    assert a_logic.logic.result.segmentation_node.GetSegmentation().GetNumberOfSegments() == 2
    a_logic.logic.ask("weights", task="hippocampus")
    qtbot.waitUntil(lambda: bool(a_logic.answers), timeout=WAIT_MS)
    assert "tiny" in {entry["name"] for entry in a_logic.answers[0][1]["entries"]}
    assert len(pids) == 1


def test_a_scan_deleted_during_a_run_stops_the_run(
    a_logic: SimpleNamespace, a_volume_node: Callable[..., object], qtbot: object
) -> None:
    volume = a_volume_node()
    told = []
    a_logic.logic.told.connect(lambda text, is_warning: told.append(text))
    a_logic.logic.segment("hippocampus", {"mr": volume}, weights="tiny", device="cpu")
    slicer.mrmlScene.RemoveNode(volume)
    qtbot.waitUntil(lambda: not a_logic.logic.is_busy, timeout=WAIT_MS)
    assert a_logic.reports == []
    assert any("deleted" in text for text in [*told, *a_logic.failures])


def test_a_region_is_refined_on_voxels_of_its_own(
    a_logic: SimpleNamespace, a_volume_node: Callable[..., object], qtbot: object
) -> None:
    volume = a_volume_node()
    a_logic.logic.segment("hippocampus", {"mr": volume}, weights="tiny", device="cpu")
    qtbot.waitUntil(lambda: bool(a_logic.reports), timeout=WAIT_MS)
    a_logic.logic.refine_region([10, 12, 8], [18, 20, 16], 2.0)
    qtbot.waitUntil(lambda: not a_logic.logic.is_busy, timeout=WAIT_MS)
    assert a_logic.failures == []
    node = a_logic.regions[0]
    assert "beyond the scan" in node.GetName()
    assert node.GetSegmentation().GetNumberOfSegments() == 2


def test_no_process_and_no_folder_is_left_behind(
    a_logic: SimpleNamespace, a_volume_node: Callable[..., object], qtbot: object
) -> None:
    pids = []
    a_logic.logic.process.received.connect(lambda words: pids.append(words["pid"]) if "pid" in words else None)
    a_logic.logic.ask("weights", task="hippocampus")
    qtbot.waitUntil(lambda: bool(a_logic.answers), timeout=WAIT_MS)
    folder = a_logic.logic.process.exchange_folder
    a_logic.logic.close()
    assert not folder.exists()
    assert not Path(f"/proc/{pids[0]}").exists()
