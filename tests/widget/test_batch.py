"""A folder in, a folder out, from the same widget."""

from __future__ import annotations

import csv
import json

import nibabel
import numpy as np
import pytest

from napari_ossnet.engine.volume import write_volume

pytestmark = pytest.mark.qt


@pytest.fixture
def a_folder_of_scans(tmp_path, sphere):
    folder = tmp_path / "in"
    for name, orientation in (("one", "RAS"), ("two", "PIR, thick slices")):
        volume = sphere.make_scan(sphere.affines[orientation])
        write_volume(folder / f"{name}.nii.gz", volume.data[0], volume)
    flat = sphere.make_scan(sphere.affines["RAS"])
    write_volume(folder / "broken.nii.gz", np.zeros_like(flat.data[0]), flat)
    return folder


def run_batch(docked, source, target):
    docked.widget.controller.store.update_settings(batch_input=str(source), batch_output=str(target))
    assert docked.widget.view.batch.run.isEnabled()
    docked.widget.view.batch.run.click()
    docked.wait_idle()


def test_every_case_leaves_a_mask_a_report_and_a_row(a_docked_widget, a_folder_of_scans, tmp_path):
    docked, target = a_docked_widget, tmp_path / "out"
    run_batch(docked, a_folder_of_scans, target)
    outcomes = {row.case: row.outcome for row in docked.state.batch}
    assert outcomes["one"].startswith("done in")
    assert outcomes["two"].startswith("done in")
    assert outcomes["broken"].startswith("failed: ")
    assert docked.state.status.startswith("2 of 3 cases done, 1 failed")
    for name in ("one", "two"):
        mask, scan = nibabel.load(target / f"{name}.nii.gz"), nibabel.load(a_folder_of_scans / f"{name}.nii.gz")
        assert mask.shape == scan.shape
        np.testing.assert_allclose(mask.affine, scan.affine)
        assert json.loads((target / f"{name}.json").read_text(encoding="utf-8"))["volume_ml"] > 1
    with (target / "results.csv").open() as file:
        rows = {row["case"]: row["status"] for row in csv.DictReader(file)}
    assert rows == {"one": "done", "two": "done", "broken": "failed"}
    assert docked.widget.view.batch.table.rowCount() == 3


def test_finished_cases_are_skipped_when_it_is_run_again(a_docked_widget, a_folder_of_scans, tmp_path):
    docked, target = a_docked_widget, tmp_path / "out"
    run_batch(docked, a_folder_of_scans, target)
    count = len(docked.session.requests)
    run_batch(docked, a_folder_of_scans, target)
    assert {row.outcome for row in docked.state.batch if row.case != "broken"} == {"done before"}
    assert len(docked.session.requests) == count + 1, "only the broken case is tried again"


def test_cases_of_other_weights_or_another_threshold_are_made_again(
    a_docked_widget, a_folder_of_scans, tmp_path, a_home, sphere
):
    docked, target = a_docked_widget, tmp_path / "out"
    docked.widget.controller.inputs.choose_weights("tiny-hippocampus")
    run_batch(docked, a_folder_of_scans, target)
    docked.widget.controller.store.update_settings(threshold=0.4)
    run_batch(docked, a_folder_of_scans, target)
    assert all(row.outcome.startswith("done in") for row in docked.state.batch if row.case != "broken")
    sphere.make_weights(a_home, "hippocampus", "tiny-hippocampus", value=1.0)
    run_batch(docked, a_folder_of_scans, target)
    assert all(row.outcome.startswith("done in") for row in docked.state.batch if row.case != "broken")
    assert json.loads((target / "one.json").read_text(encoding="utf-8"))["threshold"] == 0.4


def test_a_batch_can_be_cancelled(a_docked_widget, a_folder_of_scans, tmp_path):
    docked = a_docked_widget
    docked.session.gate.is_closed = True
    docked.widget.controller.store.update_settings(
        batch_input=str(a_folder_of_scans), batch_output=str(tmp_path / "out")
    )
    docked.widget.view.batch.run.click()
    docked.qtbot.waitUntil(lambda: len(docked.session.requests) == 2, timeout=120_000)
    docked.click_segment()
    docked.wait_idle()
    assert "Cancelled" in docked.state.status
    assert docked.widget.view.batch.run.isEnabled()


def test_one_folder_for_both_is_refused(a_docked_widget, a_folder_of_scans):
    run_batch(a_docked_widget, a_folder_of_scans, a_folder_of_scans)
    assert "needs two folders" in a_docked_widget.state.error
