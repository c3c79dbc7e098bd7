"""The module's own widget, unmodified, on the rig: buttons, messages, scene close."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import slicer
from OSSNetLib.installation import RESTART_HINT
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFileDialog, QPushButton

WAIT_MS = 120_000


def press(qtbot: object, button: object) -> None:
    assert button.target.isEnabled(), f"{button.name} can't be pressed"
    qtbot.mouseClick(button.target, Qt.MouseButton.LeftButton)


def choose_hippocampus(widget: object) -> None:
    widget.panel.restore({"task": "hippocampus", "variant": "", "weights": "tiny", "device": "cpu"})
    assert widget.panel.choices()["weights"] == "tiny"


def run_to_the_end(widget: object, a_volume_node: Callable[..., object], qtbot: object) -> object:
    choose_hippocampus(widget)
    volume = a_volume_node()
    widget.ui.image1Selector.setCurrentNode(volume)
    press(qtbot, widget.ui.applyButton)
    qtbot.waitUntil(lambda: not widget.segmentation_logic.is_busy, timeout=WAIT_MS)
    return volume


def test_segment_can_be_pressed_exactly_when_all_modalities_are_chosen(
    a_widget: object, a_volume_node: Callable[..., object]
) -> None:
    a_widget.panel.images.choose_task("brats")
    for index, name in enumerate(("first", "second", "third", "fourth")):
        assert not a_widget.ui.applyButton.enabled
        assert "Choose a volume for" in a_widget.ui.problemsLabel.text
        getattr(a_widget.ui, f"image{index + 1}Selector").setCurrentNode(a_volume_node(name))
    assert a_widget.ui.applyButton.enabled == a_widget.panel.weights.is_local
    a_widget.ui.image2Selector.setCurrentNode(a_widget.ui.image1Selector.currentNode())
    assert not a_widget.ui.applyButton.enabled
    assert "same volume" in a_widget.ui.problemsLabel.text


def test_volumes_are_found_by_their_names(
    a_widget: object, a_volume_node: Callable[..., object], qtbot: object
) -> None:
    for name in ("case_t2", "case_t1", "case_flair", "case_t1ce"):
        a_volume_node(name)
    a_widget.panel.images.choose_task("brats")
    press(qtbot, a_widget.ui.assignButton)
    found = {modality: node.GetName() for modality, node in a_widget.panel.images.images().items()}
    assert found == {"flair": "case_flair", "t1": "case_t1", "t1ce": "case_t1ce", "t2": "case_t2"}


def test_a_run_shows_numbers_and_names_its_output(
    a_widget: object, a_volume_node: Callable[..., object], qtbot: object, an_application: object
) -> None:
    run_to_the_end(a_widget, a_volume_node, qtbot)
    assert an_application.errors == []
    assert a_widget.ui.applyButton.text == "Segment"
    assert a_widget.ui.resultsTable.rowCount == 3
    assert "mL" in a_widget.ui.progressLabel.text
    node = a_widget.ui.segmentationSelector.currentNode()
    assert node is a_widget.segmentation_logic.result.segmentation_node
    assert a_widget.ui.show3DButton.target.node is node


def test_the_button_cancels_a_run(a_widget: object, a_volume_node: Callable[..., object], qtbot: object) -> None:
    choose_hippocampus(a_widget)
    a_widget.ui.image1Selector.setCurrentNode(a_volume_node())
    press(qtbot, a_widget.ui.applyButton)
    assert a_widget.ui.applyButton.text == "Cancel"
    press(qtbot, a_widget.ui.applyButton)
    qtbot.waitUntil(lambda: not a_widget.segmentation_logic.is_busy, timeout=WAIT_MS)
    assert "Cancelled" in a_widget.ui.progressLabel.text
    assert a_widget.ui.resultsTable.rowCount == 0


def test_threshold_region_and_export_work_after_a_run(
    a_widget: object,
    a_volume_node: Callable[..., object],
    qtbot: object,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    an_application: object,
) -> None:
    assert not a_widget.ui.thresholdButton.enabled
    run_to_the_end(a_widget, a_volume_node, qtbot)
    a_widget.ui.thresholdSlider.value = 0.4
    press(qtbot, a_widget.ui.thresholdButton)
    qtbot.waitUntil(lambda: not a_widget.segmentation_logic.is_busy, timeout=WAIT_MS)

    region = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    region.SetCenter(-12.0, -16.0, 12.0)
    region.SetSize(6.0, 6.0, 6.0)
    a_widget.ui.regionSelector.setCurrentNode(region)
    press(qtbot, a_widget.ui.refineButton)
    qtbot.waitUntil(lambda: not a_widget.segmentation_logic.is_busy, timeout=WAIT_MS)
    refined = [node for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode") if "x2" in node.GetName()]
    assert len(refined) == 1

    for name in ("mask.nii.gz", "surface.stl", "report.json"):
        path = tmp_path / name
        monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_, path=path: (str(path), ""))
        press(qtbot, a_widget.ui.exportButton)
        qtbot.waitUntil(lambda: not a_widget.segmentation_logic.is_busy, timeout=WAIT_MS)
        assert path.stat().st_size > 0
    assert an_application.errors == []


def test_an_error_of_the_engine_reaches_the_user_in_words(
    a_widget: object, a_volume_node: Callable[..., object], qtbot: object, an_application: object
) -> None:
    choose_hippocampus(a_widget)
    a_widget.ui.image1Selector.setCurrentNode(a_volume_node(shape=(3, 4, 5)))
    press(qtbot, a_widget.ui.applyButton)
    qtbot.waitUntil(lambda: not a_widget.segmentation_logic.is_busy, timeout=WAIT_MS)
    assert len(an_application.errors) == 1
    assert "Traceback" not in an_application.errors[0]
    assert a_widget.ui.applyButton.text == "Segment"


def test_closing_the_scene_during_a_run_leaves_a_usable_widget(
    a_widget: object, a_volume_node: Callable[..., object], qtbot: object, an_application: object
) -> None:
    choose_hippocampus(a_widget)
    a_widget.ui.image1Selector.setCurrentNode(a_volume_node())
    press(qtbot, a_widget.ui.applyButton)
    slicer.mrmlScene.Clear()
    assert not a_widget.segmentation_logic.is_busy
    assert a_widget.ui.applyButton.text == "Segment"
    run_to_the_end(a_widget, a_volume_node, qtbot)
    assert a_widget.ui.resultsTable.rowCount == 3


def test_devices_and_release_answer(a_widget: object, qtbot: object) -> None:
    press(qtbot, a_widget.ui.devicesButton)
    qtbot.waitUntil(lambda: not a_widget.segmentation_logic.is_busy, timeout=WAIT_MS)
    assert a_widget.ui.deviceComboBox.itemText(0) == "Automatic"
    assert "GiB free" in a_widget.ui.deviceComboBox.itemText(1)
    assert "CPU" in a_widget.ui.deviceNote.text
    press(qtbot, a_widget.ui.releaseButton)
    assert not a_widget.segmentation_logic.process.is_running


def test_weights_are_imported_from_a_file(
    a_widget: object, qtbot: object, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_widget.panel.images.choose_task("hippocampus")
    path = tmp_path / "mine.safetensors"
    path.write_bytes(tiny_weights.read_bytes())
    (Path(__import__("os").environ["OSSNET_HOME"]) / "weights" / "tiny.safetensors").unlink()
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(path), ""))
    press(qtbot, a_widget.ui.importButton)
    qtbot.waitUntil(lambda: not a_widget.segmentation_logic.is_busy, timeout=WAIT_MS)
    assert a_widget.panel.weights.is_local


def test_what_was_chosen_is_kept_with_the_scene(a_widget: object, a_volume_node: Callable[..., object]) -> None:
    choose_hippocampus(a_widget)
    volume = a_volume_node()
    a_widget.ui.image1Selector.setCurrentNode(volume)
    a_widget.ui.liveCheckBox.checked = False
    parameters = a_widget._parameter_node
    assert parameters.task == "hippocampus"
    assert parameters.image1 is volume
    assert parameters.is_live is False


def test_missing_packages_are_named_and_installed_after_asking(
    a_widget: object, an_application: object, qtbot: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    from OSSNetLib import installation

    installed: list[list[str]] = []
    known = set()
    monkeypatch.setattr(installation, "is_installed", lambda name: not name.startswith("trimesh") or bool(known))
    monkeypatch.setattr(
        slicer.util, "pip_install", lambda names: (installed.append(names), known.add("trimesh")), raising=False
    )
    a_widget.panel.load_engine()
    assert "trimesh" in a_widget.ui.problemsLabel.text
    an_application.is_confirming = False
    press(qtbot, a_widget.ui.installButton)
    assert installed == []
    assert "Nothing was installed" in an_application.errors[0]
    an_application.is_confirming = True
    press(qtbot, a_widget.ui.installButton)
    assert [name.split(">")[0] for name in installed[0]] == ["trimesh"]
    assert "trimesh" not in a_widget.ui.problemsLabel.text


@pytest.mark.parametrize("failing", ["torchInstalled", "installTorch"])
def test_an_installation_of_torch_that_fails_is_a_sentence(
    a_widget: object, an_application: object, qtbot: object, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    from OSSNetLib import installation

    def fail(**_: object) -> None:
        raise OSError("no space left on the disk")

    logic = SimpleNamespace(torchInstalled=lambda: False, installTorch=lambda **_: None)
    setattr(logic, failing, fail)
    monkeypatch.setitem(sys.modules, "PyTorchUtils", SimpleNamespace(PyTorchUtilsLogic=lambda: logic))
    monkeypatch.setattr(installation, "is_installed", lambda name: not name.startswith("torch"))
    a_widget.panel.load_engine()
    press(qtbot, a_widget.ui.installButton)
    assert an_application.errors == [f"Installing torch failed: no space left on the disk. {RESTART_HINT}"]


def test_every_button_has_a_tooltip_and_research_use_is_visible(a_widget: object) -> None:
    form = a_widget.ui.applyButton.target.window()
    assert [button.objectName() for button in form.findChildren(QPushButton) if not button.toolTip()] == []
    assert "Research use only" in a_widget.ui.noticeLabel.text


def test_reloading_drops_the_library(a_widget: object) -> None:
    loaded = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "OSSNetLib"}
    try:
        a_widget.onReload()
        assert [name for name in sys.modules if name.split(".")[0] == "OSSNetLib"] == []
        assert a_widget.is_reloaded
    finally:
        sys.modules.update(loaded)


def test_the_samples_are_registered_at_start_up(an_application: object, monkeypatch: pytest.MonkeyPatch) -> None:
    import types

    registered: list[dict] = []
    samples = types.ModuleType("SampleData")
    samples.__file__ = "SampleData.py"

    def register(**words: object) -> None:
        # Slicer's own fails without these two, also where a function makes the sample.
        assert isinstance(words["uris"], str)
        assert isinstance(words["fileNames"], str)
        registered.append(words)

    samples.SampleDataLogic = SimpleNamespace(registerCustomSampleDataSource=register)
    monkeypatch.setitem(sys.modules, "SampleData", samples)
    module = importlib.import_module("OSSNet")
    module.OSSNet(SimpleNamespace())
    signature, receiver = an_application.started[-1]
    assert signature == "startupCompleted()"
    receiver()
    names = [words["sampleName"] for words in registered]
    assert names == ["OSSNetSyntheticBrain", "OSSNetCTLiver", "OSSNetMRBrainTumor1"]
    assert {words["category"] for words in registered} == {"OSS-Net"}
    assert Path(registered[0]["thumbnailFileName"]).is_file()
    assert all(words["uris"].endswith(words["checksums"].removeprefix("SHA256:")) for words in registered[1:])
    made = registered[0]["customDownloader"](None)
    assert [node.GetName() for node in made] == [f"synthetic_{name}" for name in ("flair", "t1", "t1ce", "t2")]


def test_the_modules_own_test_passes(
    an_application: object, an_ossnet_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    monkeypatch.setattr(shutil, "which", lambda name: sys.executable)
    importlib.import_module("OSSNet").OSSNetTest().runTest()
