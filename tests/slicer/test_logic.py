"""The logic on the real child process, against real MRML nodes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import slicer
import vtk
from OSSNetLib import nodes
from OSSNetLib.results import RunResult

WAIT_MS = 120_000
TURN = np.radians(25)
OBLIQUE = np.eye(4)
OBLIQUE[:2, :2] = [[np.cos(TURN), -np.sin(TURN)], [np.sin(TURN), np.cos(TURN)]]
OBLIQUE = OBLIQUE @ np.diag([0.9, -1.0, 1.2, 1.0])
OBLIQUE[:3, 3] = 12, -20, 31


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


def test_an_image_that_pfseg_has_restored_becomes_a_volume_of_its_own(
    a_logic: SimpleNamespace, a_volume_node: Callable[..., object], pfseg_weights: Path, qtbot: object
) -> None:
    volume, logic = a_volume_node(affine=OBLIQUE), a_logic.logic
    logic.segment("hippocampus", {"mr": volume}, weights="tiny", device="cpu")
    qtbot.waitUntil(lambda: not logic.is_busy, timeout=WAIT_MS)
    assert not logic.has_super_resolved_image
    logic.segment("hippocampus", {"mr": volume}, weights=str(pfseg_weights), device="cpu")
    qtbot.waitUntil(lambda: not logic.is_busy, timeout=WAIT_MS)
    assert a_logic.failures == []
    assert logic.has_super_resolved_image
    added = []
    logic.image_added.connect(added.append)
    logic.ask("super_resolved")
    qtbot.waitUntil(lambda: not logic.is_busy, timeout=WAIT_MS)
    (node,) = added
    assert node.GetName() == "a_mr super-resolved by PFSeg"
    assert nodes.volume_to_array(node).shape[-3:] == (64, 64, 64)
    middle = nodes.volume_to_affine(node) @ [31.5, 31.5, 31.5, 1]
    expected = OBLIQUE @ [*((np.array([36, 50, 34]) - 1) / 2), 1]
    assert np.allclose(middle, expected, atol=1.0)
    # Along the scan's own axes, the second turned to the front; 64 voxels from the first to the last of 48, 64 and 48.
    directions = OBLIQUE[:3, :3] / [0.9, 1.0, 1.2] * [1, -1, 1]
    assert np.allclose(nodes.volume_to_affine(node)[:3, :3], directions * [47 / 63, 1.0, 47 / 63], atol=1e-6)


def _weights_for(task: object, path: Path) -> Path:
    """Untrained weights of a task of their own."""
    import torch

    from napari_ossnet.engine.checkpoints import save_weights
    from napari_ossnet.engine.model_card import ModelCard
    from napari_ossnet.engine.networks.variants import build_network

    torch.manual_seed(0)
    network = build_network("x", task).eval()
    config = network.config.to_dict()
    card = ModelCard(name=path.stem, title="Own", task=task, variant="x", network_config=config)
    save_weights(path, network, card)
    return path


def test_segments_are_those_of_the_weights_own_card(
    a_logic: SimpleNamespace, a_volume_node: Callable[..., object], tmp_path: Path, qtbot: object
) -> None:
    from napari_ossnet.engine.tasks import get_task

    task = get_task("hippocampus")
    tail = replace(task.classes[0], name="tail", title="Tail", label=3)
    path = _weights_for(replace(task, classes=(*task.classes, tail)), tmp_path / "own.safetensors")
    a_logic.logic.segment("hippocampus", {"mr": a_volume_node()}, weights=str(path), device="cpu")
    qtbot.waitUntil(lambda: not a_logic.logic.is_busy, timeout=WAIT_MS)
    assert a_logic.failures == []
    result = a_logic.logic.result
    assert result.segmentation_node.GetSegmentation().GetNumberOfSegments() == 3
    assert result.table_node.GetNumberOfRows() == 4


def test_images_that_the_weights_do_not_take_are_said(
    a_logic: SimpleNamespace, a_volume_node: Callable[..., object], tmp_path: Path
) -> None:
    from napari_ossnet.engine.tasks import get_task

    task = get_task("hippocampus")
    other = replace(task.modalities[0], name="t2", words=("t2",))
    path = _weights_for(replace(task, modalities=(other,)), tmp_path / "own.safetensors")
    a_logic.logic.segment("hippocampus", {"mr": a_volume_node()}, weights=str(path), device="cpu")
    assert not a_logic.logic.is_busy
    assert a_logic.failures == ["The weights need the images t2, found mr; choose other images or weights."]


def test_the_segments_equal_the_command_lines_mask(
    a_logic: SimpleNamespace, a_volume_node: Callable[..., object], tmp_path: Path, qtbot: object
) -> None:
    import nibabel

    volume = a_volume_node(affine=OBLIQUE)
    scan, mask = tmp_path / "mr.nii.gz", tmp_path / "mask.nii.gz"
    nibabel.save(nibabel.Nifti1Image(nodes.volume_to_array(volume)[0], OBLIQUE), scan)
    command = [sys.executable, "-m", "napari_ossnet.cli", "segment", str(scan), "-o", str(mask)]
    command += ["--task", "hippocampus", "--weights", "tiny", "--device", "cpu", "--progress", "none"]
    subprocess.run(command, check=True, capture_output=True)
    a_logic.logic.segment("hippocampus", {"mr": volume}, weights="tiny", device="cpu")
    qtbot.waitUntil(lambda: not a_logic.logic.is_busy, timeout=WAIT_MS)
    result = a_logic.logic.result
    expected = np.asarray(nibabel.load(mask).dataobj)
    assert expected.any()
    assert np.array_equal(nodes.read_labels(result.segmentation_node, result.task.classes, volume), expected)


def test_an_exported_surface_read_by_slicer_lies_where_the_segments_lie(
    a_logic: SimpleNamespace, a_volume_node: Callable[..., object], tmp_path: Path, qtbot: object
) -> None:
    a_logic.logic.segment("hippocampus", {"mr": a_volume_node(affine=OBLIQUE)}, weights="tiny", device="cpu")
    qtbot.waitUntil(lambda: not a_logic.logic.is_busy, timeout=WAIT_MS)
    node, together = a_logic.logic.result.segmentation_node, vtk.vtkBoundingBox()
    for index in range(2):
        surface = vtk.vtkPolyData()
        assert node.GetClosedSurfaceRepresentation(node.GetSegmentation().GetNthSegmentID(index), surface)
        together.AddBounds(surface.GetBounds())
    expected = np.zeros(6)
    together.GetBounds(expected)
    for suffix in ("stl", "obj", "ply"):
        path = tmp_path / f"surface.{suffix}"
        a_logic.logic.ask("export", path=str(path))
        qtbot.waitUntil(lambda: not a_logic.logic.is_busy, timeout=WAIT_MS)
        storage = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelStorageNode")
        storage.SetFileName(str(path))
        model = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode")
        assert storage.ReadData(model)
        found = np.zeros(6)
        model.GetRASBounds(found)
        assert np.allclose(found, expected, atol=0.05), suffix


def test_torch_is_imported_and_a_scan_encoded_once_for_two_runs(
    a_cold_logic: SimpleNamespace, a_volume_node: Callable[..., object], qtbot: object
) -> None:
    pids, stages = [], []
    a_cold_logic.logic.process.received.connect(lambda words: pids.append(words["pid"]) if "pid" in words else None)
    a_cold_logic.logic.progressed.connect(lambda words: stages.append(words["stage"]))
    volume = a_volume_node()
    for threshold in (0.5, 0.4):
        stages.clear()
        a_cold_logic.logic.segment("hippocampus", {"mr": volume}, weights="tiny", device="cpu", threshold=threshold)
        qtbot.waitUntil(lambda: not a_cold_logic.logic.is_busy, timeout=WAIT_MS)
    assert len(a_cold_logic.reports) == 2
    assert len(pids) == 1
    assert "refining" in stages
    assert "encoding" not in stages


def test_a_scan_whose_voxels_changed_is_read_anew(
    a_cold_logic: SimpleNamespace, a_volume_node: Callable[..., object], qtbot: object
) -> None:
    volume = a_volume_node()
    stages = []
    for _ in range(2):
        a_cold_logic.logic.segment("hippocampus", {"mr": volume}, weights="tiny", device="cpu")
        qtbot.waitUntil(lambda: not a_cold_logic.logic.is_busy, timeout=WAIT_MS)
        slicer.util.arrayFromVolume(volume)[:10] += 50
        slicer.util.arrayFromVolumeModified(volume)
        a_cold_logic.logic.progressed.connect(lambda words: stages.append(words["stage"]))
    assert "encoding" in stages
    assert len(list(a_cold_logic.logic.process.exchange_folder.glob("image-*.npy"))) == 1


def test_results_lie_beside_their_scan_in_the_subject_hierarchy(
    a_logic: SimpleNamespace, a_volume_node: Callable[..., object], qtbot: object
) -> None:
    volume = a_volume_node()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "study")
    hierarchy.CreateItem(study, volume)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def make_item(scene: object, event: str, node: object) -> None:
        # Slicer's Qt side does this for every node that is shown.
        if node.IsA("vtkMRMLSegmentationNode") or node.IsA("vtkMRMLTableNode"):
            hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)

    slicer.mrmlScene.AddObserver(slicer.mrmlScene.NodeAddedEvent, make_item)
    a_logic.logic.segment("hippocampus", {"mr": volume}, weights="tiny", device="cpu")
    qtbot.waitUntil(lambda: not a_logic.logic.is_busy, timeout=WAIT_MS)
    result = a_logic.logic.result
    for node in (result.segmentation_node, result.table_node):
        assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study


def test_the_table_node_holds_numbers(
    a_logic: SimpleNamespace, a_volume_node: Callable[..., object], qtbot: object
) -> None:
    a_logic.logic.segment("hippocampus", {"mr": a_volume_node()}, weights="tiny", device="cpu")
    qtbot.waitUntil(lambda: not a_logic.logic.is_busy, timeout=WAIT_MS)
    table = a_logic.logic.result.table_node.GetTable()
    assert table.GetValueByName(0, "Volume (mL)").ToDouble() == pytest.approx(a_logic.reports[0]["volume_ml"])
    assert table.GetColumnByName("Diameter (mm)").IsNumeric()


def test_a_killed_child_is_a_sentence_and_the_next_run_starts_another(
    a_cold_logic: SimpleNamespace, a_volume_node: Callable[..., object], qtbot: object
) -> None:
    pids = []
    a_cold_logic.logic.process.received.connect(lambda words: pids.append(words["pid"]) if "pid" in words else None)
    volume = a_volume_node()
    a_cold_logic.logic.segment("hippocampus", {"mr": volume}, weights="tiny", device="cpu")
    qtbot.waitUntil(lambda: bool(pids), timeout=WAIT_MS)
    os.kill(pids[0], signal.SIGKILL)
    qtbot.waitUntil(lambda: bool(a_cold_logic.failures), timeout=WAIT_MS)
    assert "ended unexpectedly" in a_cold_logic.failures[0]
    assert not a_cold_logic.logic.is_busy
    a_cold_logic.logic.segment("hippocampus", {"mr": volume}, weights="tiny", device="cpu")
    qtbot.waitUntil(lambda: bool(a_cold_logic.reports), timeout=WAIT_MS)
    assert len(set(pids)) == 2


def test_cancelling_keeps_what_was_shown_and_the_child(
    a_cold_logic: SimpleNamespace, a_volume_node: Callable[..., object], qtbot: object
) -> None:
    pids = []
    a_cold_logic.logic.process.received.connect(lambda words: pids.append(words["pid"]) if "pid" in words else None)
    volume = a_volume_node()
    a_cold_logic.logic.snapshot_shown.connect(lambda step: a_cold_logic.logic.cancel())
    a_cold_logic.logic.segment("hippocampus", {"mr": volume}, weights="tiny", device="cpu")
    qtbot.waitUntil(lambda: not a_cold_logic.logic.is_busy, timeout=WAIT_MS)
    assert a_cold_logic.cancelled == [True]
    assert a_cold_logic.reports == []
    node = a_cold_logic.logic.result.segmentation_node
    assert node.GetSegmentation().GetNumberOfSegments() == 2
    surface = vtk.vtkPolyData()
    assert any(
        node.GetClosedSurfaceRepresentation(node.GetSegmentation().GetNthSegmentID(index), surface)
        and surface.GetNumberOfPoints()
        for index in range(2)
    )
    assert not a_cold_logic.logic.has_result
    a_cold_logic.logic.ask("weights", task="hippocampus")
    qtbot.waitUntil(lambda: bool(a_cold_logic.answers), timeout=WAIT_MS)
    assert "tiny" in {entry["name"] for entry in a_cold_logic.answers[0][1]["entries"]}
    assert len(pids) == 1


def test_a_scan_deleted_during_a_run_stops_the_run(
    a_logic: SimpleNamespace, a_volume_node: Callable[..., object], qtbot: object
) -> None:
    volume = a_volume_node()
    told = []
    a_logic.logic.told.connect(lambda text, is_warning: told.append(text))
    a_logic.logic.segment("hippocampus", {"mr": volume}, weights="tiny", device="cpu", is_live=False)
    slicer.mrmlScene.RemoveNode(volume)
    a_logic.logic.check_nodes()
    qtbot.waitUntil(lambda: not a_logic.logic.is_busy, timeout=WAIT_MS)
    assert a_logic.reports == []
    assert any("deleted" in text for text in [*told, *a_logic.failures])


def a_ball_of_surface(name: str) -> object:
    """A segmentation that is made of a closed surface, as those of RTSTRUCT and STL files are of what they hold."""
    ball = vtk.vtkSphereSource()
    ball.Update()
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    surface = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
    node.GetSegmentation().SetSourceRepresentationName(surface)
    node.AddSegmentFromClosedSurfaceRepresentation(ball.GetOutput(), "ball", (1, 0, 0))
    return node


def test_an_output_that_is_made_of_surfaces_is_refused(
    a_logic: SimpleNamespace, a_volume_node: Callable[..., object]
) -> None:
    output = a_ball_of_surface("contours")
    a_logic.logic.segment("hippocampus", {"mr": a_volume_node()}, output, weights="tiny", device="cpu")
    assert not a_logic.logic.is_busy
    (sentence,) = a_logic.failures
    assert "contours are made of another kind (Closed surface)" in sentence
    assert "choose another segmentation at Output" in sentence


def test_an_output_with_segments_below_another_transform_is_refused(
    a_logic: SimpleNamespace, a_volume_node: Callable[..., object]
) -> None:
    volume = a_volume_node()
    output = nodes.make_segmentation("earlier", volume)
    output.GetSegmentation().AddEmptySegment("drawn")
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    output.SetAndObserveTransformNodeID(transform.GetID())
    a_logic.logic.segment("hippocampus", {"mr": volume}, output, weights="tiny", device="cpu")
    assert not a_logic.logic.is_busy
    (sentence,) = a_logic.failures
    assert "earlier and the scan a_mr lie below different transforms" in sentence


@pytest.mark.parametrize("is_scan_below", [True, False])
def test_an_output_without_segments_is_put_below_the_scans_transform(
    a_volume_node: Callable[..., object], is_scan_below: bool
) -> None:
    from napari_ossnet.engine.tasks import get_task

    volume = a_volume_node()
    output = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "new")
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    (volume if is_scan_below else output).SetAndObserveTransformNodeID(transform.GetID())
    result = RunResult(volume, get_task("hippocampus"), output)
    assert result.segmentation_node is output
    assert output.GetTransformNodeID() == volume.GetTransformNodeID()


def test_a_snapshot_that_the_scene_refuses_ends_the_job_in_a_sentence(
    a_logic: SimpleNamespace, a_volume_node: Callable[..., object], monkeypatch: pytest.MonkeyPatch, qtbot: object
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("no such representation")

    with monkeypatch.context() as patches:
        patches.setattr(nodes, "write_labels", refuse)
        a_logic.logic.segment("hippocampus", {"mr": a_volume_node()}, weights="tiny", device="cpu")
        qtbot.waitUntil(lambda: not a_logic.logic.is_busy, timeout=WAIT_MS)
    (sentence,) = a_logic.failures
    assert "no such representation" in sentence
    assert "press Segment again" in sentence
    a_logic.logic.ask("weights", task="hippocampus")
    qtbot.waitUntil(lambda: bool(a_logic.answers), timeout=WAIT_MS)


def test_a_job_that_needs_no_scene_goes_on_when_it_is_closed(a_logic: SimpleNamespace, qtbot: object) -> None:
    a_logic.logic.ask("weights", task="hippocampus")
    slicer.mrmlScene.Clear()
    a_logic.logic.forget()
    qtbot.waitUntil(lambda: bool(a_logic.answers), timeout=WAIT_MS)
    assert a_logic.cancelled == []


def test_a_script_hears_of_a_run_that_is_cancelled_as_an_error(
    a_logic: SimpleNamespace, a_volume_node: Callable[..., object]
) -> None:
    from OSSNetLib.scripting import SegmentationError, segment_and_wait

    volume, logic = a_volume_node(), a_logic.logic
    logic.snapshot_shown.connect(lambda step: slicer.mrmlScene.RemoveNode(volume))
    with pytest.raises(SegmentationError, match=r"cancelled before its end\. The scan was deleted"):
        segment_and_wait({"mr": volume}, "hippocampus", logic=logic, weights="tiny", device="cpu")
    assert not logic.is_busy


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
    a_cold_logic: SimpleNamespace, a_volume_node: Callable[..., object], qtbot: object
) -> None:
    pids = []
    a_cold_logic.logic.process.received.connect(lambda words: pids.append(words["pid"]) if "pid" in words else None)
    a_cold_logic.logic.ask("weights", task="hippocampus")
    qtbot.waitUntil(lambda: bool(a_cold_logic.answers), timeout=WAIT_MS)
    folder = a_cold_logic.logic.process.exchange_folder
    a_cold_logic.logic.close()
    assert not folder.exists()
    assert not Path(f"/proc/{pids[0]}").exists()
