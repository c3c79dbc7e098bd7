"""The module's own widget: what is chosen, what is remembered, what is said when a choice can't be used."""

from __future__ import annotations

import importlib
import sys
import unittest
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import slicer
from PySide6.QtCore import Qt
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QFileDialog, QVBoxLayout, QWidget

WAIT_MS = 120_000
MODULE = Path(__file__).resolve().parents[2] / "slicer_extension" / "OSSNet"


def press(qtbot: object, button: object) -> None:
    assert button.target.isEnabled(), f"{button.target.objectName()} can't be pressed"
    qtbot.mouseClick(button.target, Qt.MouseButton.LeftButton)


def wait(widget: object, qtbot: object) -> None:
    qtbot.waitUntil(lambda: not widget.segmentation_logic.is_busy, timeout=WAIT_MS)


def choose_tiny(widget: object, volume: object) -> None:
    widget.panel.restore({"task": "hippocampus", "variant": "", "weights": "tiny", "device": "cpu"})
    widget.ui.image1Selector.setCurrentNode(volume)


def make_widget() -> object:
    parent = QWidget()
    QVBoxLayout(parent)
    widget = importlib.import_module("OSSNet").OSSNetWidget(SimpleNamespace(widget=parent, isEntered=True))
    widget.setup()
    return widget


def test_the_variant_says_which_weights_are_offered(a_widget: object) -> None:
    a_widget.panel.restore({"task": "brats", "variant": "d", "weights": "", "device": "auto"})
    assert a_widget.panel.choices()["weights"] == "oss-net-d-brats"
    assert "not on this machine" in a_widget.ui.weightsNote.text
    assert "press Download" in a_widget.ui.problemsLabel.text
    assert a_widget.ui.downloadButton.enabled
    assert not a_widget.ui.applyButton.enabled


def test_a_variant_without_weights_is_said_to_have_none(a_widget: object) -> None:
    a_widget.panel.restore({"task": "brats", "variant": "o-net", "weights": "", "device": "auto"})
    assert a_widget.panel.weights.entry is None
    assert "(no weights yet)" in a_widget.ui.variantComboBox.currentText
    assert "choose another variant" in a_widget.ui.problemsLabel.text
    assert not a_widget.ui.downloadButton.enabled


def test_weights_on_this_machine_are_offered_before_those_to_download(a_widget: object) -> None:
    a_widget.panel.images.choose_task("lits")
    assert a_widget.panel.choices()["weights"] == "liver-x"


def test_own_weights_are_offered_before_bundled_ones_of_a_higher_dice(a_widget: object) -> None:
    a_widget.panel.images.choose_task("hippocampus")
    assert a_widget.panel.choices()["weights"] == "tiny"


def test_a_download_is_asked_for_with_size_and_licence(a_widget: object, an_application: object, qtbot: object) -> None:
    a_widget.panel.restore({"task": "brats", "variant": "d", "weights": "", "device": "auto"})
    an_application.is_confirming = False
    press(qtbot, a_widget.ui.downloadButton)
    assert "MiB" in an_application.questions[0]
    assert "Licence" in an_application.questions[0]
    assert not a_widget.segmentation_logic.is_busy


def test_a_file_that_holds_no_weights_is_refused_in_words(
    a_widget: object, an_application: object, qtbot: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "holiday.pt"
    path.write_bytes(b"not weights")
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(path), ""))
    press(qtbot, a_widget.ui.importButton)
    wait(a_widget, qtbot)
    assert "holiday.pt" in an_application.errors[0]
    assert a_widget.settings.get("folder") == str(tmp_path)


def test_weights_for_another_task_bring_their_task_along_and_can_be_removed(
    a_widget: object,
    qtbot: object,
    tiny_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    an_ossnet_home: Path,
    an_application: object,
) -> None:
    path = tmp_path / "mine.safetensors"
    path.write_bytes(tiny_weights.read_bytes())
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(path), ""))
    (an_ossnet_home / "weights" / "tiny.safetensors").unlink()
    a_widget.panel.images.choose_task("brats")
    press(qtbot, a_widget.ui.importButton)
    wait(a_widget, qtbot)
    assert an_application.errors == []
    assert a_widget.panel.choices()["task"] == "hippocampus"
    imported = a_widget.panel.choices()["weights"]
    assert not a_widget.panel.weights.entry.is_bundled
    press(qtbot, a_widget.ui.removeButton)
    wait(a_widget, qtbot)
    assert imported not in [entry.name for entry in a_widget.panel.weights._entries]


def test_choices_are_kept_with_the_scene_and_across_sessions(
    a_widget: object, a_volume_node: Callable[..., object], qtbot: object
) -> None:
    choose_tiny(a_widget, a_volume_node())
    a_widget.ui.memorySpinBox.value = 2.5
    a_widget.ui.liveCheckBox.checked = False
    press(qtbot, a_widget.ui.applyButton)
    a_widget.segmentation_logic.kill()
    parameters = a_widget._parameter_node
    assert (parameters.weights, parameters.device, parameters.memory_gib) == ("tiny", "cpu", 2.5)
    slicer.mrmlScene.Clear()
    again = make_widget()
    assert again.panel.choices() == {"task": "hippocampus", "variant": "", "weights": "tiny", "device": "cpu"}
    assert again.ui.memorySpinBox.value == 2.5
    assert not again.ui.liveCheckBox.checked
    again.cleanup()


def test_settings_that_make_no_sense_are_replaced_by_the_defaults(an_application: object) -> None:
    from OSSNetLib.settings import Settings

    an_application.settings.setValue("OSSNet/memory_gib", "much")
    an_application.settings.setValue("OSSNet/is_live", "false")
    settings = Settings()
    assert settings.get("memory_gib") == 0.0
    assert settings.get("is_live") is False
    assert settings.get("task") == "brats"


def test_a_result_of_another_scan_is_not_written_over(a_widget: object, a_volume_node: Callable[..., object]) -> None:
    from OSSNetLib import nodes

    first, second = a_volume_node("first"), a_volume_node("second")
    choose_tiny(a_widget, first)
    a_widget.ui.segmentationSelector.setCurrentNode(nodes.make_segmentation("result", first))
    a_widget.ui.image1Selector.setCurrentNode(second)
    assert a_widget.ui.segmentationSelector.currentNode() is None


def test_a_volume_that_is_picked_after_a_run_stays_picked(
    a_widget: object, a_volume_node: Callable[..., object]
) -> None:
    from OSSNetLib import nodes

    first, second = a_volume_node("first"), a_volume_node("second")
    choose_tiny(a_widget, first)
    a_widget.ui.segmentationSelector.setCurrentNode(nodes.make_segmentation("result", first))
    a_widget.ui.image1Selector.setCurrentNode(second)
    assert a_widget.ui.image1Selector.currentNode() is second
    assert a_widget._parameter_node.image1 is second
    assert a_widget._parameter_node.segmentation is None


def test_volumes_that_another_task_finds_by_name_stay_chosen(
    a_widget: object, a_volume_node: Callable[..., object]
) -> None:
    names = {"flair": "case_flair", "t1": "case_t1", "t1ce": "case_t1ce", "t2": "case_t2"}
    a_widget.panel.images.choose_task("hippocampus")
    for name in names.values():
        a_volume_node(name)
    a_widget.panel.images.choose_task("brats")
    chosen = {modality: node.GetName() for modality, node in a_widget.panel.images.images().items()}
    assert chosen == names
    assert a_widget._parameter_node.task == "brats"


@pytest.mark.parametrize("is_shown", [True, False], ids=["module shown", "another module shown"])
def test_a_run_that_ends_with_another_scan_chosen_leaves_its_result_alone(
    a_widget: object, a_volume_node: Callable[..., object], qtbot: object, is_shown: bool
) -> None:
    from OSSNetLib import nodes

    first, second = a_volume_node("first"), a_volume_node("second")
    choose_tiny(a_widget, first)
    a_widget.ui.segmentationSelector.setCurrentNode(nodes.make_segmentation("result", first))
    press(qtbot, a_widget.ui.applyButton)
    a_widget.ui.image1Selector.setCurrentNode(second)
    if not is_shown:
        a_widget.exit()
    wait(a_widget, qtbot)
    a_widget.enter()
    assert a_widget.segmentation_logic.has_result
    assert a_widget.ui.image1Selector.currentNode() is second
    assert a_widget.ui.segmentationSelector.currentNode() is None
    assert a_widget._parameter_node.segmentation is None


def test_a_second_press_ends_a_job_that_does_not_answer(
    a_widget: object, a_volume_node: Callable[..., object], qtbot: object, an_application: object
) -> None:
    choose_tiny(a_widget, a_volume_node())
    press(qtbot, a_widget.ui.applyButton)
    press(qtbot, a_widget.ui.applyButton)
    assert "press again" in a_widget.ui.applyButton.text
    press(qtbot, a_widget.ui.applyButton)
    assert a_widget.ui.applyButton.text == "Segment"
    assert not a_widget.segmentation_logic.process.is_running
    assert an_application.errors == []


def test_report_region_and_what_ends_with_the_process(
    a_widget: object,
    a_volume_node: Callable[..., object],
    qtbot: object,
    an_application: object,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    choose_tiny(a_widget, a_volume_node())
    press(qtbot, a_widget.ui.applyButton)
    wait(a_widget, qtbot)
    opened = []
    monkeypatch.setattr(QDesktopServices, "openUrl", opened.append)
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "report"), ""))
    press(qtbot, a_widget.ui.reportButton)
    wait(a_widget, qtbot)
    assert "a_mr" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert opened[0].toLocalFile() == str(tmp_path / "report.html")

    # A region that was just made lies around the object; one outside the scan is refused in words.
    region = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    a_widget.ui.regionSelector.setCurrentNode(region)
    assert min(region.GetSize()) > 0
    region.SetCenter(1000.0, 0.0, 0.0)
    press(qtbot, a_widget.ui.refineButton)
    assert "does not touch the scan" in an_application.errors[0]
    press(qtbot, a_widget.ui.fitRegionButton)
    assert abs(region.GetCenter()[0]) < 100

    press(qtbot, a_widget.ui.releaseButton)
    for button in ("thresholdButton", "exportButton", "reportButton", "refineButton", "releaseButton"):
        assert not getattr(a_widget.ui, button).enabled, button
    assert a_widget.ui.resultsTable.rowCount == 0


def test_the_restored_image_is_offered_after_runs_of_pfseg_alone(
    a_widget: object, a_volume_node: Callable[..., object], pfseg_weights: Path, an_ossnet_home: Path, qtbot: object
) -> None:
    button = a_widget.ui.superResolvedButton.target
    choose_tiny(a_widget, a_volume_node())
    press(qtbot, a_widget.ui.applyButton)
    wait(a_widget, qtbot)
    assert button.isHidden()
    (an_ossnet_home / "weights" / pfseg_weights.name).write_bytes(pfseg_weights.read_bytes())
    a_widget.panel.restore({"task": "hippocampus", "variant": "pfseg", "weights": "tiny-pfseg", "device": "cpu"})
    press(qtbot, a_widget.ui.applyButton)
    wait(a_widget, qtbot)
    assert not button.isHidden()
    press(qtbot, a_widget.ui.superResolvedButton)
    wait(a_widget, qtbot)
    assert slicer.util.getNode("a_mr super-resolved by PFSeg") is not None


def test_a_run_that_ends_while_another_module_is_shown_keeps_its_output(
    a_widget: object, a_volume_node: Callable[..., object], qtbot: object
) -> None:
    choose_tiny(a_widget, a_volume_node())
    press(qtbot, a_widget.ui.applyButton)
    a_widget.exit()
    wait(a_widget, qtbot)
    a_widget.enter()
    node = a_widget.segmentation_logic.result.segmentation_node
    assert a_widget.ui.segmentationSelector.currentNode() is node


@pytest.mark.parametrize("missing", ["nibabel", "torch"])
def test_without_its_packages_the_panel_opens_and_offers_to_install_them(
    an_application: object, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    from OSSNetLib import installation, panel

    monkeypatch.setattr(installation, "is_installed", lambda requirement: not requirement.startswith(missing))
    if missing == "nibabel":

        def fail(module: str) -> None:
            raise ImportError(missing)

        monkeypatch.setattr(panel, "import_engine", fail)
    widget = make_widget()
    assert missing in widget.ui.problemsLabel.text
    assert not widget.ui.installButton.target.isHidden()
    assert not widget.ui.applyButton.enabled
    assert not widget.ui.devicesButton.enabled
    widget.cleanup()


@pytest.mark.parametrize(
    ("requirement", "is_met"),
    [("numpy>=1.20", True), ("numpy>=999", False), ("no-such-package-at-all>=1", False), ("torch>=2.2", True)],
)
def test_a_package_counts_when_it_is_new_enough(requirement: str, is_met: bool) -> None:
    from OSSNetLib.installation import is_installed

    assert is_installed(requirement) is is_met


def test_a_script_segments_in_one_call(
    an_application: object,
    an_ossnet_home: Path,
    a_volume_node: Callable[..., object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import shutil

    from OSSNetLib.scripting import SegmentationError

    monkeypatch.setattr(shutil, "which", lambda name: sys.executable)
    logic = importlib.import_module("OSSNet").OSSNetLogic()
    node = logic.segment({"mr": a_volume_node()}, "hippocampus", weights="tiny", device="cpu")
    assert node.GetSegmentation().GetNumberOfSegments() == 2
    with pytest.raises(SegmentationError, match="nowhere"):
        logic.segment({"mr": a_volume_node()}, "hippocampus", weights="nowhere", device="cpu")


def test_the_tests_of_slicers_factory_pass_on_the_panel(a_widget: object) -> None:
    spec = importlib.util.spec_from_file_location("panel_test", MODULE / "Testing" / "Python" / "OSSNetPanelTest.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    suite = unittest.defaultTestLoader.loadTestsFromModule(module)
    result = unittest.TestResult()
    suite.run(result)
    assert result.testsRun == 4
    assert [text for _, text in [*result.errors, *result.failures]] == []
