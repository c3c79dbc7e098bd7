"""A run as it is seen: coarse labels first, finer ones in the same layer, each exactly in place; cancelled anywhere."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

pytestmark = pytest.mark.qt

STEPS = (8, 4, 2, 1)


def napari_centre(docked, volume):
    x, y, z = docked.session.centre_world(volume)
    return np.array([z, -y, -x])


def world_of(layer, indices):
    """World positions (n, 3) of indices (n, 3), by where the layer puts its origin and its unit steps."""
    origin, *ends = (np.array(layer.data_to_world(corner)) for corner in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)))
    return origin + indices @ np.array([end - origin for end in ends])


@pytest.mark.parametrize("orientation", ["RAS", "PIR, thick slices", "oblique"])
def test_the_ball_is_in_its_place_at_every_step(dock, sphere, orientation):
    docked = dock(sphere.FormulaSession(radius_mm=11.3))
    volume = sphere.make_fine_scan(sphere.affines[orientation])
    docked.open(volume)
    docked.session.gate.is_closed = True
    docked.click_segment()
    centre, seen = napari_centre(docked, volume), []
    for step in STEPS:
        docked.wait_for_step(step)
        seen.append(docked.labels)
        spacing = step * max(volume.spacing_mm)
        labels = np.asarray(docked.labels.data)
        positions = world_of(docked.labels, np.argwhere(labels > 0))
        distances = np.linalg.norm(positions - centre, axis=1)
        # Exactly the samples inside the ball: their world positions say so themselves.
        assert (distances <= 11.3 + 1e-3).all()
        outside = world_of(docked.labels, np.argwhere(labels == 0))
        assert (np.linalg.norm(outside - centre, axis=1) >= 11.3 - 1e-3).all()
        if len(positions) >= 100:
            np.testing.assert_allclose(positions.mean(axis=0), centre, atol=0.35 * spacing)
            extents = np.ptp(positions, axis=0) / 2
            assert (np.abs(extents - 11.3) <= spacing).all()
        docked.session.gate.go_on()
    docked.session.gate.open()
    docked.wait_idle()
    assert len({id(layer) for layer in seen}) == 1, "one layer for all steps"
    np.testing.assert_allclose(docked.labels.scale, docked.viewer.layers["scan"].scale)
    assert docked.labels.data.shape == docked.viewer.layers["scan"].data.shape


def test_the_surface_lies_on_the_ball(dock, sphere):
    docked = dock(sphere.FormulaSession(radius_mm=11.3))
    volume = sphere.make_scan(sphere.affines["oblique"])
    docked.open(volume)
    docked.run()
    vertices = world_of(docked.surface, docked.surface.vertices)
    distances = np.linalg.norm(vertices - napari_centre(docked, volume), axis=1)
    # Linear between samples a voxel apart: within a tenth of a millimetre.
    middle = np.abs(vertices[:, 1] - napari_centre(docked, volume)[1]) > 2
    assert np.abs(distances[middle] - 11.3).max() < 0.1


def test_nothing_jumps_between_steps(a_ready_fine_widget):
    """The viewer's sliders stay where the user has put them while labels get finer."""
    docked = a_ready_fine_widget
    docked.viewer.dims.set_point(0, 5.0)
    before = docked.viewer.dims.point
    ranges = [docked.viewer.dims.range]
    docked.viewer.dims.events.range.connect(lambda event: ranges.append(docked.viewer.dims.range))
    docked.run()
    assert docked.viewer.dims.point == before
    for first, second in pairwise(ranges):
        assert first[0].start == pytest.approx(second[0].start)
        assert first[0].stop == pytest.approx(second[0].stop)


@pytest.mark.parametrize("step", STEPS)
def test_a_run_can_be_cancelled_at_every_step_and_what_was_found_stays(a_ready_fine_widget, step):
    docked = a_ready_fine_widget
    docked.session.gate.is_closed = True
    docked.click_segment()
    for earlier in STEPS[: STEPS.index(step)]:
        docked.wait_for_step(earlier)
        docked.session.gate.go_on()
    docked.wait_for_step(step)
    assert docked.widget.view.bar.segment.text() == "Cancel"
    docked.click_segment()
    docked.wait_idle()
    assert docked.shown_step() == step
    assert docked.widget.view.bar.segment.text() == "Segment"
    assert docked.widget.view.bar.segment.isEnabled()
    assert "Cancelled" in docked.state.status
    assert docked.labels in docked.viewer.layers


def test_a_cancelled_run_can_be_started_again(a_ready_fine_widget):
    docked = a_ready_fine_widget
    docked.session.gate.is_closed = True
    docked.click_segment()
    docked.wait_for_step(8)
    docked.click_segment()
    docked.wait_idle()
    docked.session.gate.open()
    docked.run()
    assert docked.shown_step() == 1
    assert docked.state.measurements


def test_progress_tells_points_step_and_time_left(a_ready_fine_widget):
    docked = a_ready_fine_widget
    docked.session.gate.is_closed = True
    docked.click_segment()
    docked.wait_for_step(8)
    docked.qtbot.waitUntil(lambda: "left" in docked.widget.view.bar.progress.text(), timeout=10_000)
    assert docked.widget.view.bar.progress.text() == "Step 1 · 10 of 100 points · 3 s left"
    assert docked.widget.view.bar.bar.value() == 10
    docked.click_segment()
    docked.wait_idle()


def test_the_mask_is_the_one_that_the_command_line_would_write(a_ready_fine_widget):
    docked = a_ready_fine_widget
    docked.run()
    outcome = docked.widget.controller.runs.outcome
    mask = docked.widget.controller.runs.edited_mask()
    np.testing.assert_array_equal(mask, outcome.segmentation.labels)
