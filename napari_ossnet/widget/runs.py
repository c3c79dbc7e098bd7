"""Owns the runs: segmenting, moving the threshold, refining a region, and what becomes of their results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_ossnet.engine.device import parse_memory
from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.results.segmentation import Segmentation
from napari_ossnet.engine.session import SegmentationSession
from napari_ossnet.widget.frames import FrameMaker, LabelsFrame, SurfaceFrame
from napari_ossnet.widget.inputs import Inputs
from napari_ossnet.widget.job_runner import JobRunner
from napari_ossnet.widget.jobs import (
    RunOptions,
    ScanMemory,
    ScanOrder,
    Triple,
    measure_steps,
    refine_steps,
    rethreshold_steps,
    rows_of,
    segment_steps,
)
from napari_ossnet.widget.progress_text import duration
from napari_ossnet.widget.result_layers import ResultLayers
from napari_ossnet.widget.state import Job, MeasurementRow
from napari_ossnet.widget.store import Store
from napari_ossnet.widget.view_position import go_to_object

if TYPE_CHECKING:
    from napari.viewer import Viewer


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcome:
    """A finished result: what is saved, shown in the table, and brought back by *Restore previous*."""

    segmentation: Segmentation
    rows: tuple[MeasurementRow, ...]
    threshold: float
    #: What was segmented, and where it is shown.
    order: ScanOrder
    layers: ResultLayers
    #: The session's when it was made, which tells whether the session still has its field.
    generation: int
    #: Whether the rows are of labels that were edited by hand.
    is_edited: bool = False


class Runs:
    """Starts runs and shows what they find.

    Args:
        viewer: Where results are shown.
        store: The state.
        jobs: Runs things in the worker.
        inputs: Say what is segmented with what.
        session: The engine's door.
        memory: Keeps the last scan.
        later: Runs a function in a turn of its own of the event loop.
    """

    def __init__(
        self,
        viewer: Viewer,
        store: Store,
        jobs: JobRunner,
        inputs: Inputs,
        *,
        session: SegmentationSession,
        memory: ScanMemory,
        later: Callable[[Callable[[], Any]], None],
    ) -> None:
        self._viewer = viewer
        self._store = store
        self._jobs = jobs
        self._inputs = inputs
        self._session = session
        self._memory = memory
        self._later = later
        self._order: ScanOrder | None = None
        self._layers: dict[tuple[str, ...], ResultLayers] = {}
        #: The layers of the last run over a whole scan, of the last box in it, and those of the last run of any kind.
        self.whole: ResultLayers | None = None
        self._box: ResultLayers | None = None
        self.last: ResultLayers | None = None
        self.outcome: Outcome | None = None
        #: Layers that were edited by hand and not measured since.
        self._unmeasured: ResultLayers | None = None
        #: Told after labels were edited by hand, so that numbers can be taken anew after a pause.
        self.on_edited: Callable[[], None] = lambda: None
        #: Told when labels of the whole scan are about to be replaced.
        self.on_replaced: Callable[[], None] = lambda: None
        self._has_frame = False
        #: The threshold of the whole scan's labels that are shown.
        self._shown_threshold = store.settings.threshold
        #: Where the viewer was when a run began whose object is still to be gone to; None once that was done.
        self._stood_at: tuple[float, ...] | None = None

    def segment(self) -> None:
        """Segments the chosen scan; refuses with the same sentences that stand above the button."""
        order, weights = self._inputs.order(), self._store.state.chosen_weights
        if self._store.state.problems or order is None or weights is None or self._store.state.is_busy:
            return
        try:
            options = self._options(weights.name)
        except InputError as error:
            self._store.update(error=str(error))
            return
        self._order = order
        layers = self._layers_for(_key_of(order), order.task.title, order)
        if layers is not self.whole:
            self.whole, self._box = layers, None
        self._stood_at = tuple(self._viewer.dims.point)
        # Labels of an unfinished run have no numbers, and the session may have let go of the scan before.
        self._store.update(has_result=False, measurements=(), is_edited=False)
        self._start(
            Job.SEGMENT, layers, lambda: segment_steps(self._session, self._memory, order, options), options.threshold
        )

    def rethreshold(self, threshold: float) -> None:
        """Moves the threshold of the last result; while something runs, as soon as that has ended.

        So the labels keep up with a slider that is being dragged: each move is finished, then the newest is made.
        """
        self._store.update_settings(threshold=threshold)
        if not self._store.state.is_busy:
            self._move_threshold()

    def settle(self, job: Job) -> None:
        """Has slider and numbers tell of what is shown, after a job that was cancelled or failed."""
        if job is Job.RETHRESHOLD:
            self._store.update_settings(threshold=self._shown_threshold)
        if job is Job.SEGMENT and not self._has_frame and self.outcome is not None:
            self._take(self.outcome)
        edited = self._unmeasured
        if edited is not None and edited.is_edited and job is not Job.MEASURE:
            self._on_layers_edited(edited)

    def refine(self, box: tuple[Triple, Triple], factor: float) -> None:
        """Refines a box of scan voxels of the last result, in layers of its own."""
        if self._order is None or not self._store.state.has_result or self._store.state.is_busy:
            return
        order = self._order
        name = f"{order.task.title} ×{factor:g}, interpolated"
        self._box = layers = self._layers_for(("box", *_key_of(order)), name, order)
        frames = FrameMaker(order.task, order.placement, coarsest=1)
        threshold = self._store.settings.threshold
        self._start(Job.REFINE, layers, partial(refine_steps, self._session, frames, box, factor, threshold), threshold)

    def restore(self) -> None:
        """Brings back what was shown before the last run."""
        if self.last is None or self._store.state.is_busy:
            return
        outcome = self.last.restore()
        if isinstance(outcome, Outcome):
            if self.last is self.whole:
                self._store.update_settings(threshold=outcome.threshold)
                self._shown_threshold = outcome.threshold
                self.on_replaced()
            self._take(outcome)
            if self.last.is_edited:
                self.on_edited()
        self._store.update(status="The result before is back; press again to return.")

    def measure(self) -> None:
        """Takes the numbers of labels that were edited by hand, as they are shown now."""
        mask = self.edited_mask()
        # The pause after a stroke may end when a result without it is shown, with numbers of its own.
        if self.outcome is None or mask is None or not self.outcome.layers.is_edited:
            return
        steps = partial(measure_steps, mask.copy(), self.outcome.segmentation)
        self._jobs.start(Job.MEASURE, steps, on_result=partial(self._on_measured, self.outcome))

    def choose(self, index: int) -> None:
        """Turns to the whole scan or to the box in it: numbers and files are of that from now on."""
        results = self._results()
        if index < len(results) and not self._store.state.is_busy:
            self._turn_to(results[index])

    def has_field(self, outcome: Outcome) -> bool:
        """Whether the session still has the field that a result was made with."""
        return outcome.generation == self._session.generation

    def release(self) -> None:
        """Gives back the memory of network and scan; layers stay, only threshold and regions need a new run."""
        if self._store.state.is_busy:
            return
        self._session.release()
        self._memory.forget()
        self._store.update(has_result=False, status="Memory released. Segment again to move the threshold.")

    def edited_mask(self) -> Any:
        """The last result's labels as they are shown, in the scan's axis order; None if they don't fit it any more."""
        mask = None if self.outcome is None else self.outcome.layers.mask()
        if mask is None or self.outcome is None or mask.shape != self.outcome.segmentation.labels.shape:
            return None
        return mask

    def disconnect(self) -> None:
        """Listens to no layer any more."""
        for layers in self._layers.values():
            layers.disconnect()

    def _options(self, weights: str) -> RunOptions:
        settings = self._store.settings
        return RunOptions(
            weights=weights,
            device=settings.device,
            memory_bytes=parse_memory(settings.memory) if settings.memory else None,
            step=settings.step,
            threshold=settings.threshold,
            mirrored=settings.mirrored,
        )

    def _layers_for(self, key: tuple[str, ...], name: str, order: ScanOrder) -> ResultLayers:
        """The layers that this scan's results go to: the same again as long as its images are the same."""
        layers = self._layers.get(key)
        if layers is None:
            layers = ResultLayers(
                self._viewer, name=name, task=order.task, placement=order.placement, later=self._later
            )
            layers.edited.connect(partial(self._on_layers_edited, layers))
            self._layers[key] = layers
        layers.name = name
        layers.placement = order.placement
        return layers

    def _start(
        self, job: Job, layers: ResultLayers, steps: Callable[[], Any], threshold: float, *, is_new: bool = True
    ) -> None:
        if is_new:
            layers.begin()
        if layers is self.whole:
            self.on_replaced()
        self.last, self._has_frame = layers, False
        self._jobs.start(
            job,
            steps,
            on_value=lambda value: self._on_frame(layers, value),
            on_result=lambda result: self._on_result(layers, result, threshold),
        )
        self._store.update(can_restore=layers.can_restore)

    def _on_frame(self, layers: ResultLayers, frame: Any) -> None:
        self._has_frame = True
        if isinstance(frame, LabelsFrame):
            layers.show_labels(frame)
            if self._stood_at is not None:
                self._later(partial(self._go_to_object, layers))
        elif isinstance(frame, SurfaceFrame):
            layers.show_surface(frame)

    def _on_result(self, layers: ResultLayers, result: Segmentation, threshold: float) -> None:
        assert self._order is not None
        outcome = Outcome(
            segmentation=result,
            rows=rows_of(result),
            threshold=threshold,
            order=self._order,
            layers=layers,
            generation=self._session.generation,
        )
        layers.finish(outcome)
        self._take(outcome)
        self._store.update(status=_summary(result))
        if layers is self.whole:
            self._shown_threshold = threshold
            self._move_threshold()

    def _move_threshold(self) -> None:
        """Moves the threshold of what is shown to where the slider is now."""
        layers, threshold, state = self.whole, self._store.settings.threshold, self._store.state
        if layers is None or not state.has_result or threshold == self._shown_threshold:
            return
        steps = partial(rethreshold_steps, self._session, layers.task, layers.placement, threshold)
        self._start(Job.RETHRESHOLD, layers, steps, threshold, is_new=state.job is not Job.RETHRESHOLD)

    def _go_to_object(self, layers: ResultLayers) -> None:
        """Shows a slice of what was found, unless the one that is shown has some of it or the user has moved on."""
        labels = layers.labels
        if labels is None or self._stood_at is None:
            return
        if tuple(self._viewer.dims.point) != self._stood_at or go_to_object(self._viewer, labels):
            self._stood_at = None

    def _results(self) -> list[ResultLayers]:
        """What there are results of now: the whole scan, and the box in it."""
        layers = (self.whole, self._box)
        return [item for item in layers if item is not None and isinstance(item.extra, Outcome)]

    def _take(self, outcome: Outcome) -> None:
        """Shows the numbers of a result, and offers what the session can still do with that of the whole scan."""
        self.outcome = outcome
        results = self._results()
        whole = None if self.whole is None else self.whole.extra
        has_result = isinstance(whole, Outcome) and self.has_field(whole)
        self._store.update(
            measurements=outcome.rows,
            is_edited=outcome.is_edited,
            result_titles=tuple(_title_of(layers.extra) for layers in results),
            result_index=results.index(outcome.layers) if outcome.layers in results else 0,
            has_result=has_result,
            has_super_resolved_image=has_result and self._session.has_super_resolved_image,
        )

    def _turn_to(self, layers: ResultLayers) -> None:
        self.last = layers
        self._take(layers.extra)
        self._store.update(can_restore=layers.can_restore)

    def _on_layers_edited(self, layers: ResultLayers) -> None:
        self._unmeasured = layers
        if self._store.state.is_busy:
            # ``settle`` comes back to it.
            return
        if isinstance(layers.extra, Outcome):
            # The numbers are from now on those of the result that is being edited.
            self._turn_to(layers)
        self.on_edited()

    def _on_measured(self, outcome: Outcome, rows: tuple[MeasurementRow, ...]) -> None:
        if outcome.layers.extra is not outcome:
            # Another result is in these layers by now: restored, or of a new run.
            return
        self._unmeasured = None
        measured = replace(outcome, rows=rows, is_edited=True)
        outcome.layers.finish(measured)
        if self.outcome is outcome:
            self._take(measured)


def _key_of(order: ScanOrder) -> tuple[str, ...]:
    """The same for every run over the same images."""
    return (order.task.name, *(f"{source.layer_id} {source.channel}" for _, source in order.sources))


def _title_of(outcome: Outcome) -> str:
    region = outcome.segmentation.region
    return "Whole scan" if region is None else f"Refined box, ×{region.factor:g}"


def _summary(result: Segmentation) -> str:
    if result.is_empty:
        return f"Done in {duration(result.timings.elapsed_s)} on {result.provenance.device}; nothing was found."
    share = result.evaluated_locations / result.labels.size
    return (
        f"Done in {duration(result.timings.elapsed_s)} on {result.provenance.device}; "
        f"{result.evaluated_locations:,} points evaluated, {share:.1%} of the voxels."
    )
