"""Owns the widget's parts and how they hear of each other; knows no layout and no Qt."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.session import SegmentationSession
from napari_ossnet.widget.batch import batch_steps
from napari_ossnet.widget.devices import Devices
from napari_ossnet.widget.inputs import Inputs
from napari_ossnet.widget.job_runner import JobRunner
from napari_ossnet.widget.jobs import ScanMemory, call_steps
from napari_ossnet.widget.opening import LayerTuple, add_layers, demo_layers, super_resolved_layer
from napari_ossnet.widget.regions import box_layer_names, box_of
from napari_ossnet.widget.runs import Runs
from napari_ossnet.widget.saving import Saving
from napari_ossnet.widget.settings import load_settings, save_settings
from napari_ossnet.widget.state import BatchRow, Job, State
from napari_ossnet.widget.store import Store
from napari_ossnet.widget.view_position import show_fullest
from napari_ossnet.widget.view_refinement import ViewRefinement
from napari_ossnet.widget.worker import Worker

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_ossnet.engine.volume import Volume
    from napari_ossnet.widget.result_layers import ResultLayers


class Controller:
    """What the view's buttons do.

    Args:
        viewer: Where images come from and results go to.
        later: Runs a function in a turn of its own of the event loop.
        session: The engine's door.
        worker: The thread.
    """

    def __init__(
        self,
        viewer: Viewer,
        *,
        later: Callable[[Callable[[], Any]], None],
        session: SegmentationSession | None = None,
        worker: Worker | None = None,
    ) -> None:
        self._viewer = viewer
        self.store = Store(State(settings=load_settings()))
        self.worker = worker or Worker()
        self.jobs = JobRunner(self.store, self.worker)
        self._session = session or SegmentationSession()
        memory = ScanMemory()
        self.inputs = Inputs(viewer, self.store, self.jobs, memory)
        self.devices = Devices(self.store, self.jobs)
        self.runs = Runs(
            viewer,
            self.store,
            self.jobs,
            self.inputs,
            session=self._session,
            memory=memory,
            later=later,
        )
        self.saving = Saving(self.store, self.jobs, self.runs, session=self._session, memory=memory)
        self.view_refinement = ViewRefinement(
            viewer, self.store, self.jobs, self.runs, session=self._session, later=later
        )
        self.runs.on_replaced = self.view_refinement.forget
        self.jobs.on_idle = self._on_idle
        self._connect_viewer()
        self.inputs.refresh()

    def segment_on_cpu(self) -> None:
        """Tries the last run again where memory suffices."""
        self.devices.choose("cpu")
        self.runs.segment()

    def open_demo(self) -> None:
        """Makes the demo scan and opens it."""
        self.jobs.start(Job.DEMO, partial(call_steps, demo_layers), on_result=self._on_demo_made)

    def refine_region(self, source: str) -> None:
        """Refines what the user has pointed out, in the view or in a layer of shapes."""
        layers = self.runs.whole
        if layers is None:
            return
        settings = self.store.settings
        try:
            box = box_of(self._viewer, source, settings.region_depth, layers.placement)
        except InputError as error:
            self.store.update(error=str(error))
            return
        self.runs.refine(box, float(settings.region_factor))

    def add_super_resolved_image(self) -> None:
        """Adds the image that the last network has restored beside its mask."""
        layers = self.runs.whole
        if layers is None or self.store.state.is_busy:
            return
        self.jobs.start(Job.IMAGE, self._session.super_resolved_image, on_result=partial(self._on_image_made, layers))

    def run_batch(self) -> None:
        """Segments every case of a folder into another."""
        settings, chosen = self.store.settings, self.store.state.chosen_weights
        if chosen is None or self.store.state.is_busy:
            return
        # The session goes on to other scans: of the one in the window nothing can be moved or refined any more.
        self.runs.release()
        self.store.update(batch=())
        self.jobs.start(
            Job.BATCH,
            partial(batch_steps, self._session, self.inputs.task, chosen.name, settings),
            on_value=self._on_batch_row,
            on_result=lambda text: self.store.update(status=text),
        )

    def fold(self, section: str, *, is_folded: bool) -> None:
        """Remembers whether a section is folded away."""
        folded = set(self.store.settings.folded) - {section}
        self.store.update_settings(folded=tuple(sorted(folded | ({section} if is_folded else set()))))

    def close(self) -> None:
        """Cancels what runs, remembers the settings, and listens to the viewer no more; safe to call twice."""
        self.store.changed.disconnect()
        self._disconnect_viewer()
        self.view_refinement.disconnect()
        self.runs.disconnect()
        self.jobs.shut_down()
        save_settings(self.store.settings)

    def _connect_viewer(self) -> None:
        for event in self._viewer_events():
            event.connect(self._on_layers_changed)

    def _disconnect_viewer(self) -> None:
        for event in self._viewer_events():
            event.disconnect(self._on_layers_changed)

    def _viewer_events(self) -> tuple[Any, ...]:
        events = self._viewer.layers.events
        return (events.inserted, events.removed, events.changed, events.renamed)

    def _on_layers_changed(self, event: Any = None) -> None:
        # While something runs, the form stays as it is; it catches up afterwards.
        self.store.update(box_layers=box_layer_names(self._viewer.layers))
        if not self.store.state.is_busy:
            self.inputs.refresh_images()

    def _on_idle(self, job: Job) -> None:
        self.runs.settle(job)
        outcome = self.runs.outcome
        if job == Job.SEGMENT and outcome is not None:
            self.devices.note_used(outcome.segmentation.provenance.device.split(":")[0])
        if job not in (Job.CHECK, Job.VIEW):
            self.inputs.refresh_images()
        self.view_refinement.on_idle(job)

    def _on_demo_made(self, layers: list[LayerTuple]) -> None:
        add_layers(self._viewer, layers)
        show_fullest(self._viewer, self._viewer.layers[-1])

    def _on_image_made(self, layers: ResultLayers, volume: Volume) -> None:
        shown = self._viewer.layers
        # Below the labels, which it would hide.
        index = shown.index(layers.labels) if layers.labels in shown else len(shown)
        shown.insert(index, super_resolved_layer(volume, layers.placement))

    def _on_batch_row(self, value: Any) -> None:
        if isinstance(value, BatchRow):
            rows = [row for row in self.store.state.batch if row.case != value.case]
            self.store.update(batch=(*rows, value))
