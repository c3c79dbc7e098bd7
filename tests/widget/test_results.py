"""What can be done with a result: threshold, edits, restoring, saving, regions; and layers that come and go."""

from __future__ import annotations

import csv
import io
import json

import nibabel
import numpy as np
import pytest

from napari_ossnet.widget.state import Job

pytestmark = pytest.mark.qt


@pytest.fixture
def a_result(a_ready_widget):
    a_ready_widget.run()
    return a_ready_widget


def world_of(layer, indices):
    origin, *ends = (np.array(layer.data_to_world(corner)) for corner in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)))
    return origin + indices @ np.array([end - origin for end in ends])


def move_threshold(docked, value):
    docked.widget.view.result.threshold.setValue(value)
    docked.qtbot.waitUntil(lambda: docked.state.settings.threshold == value, timeout=10_000)
    docked.wait_idle()


def test_the_threshold_moves_labels_surface_and_numbers_without_encoding_again(a_result):
    before = a_result.labels.data.sum(), np.ptp(a_result.surface.vertices), a_result.state.measurements[0]
    requests = len(a_result.session.requests)
    # The formula's logit is the height in mm: 0.98 means 3.9 mm further in.
    move_threshold(a_result, 0.98)
    after = a_result.labels.data.sum(), np.ptp(a_result.surface.vertices), a_result.state.measurements[0]
    assert after[0] < 0.5 * before[0]
    assert after[1] < before[1]
    assert after[2].volume_ml < 0.5 * before[2].volume_ml
    assert len(a_result.session.requests) == requests + 1
    assert a_result.session.requests[-1].volume is a_result.session.requests[0].volume


def test_the_threshold_slider_is_debounced(a_result):
    requests = len(a_result.session.requests)
    for value in np.linspace(0.5, 0.9, 20):
        a_result.widget.view.result.threshold.setValue(float(value))
    a_result.qtbot.waitUntil(lambda: a_result.state.settings.threshold == 0.9, timeout=10_000)
    a_result.wait_idle()
    assert len(a_result.session.requests) == requests + 1


def test_restore_previous_brings_back_the_labels_before_the_run(a_result):
    first, rows = a_result.labels.data.copy(), a_result.state.measurements
    move_threshold(a_result, 0.9)
    assert not np.array_equal(a_result.labels.data, first)
    a_result.widget.view.result.restore.click()
    np.testing.assert_array_equal(a_result.labels.data, first)
    assert a_result.state.measurements == rows
    assert a_result.state.settings.threshold == 0.5
    a_result.widget.view.result.restore.click()
    assert not np.array_equal(a_result.labels.data, first), "pressed again it goes back"


def test_edits_survive_a_run_through_restore(a_result):
    a_result.labels.paint((18, 22, 20), 2)
    edited = a_result.labels.data.copy()
    a_result.run()
    a_result.widget.view.result.restore.click()
    np.testing.assert_array_equal(a_result.labels.data, edited)


def test_numbers_follow_edits_by_naparis_tools(a_result):
    before = a_result.state.measurements[0].volume_ml
    a_result.labels.selected_label = 1
    a_result.labels.brush_size = 9
    a_result.labels.n_edit_dimensions = 3
    a_result.labels.paint((6, 8, 8), 1)
    a_result.qtbot.waitUntil(lambda: a_result.state.is_edited, timeout=10_000)
    a_result.wait_idle()
    voxels = np.count_nonzero(a_result.labels.data)
    assert a_result.state.measurements[0].volume_ml == pytest.approx(voxels / 1000)
    assert a_result.state.measurements[0].volume_ml > before
    assert "edited" in a_result.widget.view.result.hint.text()


def test_undo_is_an_edit_too(a_result):
    before = a_result.state.measurements[0].volume_ml
    a_result.labels.paint((6, 8, 8), 1)
    a_result.qtbot.waitUntil(lambda: a_result.state.is_edited, timeout=10_000)
    a_result.wait_idle()
    a_result.labels.undo()
    a_result.qtbot.waitUntil(lambda: a_result.state.measurements[0].volume_ml == pytest.approx(before), timeout=10_000)
    a_result.wait_idle()


def test_the_saved_mask_is_the_shown_one_in_the_scans_grid(dock, sphere, tmp_path):
    docked = dock()
    volume = sphere.make_scan(sphere.affines["PIR, thick slices"])
    docked.open(volume)
    docked.run()
    docked.labels.paint((6, 8, 8), 2)
    docked.widget.controller.saving.mask(str(tmp_path / "mask.nii.gz"))
    docked.wait_idle()
    saved = nibabel.load(tmp_path / "mask.nii.gz")
    np.testing.assert_allclose(saved.affine, volume.affine, atol=1e-6)
    data = np.asarray(saved.dataobj)
    assert data.shape == volume.shape
    assert (data == 2).sum() == (docked.labels.data == 2).sum()
    # In the scan's axis order: the labelled voxels lie around the ball's middle in the scan's world.
    centre = nibabel.affines.apply_affine(volume.affine, np.argwhere(data == 1)).mean(axis=0)
    assert np.linalg.norm(centre - docked.session.centre_world(volume)) < 8
    assert "Saved the mask" in docked.state.status


def test_the_report_and_the_table_hold_the_numbers(a_result, tmp_path):
    a_result.widget.controller.saving.report(str(tmp_path / "report.json"))
    a_result.wait_idle()
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["volume_ml"] == pytest.approx(a_result.state.measurements[0].volume_ml)
    assert report["is_edited_by_hand"] is False
    a_result.widget.controller.saving.table(str(tmp_path / "table.csv"))
    a_result.wait_idle()
    rows = list(csv.reader(io.StringIO((tmp_path / "table.csv").read_text(encoding="utf-8"))))
    assert rows[0] == ["Class", "Volume (mL)", "Surface (cm2)", "Largest diameter (mm)"]
    assert len(rows) == 4


def test_the_table_can_be_copied(a_result):
    from qtpy.QtWidgets import QApplication

    a_result.widget.view.result.copy.click()
    lines = QApplication.clipboard().text().splitlines()
    assert lines[0].split("\t")[0] == "Class"
    assert len(lines) == 4


def test_a_file_that_cannot_be_written_is_said_in_a_sentence(a_result, tmp_path):
    (tmp_path / "a_file").write_text("", encoding="utf-8")
    a_result.widget.controller.saving.mask(str(tmp_path / "a_file" / "mask.nii.gz"))
    a_result.wait_idle()
    assert "Can't write" in a_result.state.error


def test_a_second_run_on_the_same_scan_uses_the_same_layers(a_result):
    labels, surface = a_result.labels, a_result.surface
    count = len(a_result.viewer.layers)
    a_result.run()
    assert (a_result.labels, a_result.surface) == (labels, surface)
    assert len(a_result.viewer.layers) == count


def test_another_scan_gets_layers_of_its_own(a_result, sphere):
    labels = a_result.labels
    kept = labels.data.copy()
    a_result.open(sphere.make_scan(sphere.affines["oblique"], name="other"))
    a_result.run()
    assert a_result.labels is not labels
    np.testing.assert_array_equal(labels.data, kept)


def test_results_are_not_offered_as_images(a_result):
    assert [image.title for image in a_result.state.images] == ["scan"]


def test_removing_the_result_during_a_run_is_safe_and_the_labels_come_back(a_ready_widget):
    docked = a_ready_widget
    docked.session.gate.is_closed = True
    docked.click_segment()
    docked.wait_for_step(4)
    docked.session.gate.go_on()
    docked.wait_for_step(2)
    docked.viewer.layers.remove(docked.labels)
    docked.viewer.layers.remove(docked.surface)
    docked.session.gate.open()
    docked.wait_idle()
    assert docked.labels in docked.viewer.layers
    assert docked.surface is None, "a surface that was removed during the run stays away"
    assert docked.state.error == ""


def test_removing_the_scan_during_a_run_is_safe(a_ready_widget):
    docked = a_ready_widget
    docked.session.gate.is_closed = True
    docked.click_segment()
    docked.wait_for_step(4)
    docked.viewer.layers.remove("scan")
    docked.session.gate.open()
    docked.wait_idle()
    assert docked.shown_step() == 1
    assert docked.state.measurements
    assert not docked.state.can_segment


def test_closing_the_viewer_during_a_run_ends_the_thread(dock, sphere):
    docked = dock()
    docked.open(sphere.make_scan(sphere.affines["RAS"]))
    docked.session.gate.is_closed = True
    docked.click_segment()
    docked.wait_for_step(4)
    worker = docked.widget.controller.worker
    docked.viewer.close()
    docked.qtbot.waitUntil(lambda: worker.shut_down(0), timeout=10_000)


def test_a_region_is_refined_in_layers_of_its_own_without_a_shift(a_result, sphere):
    volume = sphere.make_scan(sphere.affines["RAS"])
    x, y, z = a_result.session.centre_world(volume)
    centre = np.array([z, -y, -x])
    # A rectangle on the slice through the ball's middle, 10 mm to either side.
    slice_at = float(a_result.viewer.layers["scan"].data_to_world((round(z + 18), 0, 0))[0])
    corners = [[slice_at, centre[1] + a, centre[2] + b] for a, b in ((-10, -10), (-10, 10), (10, 10), (10, -10))]
    a_result.viewer.add_shapes([np.array(corners)], shape_type="rectangle", name="box", units=("mm",) * 3)
    a_result.wait_idle()
    a_result.widget.controller.store.update_settings(region_factor=4, region_depth=16)
    assert "box" in a_result.state.box_layers
    a_result.widget.controller.refine_region("box")
    assert a_result.state.job is Job.REFINE
    a_result.wait_idle()
    region = a_result.labels
    assert region.name == "Hippocampus ×4, interpolated"
    np.testing.assert_allclose(region.scale, [0.25] * 3)
    inside = world_of(region, np.argwhere(region.data > 0))
    assert (np.linalg.norm(inside - centre, axis=1) <= 11.3 + 1e-2).all()
    outside = world_of(region, np.argwhere(region.data == 0))
    assert (np.linalg.norm(outside - centre, axis=1) >= 11.3 - 1e-2).all()


def test_a_region_outside_the_scan_is_refused_in_words(a_result):
    a_result.viewer.add_shapes(
        [np.array([[0, 900, 900], [0, 900, 950], [0, 950, 950], [0, 950, 900]])], name="far", units=("mm",) * 3
    )
    a_result.wait_idle()
    a_result.widget.controller.refine_region("far")
    assert "outside the scan" in a_result.state.error


def test_releasing_memory_keeps_the_layers_and_asks_for_a_new_run(a_result):
    a_result.widget.view.result.release.click()
    assert a_result.labels in a_result.viewer.layers
    assert not a_result.state.has_result
    assert not a_result.widget.view.region.refine.isEnabled()
    requests = len(a_result.session.requests)
    a_result.widget.controller.runs.rethreshold(0.7)
    assert len(a_result.session.requests) == requests
    a_result.run()
    assert a_result.state.has_result


def test_the_report_is_a_page_with_pictures_and_says_what_was_edited(a_result, tmp_path):
    a_result.widget.controller.saving.report(str(tmp_path / "report.html"))
    a_result.wait_idle()
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "data:image/png;base64," in page
    assert "at thresholds" in page, "what another threshold would make of it"
    assert "edited by hand" not in page
    a_result.labels.paint((6, 8, 8), 1)
    a_result.qtbot.waitUntil(lambda: a_result.state.is_edited, timeout=10_000)
    a_result.wait_idle()
    a_result.widget.controller.saving.report(str(tmp_path / "edited.html"))
    a_result.wait_idle()
    assert a_result.state.error == ""
    assert "edited by hand" in (tmp_path / "edited.html").read_text(encoding="utf-8")


def test_the_saved_surface_lies_on_the_ball_itself(a_result, tmp_path):
    import trimesh

    a_result.widget.controller.saving.surface(str(tmp_path / "ball.stl"))
    a_result.wait_idle()
    mesh = trimesh.load(tmp_path / "ball.stl")
    volume = a_result.session.requests[-1].volume
    distances = np.linalg.norm(mesh.vertices - a_result.session.centre_world(volume), axis=1)
    assert np.abs(distances - a_result.session.radius_mm).max() < 0.01
    assert mesh.is_watertight
    assert mesh.volume > 0


def test_the_surface_of_edited_labels_is_theirs(a_result, tmp_path):
    import trimesh

    a_result.labels.data[...] = 0
    a_result.labels.data[4:14, 4:14, 4:14] = 1
    a_result.labels.paint((9, 9, 9), 1)
    a_result.labels.data = a_result.labels.data
    a_result.labels.paint((9, 9, 9), 2)
    a_result.qtbot.waitUntil(lambda: a_result.state.is_edited, timeout=10_000)
    a_result.wait_idle()
    a_result.widget.controller.saving.surface(str(tmp_path / "box.stl"))
    a_result.wait_idle()
    mesh = trimesh.load(tmp_path / "box.stl")
    np.testing.assert_allclose(mesh.extents, 10, atol=0.5)
    assert mesh.volume == pytest.approx(1000, rel=0.1)
    assert "edited" in a_result.state.status


def test_a_mask_can_be_saved_as_segments(a_result, tmp_path):
    a_result.widget.controller.saving.mask(str(tmp_path / "mask.seg.nrrd"))
    a_result.wait_idle()
    assert b"Segment1_ID:=" in (tmp_path / "mask.seg.nrrd").read_bytes()


def test_a_cancelled_run_shows_no_numbers_of_another_and_restore_brings_them_back(a_result):
    rows, labels = a_result.state.measurements, a_result.labels.data.copy()
    a_result.session.gate.is_closed = True
    a_result.click_segment()
    a_result.wait_for_step(4)
    a_result.click_segment()
    a_result.wait_idle()
    assert a_result.state.measurements == ()
    assert not a_result.widget.view.result.save_mask.isEnabled()
    a_result.widget.view.result.restore.click()
    assert a_result.state.measurements == rows
    np.testing.assert_array_equal(a_result.labels.data, labels)


def test_moving_the_threshold_shows_no_coarse_steps(a_result):
    shapes = []
    a_result.labels.events.set_data.connect(lambda event: shapes.append(a_result.labels.data.shape))
    move_threshold(a_result, 0.9)
    assert shapes
    assert set(shapes) == {a_result.viewer.layers["scan"].data.shape}


def test_a_cancelled_move_of_the_threshold_puts_the_slider_back(a_result):
    a_result.session.gate.is_closed = True
    a_result.widget.view.result.threshold.setValue(0.9)
    a_result.qtbot.waitUntil(lambda: a_result.state.job is Job.RETHRESHOLD, timeout=10_000)
    a_result.click_segment()
    a_result.wait_idle()
    assert a_result.state.settings.threshold == 0.5
    assert a_result.widget.view.result.threshold.value() == pytest.approx(0.5)


def test_a_region_after_restore_is_refined_at_the_threshold_that_is_shown(a_result):
    move_threshold(a_result, 0.9)
    a_result.widget.view.result.restore.click()
    a_result.widget.controller.runs.refine(((0, 0, 0), (40, 44, 36)), 2.0)
    a_result.wait_idle()
    assert a_result.widget.controller.runs.outcome.segmentation.threshold == 0.5


def test_the_wheel_over_the_form_changes_no_value(a_result):
    from qtpy.QtCore import QPoint, QPointF, Qt
    from qtpy.QtGui import QWheelEvent
    from qtpy.QtWidgets import QApplication

    def turn(widget):
        place = QPointF(widget.rect().center())
        event = QWheelEvent(
            place, place, QPoint(0, 0), QPoint(0, 120), Qt.MouseButton.NoButton,
            Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False,
        )  # fmt: skip
        QApplication.sendEvent(widget, event)

    view = a_result.widget.view
    threshold, depth = view.result.threshold, view.region.depth
    before = threshold.value(), depth.value()
    for widget in (threshold, threshold._slider, depth, view.run.step):
        turn(widget)
    assert (threshold.value(), depth.value()) == before
    assert a_result.state.settings.step == 1
