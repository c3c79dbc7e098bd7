"""Which slice is shown: a full one of a scan just opened, one with the object once found; and what is seen in 3D."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.qt


@pytest.fixture
def a_viewer(make_napari_viewer):
    return make_napari_viewer()


def slices_of(viewer, filled, shape=(20, 8, 8), scale=(2.0, 1.0, 1.0)):
    """An image layer with something on the given slices only."""
    data = np.zeros(shape, np.float32)
    data[list(filled)] = 1
    return viewer.add_image(data, scale=scale, translate=(5.0, 0.0, 0.0), units=("mm",) * 3)


@pytest.mark.parametrize(("filled", "at"), [((3, 4, 5), 4), (range(20), 10), ((17,), 17)])
def test_a_scan_is_opened_on_a_slice_that_is_full_of_it(a_viewer, filled, at):
    from napari_ossnet.widget.view_position import show_fullest

    layer = slices_of(a_viewer, filled)
    show_fullest(a_viewer, layer)
    shown = round(float(layer.world_to_data(a_viewer.dims.point)[0]))
    assert abs(shown - at) <= 1
    assert layer.data[shown].any()


def labels_on(viewer, slices):
    data = np.zeros((20, 8, 8), np.uint8)
    for index, count in slices.items():
        data[index, 0, :count] = 1
    return viewer.add_labels(data, scale=(2.0, 1.0, 1.0), translate=(5.0, 0.0, 0.0), units=("mm",) * 3)


def test_the_slice_with_most_of_the_object_is_gone_to(a_viewer):
    from napari_ossnet.widget.view_position import go_to_object

    labels = labels_on(a_viewer, {4: 2, 15: 7, 16: 3})
    a_viewer.dims.set_point(0, 5.0 + 2 * 10)
    assert go_to_object(a_viewer, labels)
    assert a_viewer.dims.point[0] == pytest.approx(5.0 + 2 * 15)


def test_a_slice_that_shows_some_of_the_object_is_stayed_on(a_viewer):
    from napari_ossnet.widget.view_position import go_to_object

    labels = labels_on(a_viewer, {4: 2, 15: 7})
    a_viewer.dims.set_point(0, 5.0 + 2 * 4)
    assert go_to_object(a_viewer, labels)
    assert a_viewer.dims.point[0] == pytest.approx(5.0 + 2 * 4)


def test_nothing_is_gone_to_where_nothing_was_found(a_viewer):
    from napari_ossnet.widget.view_position import go_to_object

    labels = labels_on(a_viewer, {})
    a_viewer.dims.set_point(0, 11.0)
    assert not go_to_object(a_viewer, labels)
    assert a_viewer.dims.point[0] == pytest.approx(11.0)


def test_a_run_shows_what_it_finds_as_soon_as_it_finds_it(a_ready_fine_widget):
    docked = a_ready_fine_widget
    # The last slice, far from the ball.
    docked.viewer.dims.set_point(0, docked.viewer.dims.range[0].stop)
    docked.session.gate.is_closed = True
    docked.click_segment()
    docked.wait_for_step(8)
    docked.qtbot.waitUntil(lambda: docked.viewer.dims.point[0] < docked.viewer.dims.range[0].stop, timeout=10_000)
    _, _, z = docked.session.centre_world(docked.session.requests[-1].volume)
    assert abs(docked.viewer.dims.point[0] - z) < docked.session.radius_mm
    docked.session.gate.open()
    docked.wait_idle()


def test_a_user_who_has_moved_on_is_left_alone(a_ready_fine_widget):
    docked = a_ready_fine_widget
    docked.viewer.dims.set_point(0, docked.viewer.dims.range[0].stop)
    docked.session.gate.is_closed = True
    docked.click_segment()
    docked.viewer.dims.set_point(0, docked.viewer.dims.range[0].start)
    docked.session.gate.open()
    docked.wait_idle()
    assert docked.viewer.dims.point[0] == docked.viewer.dims.range[0].start


def test_slices_show_labels_and_3d_shows_the_surface(a_ready_widget):
    docked = a_ready_widget
    docked.run()
    assert (docked.labels.visible, docked.surface.visible) == (True, False)
    docked.viewer.dims.ndisplay = 3
    assert (docked.labels.visible, docked.surface.visible) == (False, True)
    docked.viewer.dims.ndisplay = 2
    assert (docked.labels.visible, docked.surface.visible) == (True, False)


def test_an_eye_that_the_user_has_clicked_stays_as_it_is(a_ready_widget):
    docked = a_ready_widget
    docked.run()
    docked.labels.visible = False
    docked.viewer.dims.ndisplay = 3
    docked.viewer.dims.ndisplay = 2
    assert not docked.labels.visible
    docked.surface.visible = True
    docked.run()
    assert docked.surface.visible
