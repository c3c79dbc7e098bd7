"""Owns the refinement of what is on the screen: finer than the scan as the user zooms in, in a layer of its own.

1. Whatever moves the view (zoom, pan, slice) stops the refinement under way; then a pause begins.
2. After the pause the part of the slice that is seen is refined, a few voxels deep and as finely as the screen shows.
3. Nothing happens where what is shown covers the view already. The session keeps every evaluated point, so a view
   that comes back asks the network for nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.geometry import spacing_of
from napari_ossnet.engine.session import SegmentationSession
from napari_ossnet.widget.frames import FrameMaker, LabelsFrame
from napari_ossnet.widget.job_runner import JobRunner
from napari_ossnet.widget.jobs import refine_steps
from napari_ossnet.widget.regions import CURRENT_VIEW, Triple, box_of
from napari_ossnet.widget.result_layers import ResultLayers
from napari_ossnet.widget.runs import Runs
from napari_ossnet.widget.state import Job
from napari_ossnet.widget.store import Store

if TYPE_CHECKING:
    from napari.viewer import Viewer

FACTORS = (8, 4, 2)
#: A refined voxel is at least this many pixels of the canvas wide: finer ones would not be seen.
LEAST_PIXELS = 2.0
#: Scan voxels before and behind the slice that are refined with it, so that the next slice is there already.
DEPTH = 3
#: Refined voxels at most; a large screen gets a smaller factor instead.
MOST_VOXELS = 12_000_000
#: Only steps below a scan voxel are shown; the labels of the whole scan show the others.
COARSEST = 0.99

ZOOM_IN = "Zoom in until you see single voxels; then what is on the screen is refined."
ONLY_2D = "Works on slices: switch to 2D."
NO_RESULT = "Segment first."
SHOWN = "{}× finer on the screen, interpolated beyond the scan's resolution."


@dataclass(frozen=True, slots=True)
class Target:
    """A part of the scan on the screen: half-open scan voxels, and how much finer they are wanted."""

    start: Triple
    stop: Triple
    factor: int

    def covers(self, other: Target) -> bool:
        """Whether the other lies in this one and is wanted as finely."""
        is_inside = all(a <= b for a, b in zip(self.start, other.start, strict=True)) and all(
            a >= b for a, b in zip(self.stop, other.stop, strict=True)
        )
        return is_inside and self.factor == other.factor


def factor_for(pixels: float, voxels: int) -> int:
    """How many times finer a part of a slice is wanted: as fine as the screen shows and ``MOST_VOXELS`` allow.

    Args:
        pixels: Of the canvas, along a scan voxel.
        voxels: Of the scan, in the part.

    Returns:
        One of ``FACTORS``, or 1 where even the smallest would not be seen.
    """
    most = MOST_VOXELS / (voxels * DEPTH)
    return next((factor for factor in FACTORS if pixels / factor >= LEAST_PIXELS and factor**3 <= most), 1)


class ViewRefinement:
    """Follows the view while its switch is on.

    Args:
        viewer: Whose view it is.
        store: The state.
        jobs: Runs things in the worker.
        runs: Know what was segmented last.
        session: The engine's door.
        later: Runs a function in a turn of its own of the event loop.
    """

    def __init__(
        self,
        viewer: Viewer,
        store: Store,
        jobs: JobRunner,
        runs: Runs,
        *,
        session: SegmentationSession,
        later: Callable[[Callable[[], Any]], None],
    ) -> None:
        self._viewer = viewer
        self._store = store
        self._jobs = jobs
        self._runs = runs
        self._session = session
        self._later = later
        self._layers: ResultLayers | None = None
        #: What the worker was last sent for, and what is shown in full.
        self._sought: Target | None = None
        self._shown: Target | None = None
        #: Whether what is shown is of the last result.
        self._is_of_result = False
        #: Told whenever the view has moved, so that ``refine`` is called after a pause.
        self.on_moved: Callable[[], None] = lambda: None
        for event in self._events():
            event.connect(self._on_view_moved)

    def switch(self, is_on: bool) -> None:
        """Turns it on or off; what is shown stays."""
        self._store.update_settings(refine_view=is_on)
        self._on_view_moved()

    def refine(self) -> None:
        """Refines what is on the screen, if that is wanted and nothing else is under way."""
        state, layers = self._store.state, self._runs.whole
        if state.job is Job.VIEW:
            self._stop_if_out_of_sight()
        sight = self._sight() if state.settings.refine_view else None
        if state.job is not Job.NONE or sight is None or layers is None:
            return
        target = Target(*box_of(self._viewer, CURRENT_VIEW, DEPTH, layers.placement), sight.factor)
        if target == self._sought or self._is_shown(sight):
            return
        self._sought = target
        frames = FrameMaker(
            layers.task,
            layers.placement,
            coarsest=COARSEST,
            has_surface=False,
            slice_axis=self._viewer.dims.not_displayed[-1] - (self._viewer.dims.ndim - 3),
        )
        box = (target.start, target.stop)
        self._jobs.start(
            Job.VIEW,
            partial(refine_steps, self._session, frames, box, float(target.factor), state.settings.threshold),
            on_value=partial(self._on_frame, target),
            on_result=lambda _: None,
        )

    def forget(self) -> None:
        """Another result is under way: what is shown here is not of it, and is hidden until it is."""
        self._sought = self._shown = None
        self._is_of_result = False
        self._show_or_hide()

    def on_idle(self, job: Job) -> None:
        """Looks whether there is something to do now that a job has ended."""
        if job is not Job.VIEW:
            # It may have taken the worker from a refinement under way.
            self._sought = None
        if self._store.settings.refine_view:
            self.on_moved()

    def disconnect(self) -> None:
        """Follows the view no more."""
        for event in self._events():
            event.disconnect(self._on_view_moved)
        if self._layers is not None:
            self._layers.disconnect()

    def _events(self) -> tuple[Any, ...]:
        camera, dims = _camera_of(self._viewer).events, self._viewer.dims.events
        return (camera.zoom, camera.center, dims.point, dims.ndisplay, dims.order)

    def _on_view_moved(self, event: Any = None) -> None:
        self._show_or_hide()
        self._stop_if_out_of_sight()
        if self._store.settings.refine_view:
            self.on_moved()
        else:
            self._store.update(view_note="")

    def _stop_if_out_of_sight(self) -> None:
        if self._store.state.job is not Job.VIEW:
            return
        sight = self._sight() if self._store.settings.refine_view else None
        if sight is None or self._sought is None or not self._sought.covers(sight):
            self._sought = None
            self._jobs.stop(Job.VIEW)

    def _is_shown(self, sight: Target) -> bool:
        return self._shown is not None and self._shown.covers(sight)

    def _sight(self) -> Target | None:
        """What of the scan's slice is on the screen; None, and a note that says why, where nothing can be refined."""
        layers, note, sight = self._runs.whole, "", None
        if layers is None or not self._store.state.has_result:
            note = NO_RESULT
        elif self._viewer.dims.ndisplay != 2:
            note = ONLY_2D
        else:
            try:
                start, stop = box_of(self._viewer, CURRENT_VIEW, 1, layers.placement)
                pixels = _camera_of(self._viewer).zoom * min(spacing_of(layers.placement.napari_from_layer))
                factor = factor_for(pixels, int(np.prod(np.array(stop) - start)))
                sight = Target(start, stop, factor) if factor > 1 else None
                note = ZOOM_IN if sight is None else SHOWN.format(factor) if self._is_shown(sight) else ""
            except InputError as error:
                note = str(error)
        self._store.update(view_note=note)
        return sight

    def _on_frame(self, target: Target, frame: Any) -> None:
        if isinstance(frame, LabelsFrame):
            self._layers_for(target).show_labels(frame)
            self._shown = target if frame.is_final else None
            self._is_of_result = True
            self._show_or_hide()

    def _layers_for(self, target: Target) -> ResultLayers:
        whole = self._runs.whole
        assert whole is not None
        if self._layers is None or self._layers.task != whole.task:
            self._layers = ResultLayers(
                self._viewer, name="", task=whole.task, placement=whole.placement, later=self._later, opacity=1.0
            )
        self._layers.begin()
        self._layers.name = f"{whole.task.title}, view ×{target.factor}, interpolated"
        self._layers.placement = whole.placement
        return self._layers

    def _show_or_hide(self) -> None:
        """The outline is of a few slices and of the last result: in 3D, or over another one, it would mislead."""
        labels = None if self._layers is None else self._layers.labels
        is_right = self._is_of_result and self._viewer.dims.ndisplay == 2
        if labels is not None and labels.visible != is_right:
            labels.visible = is_right


def _camera_of(viewer: Viewer) -> Any:
    """The camera: from napari 0.9 on it belongs to the scene, before that to the viewer."""
    return getattr(viewer, "scene", viewer).camera
