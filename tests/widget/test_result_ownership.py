"""Numbers, files and later steps belong to the result that they are shown with, whatever has run since."""

from __future__ import annotations

import csv
import json

import nibabel
import numpy as np
import pytest

from napari_ossnet.engine.errors import OutputError
from napari_ossnet.engine.volume import write_volume
from napari_ossnet.widget import frames
from napari_ossnet.widget.state import Job

pytestmark = pytest.mark.qt
BOX = ((8, 8, 8), (30, 32, 28))


@pytest.fixture
def a_result(a_ready_widget):
    a_ready_widget.run()
    return a_ready_widget


def move_threshold(docked, value):
    docked.widget.view.result.threshold.setValue(value)
    docked.qtbot.waitUntil(lambda: docked.state.settings.threshold == value, timeout=10_000)
    docked.wait_idle()


def paint_and_measure(docked):
    """A blob far from the object, seen in the numbers afterwards."""
    before = docked.state.measurements
    docked.labels.brush_size, docked.labels.n_edit_dimensions = 7, 3
    docked.labels.paint((6, 6, 6), 1)
    docked.qtbot.waitUntil(lambda: docked.state.measurements != before, timeout=10_000)
    docked.wait_idle()
    return docked.state.measurements


def refine(docked, factor=2.0):
    docked.widget.controller.runs.refine(BOX, factor)
    docked.wait_idle()
    assert docked.state.error == ""


def saved_surface(docked, path):
    import trimesh

    docked.widget.controller.saving.surface(str(path))
    docked.wait_idle()
    assert docked.state.error == ""
    return trimesh.load(path)


def saved_report(docked, path):
    docked.widget.controller.saving.report(str(path))
    docked.wait_idle()
    return json.loads(path.read_text(encoding="utf-8"))


def test_after_a_batch_the_window_s_own_result_stays_as_it_is(a_result, sphere, tmp_path):
    other = sphere.make_scan(sphere.affines["oblique"], (30, 30, 30))
    write_volume(tmp_path / "in" / "other.nii.gz", other.data[0], other)
    labels, rows = a_result.labels.data.copy(), a_result.state.measurements
    a_result.widget.controller.store.update_settings(
        batch_input=str(tmp_path / "in"), batch_output=str(tmp_path / "out")
    )
    a_result.widget.view.batch.run.click()
    a_result.wait_idle()
    assert a_result.state.status.startswith("1 of 1")
    move_threshold(a_result, 0.9)
    np.testing.assert_array_equal(a_result.labels.data, labels)
    assert a_result.state.measurements == rows
    assert "Segment again" in a_result.widget.view.result.hint.text()
    assert not a_result.widget.view.region.refine.isEnabled()


def test_a_run_on_another_scan_that_was_cancelled_leaves_the_first_one_s_surface_its_own(a_result, sphere, tmp_path):
    a_result.open(sphere.make_scan(sphere.affines["oblique"], name="other"))
    a_result.session.gate.is_closed = True
    a_result.click_segment()
    a_result.qtbot.waitUntil(lambda: len(a_result.session.requests) == 2, timeout=10_000)
    a_result.click_segment()
    a_result.wait_idle()
    a_result.session.gate.open()
    runs = a_result.widget.controller.runs
    assert not runs.has_field(runs.outcome)
    first = a_result.session.requests[0].volume
    mesh = saved_surface(a_result, tmp_path / "ball.stl")
    distances = np.linalg.norm(mesh.vertices - a_result.session.centre_world(first), axis=1)
    assert np.abs(distances - a_result.session.radius_mm).max() < 0.5


def test_a_restored_result_of_other_options_is_kept_but_not_moved_on_with_the_newer_network(a_result):
    first = a_result.labels.data.copy()
    a_result.widget.controller.store.update_settings(step=2)
    a_result.run()
    assert not np.array_equal(a_result.labels.data, first)
    a_result.widget.view.result.restore.click()
    assert not a_result.state.has_result
    requests = len(a_result.session.requests)
    move_threshold(a_result, 0.9)
    assert len(a_result.session.requests) == requests
    np.testing.assert_array_equal(a_result.labels.data, first)
    a_result.widget.view.result.restore.click()
    assert a_result.state.has_result, "the newer one is at hand still"


def test_the_numbers_of_edits_come_back_with_them(a_result, tmp_path):
    edited = paint_and_measure(a_result)
    a_result.run()
    assert a_result.state.measurements != edited
    a_result.widget.view.result.restore.click()
    assert a_result.state.measurements == edited
    assert a_result.state.is_edited
    report = saved_report(a_result, tmp_path / "report.json")
    assert report["is_edited_by_hand"]
    assert report["edited_measurements"][0]["volume_ml"] == pytest.approx(edited[0].volume_ml)


def test_numbers_that_come_after_restore_are_not_laid_on_what_was_restored(a_result):
    rows, labels = a_result.state.measurements, a_result.labels.data.copy()
    a_result.run()
    a_result.labels.brush_size, a_result.labels.n_edit_dimensions = 7, 3
    a_result.labels.paint((6, 6, 6), 1)
    a_result.widget.controller.runs.measure()
    assert a_result.state.job is Job.MEASURE
    a_result.widget.view.result.restore.click()
    a_result.wait_idle()
    # The pause after the stroke ends only now.
    a_result.widget.controller.runs.measure()
    a_result.wait_idle()
    np.testing.assert_array_equal(a_result.labels.data, labels)
    assert a_result.state.measurements == rows
    assert not a_result.state.is_edited


def test_edits_count_after_a_region_that_failed(a_result, tmp_path):
    paint_and_measure(a_result)
    a_result.widget.controller.runs.refine(((0, 0, 0), (0, 0, 0)), 2.0)
    a_result.wait_idle()
    assert a_result.state.error
    assert a_result.state.is_edited
    volume = saved_surface(a_result, tmp_path / "edited.stl").volume
    assert volume == pytest.approx(1000 * a_result.state.measurements[0].volume_ml, rel=0.1)
    assert "edited" in a_result.state.status


def test_what_is_saved_right_after_a_stroke_holds_it(a_result, tmp_path):
    a_result.labels.brush_size, a_result.labels.n_edit_dimensions = 7, 3
    a_result.labels.paint((6, 6, 6), 1)
    voxels = np.count_nonzero(a_result.labels.data)
    report = saved_report(a_result, tmp_path / "report.json")
    assert report["edited_measurements"][0]["volume_ml"] == pytest.approx(voxels / 1000)
    a_result.qtbot.waitUntil(lambda: a_result.state.is_edited, timeout=10_000)
    a_result.wait_idle()
    assert a_result.state.measurements[0].volume_ml == pytest.approx(voxels / 1000), "measured once the saving is done"


def test_a_box_s_numbers_say_so_and_the_whole_scan_s_are_a_choice_away(a_result, tmp_path):
    whole, form = a_result.state.measurements, a_result.widget.view.result
    assert not form.result.isVisibleTo(form)
    refine(a_result)
    assert form.result.isVisibleTo(form)
    assert form.table.item(0, 0).text().endswith("in the box")
    a_result.widget.controller.saving.table(str(tmp_path / "box.csv"))
    a_result.wait_idle()
    with (tmp_path / "box.csv").open(encoding="utf-8") as file:
        assert next(csv.DictReader(file))["Box (voxels)"] == "8:30,8:32,8:28"
    form.result.setCurrentIndex(0)
    form.result.activated.emit(0)
    assert a_result.state.measurements == whole
    a_result.widget.controller.saving.mask(str(tmp_path / "mask.nii.gz"))
    a_result.wait_idle()
    assert nibabel.load(tmp_path / "mask.nii.gz").shape == (40, 44, 36)
    form.result.activated.emit(1)
    assert a_result.state.measurements != whole


def test_boxes_of_two_scans_have_layers_of_their_own(a_result, sphere):
    refine(a_result)
    first = a_result.labels
    before = first.data.copy()
    a_result.open(sphere.make_scan(sphere.affines["LPS"], name="other"))
    a_result.run()
    assert a_result.state.result_titles == ("Whole scan",)
    refine(a_result)
    assert a_result.labels is not first
    np.testing.assert_array_equal(first.data, before)


def test_a_thinned_surface_is_not_saved_as_if_it_were_the_whole(a_ready_widget, tmp_path, monkeypatch):
    monkeypatch.setattr(frames, "MOST_FACES", 200)
    a_ready_widget.run()
    surface = a_ready_widget.surface
    from napari_ossnet.widget.writers import write_surface

    data, attributes, _ = surface.as_layer_data_tuple()
    with pytest.raises(OutputError, match="Surface…"):
        write_surface(str(tmp_path / "thin.stl"), data, attributes)
    assert not (tmp_path / "thin.stl").exists()
    assert len(saved_surface(a_ready_widget, tmp_path / "whole.stl").faces) > 1000


def test_a_file_that_is_there_is_not_replaced_by_a_name_without_suffix(a_result, tmp_path, monkeypatch):
    from qtpy.QtWidgets import QFileDialog, QMessageBox

    (tmp_path / "mask.nii.gz").write_bytes(b"precious")
    nifti = "NIfTI (*.nii.gz *.nii)"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "mask"), nifti))
    monkeypatch.setattr(QMessageBox, "question", lambda *_: QMessageBox.StandardButton.No)
    a_result.widget.view.result.save_mask.click()
    a_result.wait_idle()
    assert (tmp_path / "mask.nii.gz").read_bytes() == b"precious"
    monkeypatch.setattr(QMessageBox, "question", lambda *_: QMessageBox.StandardButton.Yes)
    a_result.widget.view.result.save_mask.click()
    a_result.wait_idle()
    assert nibabel.load(tmp_path / "mask.nii.gz").shape == (40, 44, 36)


def test_what_was_said_about_the_images_is_in_the_report(a_docked_widget, sphere, tmp_path, monkeypatch):
    from napari_ossnet.engine.events import Message
    from napari_ossnet.widget import jobs

    stack = jobs.stack_volumes
    monkeypatch.setattr(
        jobs, "stack_volumes", lambda task, volumes: (stack(task, volumes)[0], [Message(text="The rest is blank.")])
    )
    a_docked_widget.open(sphere.make_scan(sphere.affines["RAS"]))
    a_docked_widget.run()
    assert "The rest is blank." in saved_report(a_docked_widget, tmp_path / "report.json")["messages"]
