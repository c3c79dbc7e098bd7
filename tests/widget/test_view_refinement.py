"""The switch that refines what is on the screen: as the user zooms in, as long as the view stands, and kept."""

from __future__ import annotations

import numpy as np
import pytest

from napari_ossnet.widget.state import Job

pytestmark = pytest.mark.qt


class View:
    """A docked widget with a result, looked at closely."""

    def __init__(self, docked, sphere) -> None:
        self.docked = docked
        self.refinement = docked.widget.controller.view_refinement
        volume = docked.session.requests[-1].volume
        x, y, z = docked.session.centre_world(volume)
        self.centre = np.array([z, -y, -x])
        docked.viewer.dims.set_point(0, self.centre[0])

    @property
    def camera(self):
        return getattr(self.docked.viewer, "scene", self.docked.viewer).camera

    @property
    def labels(self):
        layers = self.refinement._layers
        return None if layers is None else layers.labels

    @property
    def note(self) -> str:
        return self.docked.widget.view.region.view_note.text()

    def zoom_to(self, pixels: float, y: float, x: float) -> None:
        """So many pixels a millimetre, the middle of the canvas at a place of the slice."""
        self.camera.center = (0.0, y, x)
        self.camera.zoom = pixels
        self.draw()

    def draw(self) -> None:
        # What a drawn frame does: layers learn which of their pixels are on the screen.
        self.docked.viewer.window._qt_viewer.canvas.on_draw()

    def wait(self) -> None:
        """Until the view has been refined, or there is nothing to do."""
        pause = self.docked.widget._view_pause
        self.docked.qtbot.waitUntil(lambda: not pause.isActive() and self.docked.state.job is Job.NONE, timeout=60_000)
        self.docked.qtbot.wait(1)


@pytest.fixture
def a_view(dock, sphere):
    docked = dock()
    docked.widget.controller.inputs.choose_task("ball")
    docked.open(sphere.make_scan(sphere.affines["PIR, thick slices"]))
    docked.run()
    return View(docked, sphere)


def switch_on(view) -> None:
    view.docked.widget.view.region.follow_view.click()
    view.wait()


def edge(view, angle: float) -> tuple[float, float]:
    """A place on the ball's outline in the slice through its middle."""
    _, y, x = view.centre
    return y + 11.3 * np.sin(angle), x + 11.3 * np.cos(angle)


def test_far_away_nothing_is_refined_and_a_note_says_what_to_do(a_view):
    a_view.zoom_to(2.0, *edge(a_view, 0.0))
    switch_on(a_view)
    assert "Zoom in" in a_view.note
    assert a_view.labels is None


def test_zooming_in_draws_the_outline_where_the_field_has_it(a_view):
    switch_on(a_view)
    a_view.zoom_to(40.0, *edge(a_view, 0.7))
    a_view.wait()
    labels = a_view.labels
    assert labels.name == "Ball, view ×8, interpolated"
    assert "beyond the scan's resolution" in a_view.note
    scan = a_view.docked.viewer.layers["scan"]
    np.testing.assert_allclose(labels.scale[1:], scan.scale[1:] / 8)
    assert labels.scale[0] == pytest.approx(scan.scale[0]), "napari's slider steps through the scan's slices still"
    outline = np.array([labels.data_to_world(index) for index in np.argwhere(labels.data > 0)])
    assert len(outline) > 50
    distances = np.linalg.norm(outline - a_view.centre, axis=1)
    # Voxels just inside the ball; across the slices the plane shown is half a fine voxel from the slice's middle.
    assert distances.max() <= 11.3 + scan.scale[0] / 16
    assert distances.min() >= 11.3 - scan.scale[0] / 16 - np.linalg.norm(labels.scale[1:])


def test_the_result_is_still_that_of_the_whole_scan(a_view):
    outcome, rows = a_view.docked.widget.controller.runs.outcome, a_view.docked.state.measurements
    switch_on(a_view)
    a_view.zoom_to(40.0, *edge(a_view, 0.0))
    a_view.wait()
    assert a_view.labels is not None
    assert a_view.docked.widget.controller.runs.outcome is outcome
    assert a_view.docked.state.measurements == rows
    assert a_view.docked.state.run_messages == ()


def test_the_slice_stays_where_it_is_when_zooming_out_and_in(a_view):
    switch_on(a_view)
    at = a_view.docked.viewer.dims.point[0]
    for pixels in (40.0, 10.0, 40.0):
        a_view.zoom_to(pixels, *edge(a_view, 0.0))
        a_view.wait()
        assert a_view.docked.viewer.dims.point[0] == at


def test_a_view_that_comes_back_asks_the_network_for_nothing(a_view):
    asked = count_queries(a_view)
    switch_on(a_view)
    a_view.zoom_to(40.0, *edge(a_view, 0.0))
    a_view.wait()
    assert sum(asked) > 0
    a_view.zoom_to(40.0, *edge(a_view, 2.0))
    a_view.wait()
    asked.clear()
    a_view.zoom_to(40.0, *edge(a_view, 0.0))
    a_view.wait()
    assert sum(asked) == 0
    assert a_view.labels.data.any()


def test_it_stops_when_the_view_moves_on_and_goes_on_there(a_view):
    switch_on(a_view)
    hold = Hold(a_view)
    a_view.zoom_to(40.0, *edge(a_view, 0.0))
    a_view.docked.qtbot.waitUntil(lambda: hold.calls == 1, timeout=10_000)
    assert a_view.docked.state.job is Job.VIEW
    assert not a_view.docked.state.is_busy, "it gives way to everything else"
    a_view.zoom_to(40.0, *edge(a_view, 3.0))
    # The first one never gets on; it ends because the view has moved.
    a_view.docked.qtbot.waitUntil(lambda: hold.closed == 1, timeout=10_000)
    hold.is_held = False
    a_view.wait()
    world = a_view.labels.data_to_world(np.array(a_view.labels.data.shape) / 2)
    np.testing.assert_allclose(world[1:], edge(a_view, 3.0), atol=4.0)


def test_segment_may_be_pressed_meanwhile(a_view):
    switch_on(a_view)
    hold = Hold(a_view)
    a_view.zoom_to(40.0, *edge(a_view, 0.0))
    a_view.docked.qtbot.waitUntil(lambda: hold.calls == 1, timeout=10_000)
    hold.is_held = False
    a_view.docked.run()
    assert a_view.docked.state.measurements
    a_view.wait()
    assert a_view.labels.visible, "and the view is refined again"


def test_it_is_hidden_in_3d_and_while_another_result_is_under_way(a_view):
    switch_on(a_view)
    a_view.zoom_to(40.0, *edge(a_view, 0.0))
    a_view.wait()
    assert a_view.labels.visible
    a_view.docked.viewer.dims.ndisplay = 3
    assert not a_view.labels.visible
    a_view.docked.viewer.dims.ndisplay = 2
    assert a_view.labels.visible
    a_view.docked.widget.view.region.follow_view.click()
    a_view.docked.run()
    assert not a_view.labels.visible


def test_switched_off_nothing_more_is_refined_and_what_there_is_stays(a_view):
    switch_on(a_view)
    a_view.zoom_to(40.0, *edge(a_view, 0.0))
    a_view.wait()
    before = a_view.labels.data
    a_view.docked.widget.view.region.follow_view.click()
    a_view.zoom_to(40.0, *edge(a_view, 3.0))
    a_view.wait()
    assert a_view.labels.data is before
    assert a_view.labels.visible
    assert a_view.note == ""


@pytest.mark.parametrize(
    ("pixels", "voxels", "factor"),
    [(3.9, 10_000, 1), (4.0, 10_000, 2), (8.0, 2_500, 4), (16.0, 600, 8), (16.0, 240 * 135, 4)],
)
def test_the_factor_is_as_fine_as_the_screen_shows_and_memory_allows(pixels, voxels, factor):
    from napari_ossnet.widget.view_refinement import factor_for

    assert factor_for(pixels, voxels) == factor


def count_queries(view) -> list[int]:
    """Locations that the field is asked for from now on, a number a call."""
    field = view.docked.session._encoded.field
    asked: list[int] = []
    query = field.query

    def counted(locations):
        asked.append(len(locations))
        return query(locations)

    field.query = counted
    return asked


class Hold:
    """Holds refinements of regions before their first point until they are closed, as long as ``is_held``."""

    def __init__(self, view) -> None:
        self.is_held = True
        self.calls = 0
        self.closed = 0
        session = view.docked.session
        refine = session.refine_region

        def held(start, stop, factor):
            from napari_ossnet.engine.events import Progress

            self.calls += 1
            try:
                while self.is_held:
                    yield Progress(stage="refining")
            except GeneratorExit:
                self.closed += 1
                raise
            return (yield from refine(start, stop, factor))

        session.refine_region = held
