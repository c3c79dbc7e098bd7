"""Owns what runs in the worker: generators that turn layers into scans, call the session and make frames of events."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from napari_ossnet.engine.errors import EngineError, InputError
from napari_ossnet.engine.events import Event, Message, Progress
from napari_ossnet.engine.results.segmentation import Segmentation
from napari_ossnet.engine.scans.assignment import stack_volumes
from napari_ossnet.engine.session import SegmentationSession, SegmentRequest
from napari_ossnet.engine.task_definition import Task
from napari_ossnet.engine.volume import Volume
from napari_ossnet.widget.frames import FrameMaker
from napari_ossnet.widget.layers import LayerSource, Placement
from napari_ossnet.widget.state import MeasurementRow
from napari_ossnet.widget.torch_loading import import_torch

Triple = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScanOrder:
    """Which channels of which layers make up a scan, in the task's order."""

    task: Task
    sources: tuple[tuple[str, LayerSource], ...]

    @property
    def placement(self) -> Placement:
        """The first image's: its grid is the scan's."""
        return self.sources[0][1].placement

    def is_same(self, other: ScanOrder | None) -> bool:
        """Whether the other order makes the very same scan."""
        return (
            other is not None
            and self.task == other.task
            and len(self.sources) == len(other.sources)
            and all(a.is_same_scan(b) for (_, a), (_, b) in zip(self.sources, other.sources, strict=True))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How to segment; the fields mean what they mean in ``SegmentRequest``."""

    weights: str
    device: str = "auto"
    memory_bytes: int | None = None
    step: int = 1
    threshold: float = 0.5
    mirrored: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanFindings:
    """What is wrong, and what looks wrong, about a scan."""

    problems: tuple[str, ...]
    warnings: tuple[str, ...]


class ScanMemory:
    """Keeps the last scan: as long as the layers are the same, the session gets the same value and encodes once."""

    def __init__(self) -> None:
        self._order: ScanOrder | None = None
        self._volume: Volume | None = None
        self._messages: list[Message] = []

    def volume(self, order: ScanOrder) -> tuple[Volume, list[Message]]:
        """The scan of these layers and what there is to say about it.

        Raises:
            InputError: They don't make up a scan.
        """
        if self._volume is None or not order.is_same(self._order):
            self.forget()
            volumes = {name: source.to_volume() for name, source in order.sources}
            self._volume, self._messages = stack_volumes(order.task, volumes)
            self._order = order
        return self._volume, self._messages

    def forget(self) -> None:
        """Lets go of the scan."""
        self._order, self._volume, self._messages = None, None, []


def check_steps(memory: ScanMemory, order: ScanOrder) -> Generator[Any, None, ScanFindings]:
    """Looks at a scan without a network: what the engine would refuse and what looks wrong to it."""
    from napari_ossnet.engine.scans.scan_checks import check_scan, refuse_unusable

    yield Progress(stage="preparing")
    try:
        volume, messages = memory.volume(order)
        yield Progress(stage="preparing")
        refuse_unusable(order.task, volume)
    except InputError as error:
        return ScanFindings(problems=(str(error),), warnings=())
    warnings = [message.text for message in messages] + check_scan(order.task, volume)
    return ScanFindings(problems=(), warnings=tuple(warnings))


def segment_steps(
    session: SegmentationSession, memory: ScanMemory, order: ScanOrder, options: RunOptions
) -> Generator[Any, None, Segmentation]:
    """Segments the scan of these layers; yields progress, messages and frames."""
    yield Progress(stage="preparing")
    import_torch()
    # What napari imports to make its first labels layer: here it does not hold the window.
    import skimage.color  # noqa: F401

    volume, messages = memory.volume(order)
    yield from messages
    request = SegmentRequest(
        volume=volume,
        task=order.task.name,
        weights=options.weights,
        device=options.device,
        memory_bytes=options.memory_bytes,
        step=options.step,
        threshold=options.threshold,
        mirrored=options.mirrored,
        messages=tuple(message.text for message in messages),
    )
    return (yield from FrameMaker(order.task, order.placement).through(session.segment(request)))


def rethreshold_steps(
    session: SegmentationSession, task: Task, placement: Placement, threshold: float
) -> Generator[Any, None, Segmentation]:
    """Moves the threshold of the last segmentation; the coarse steps on the way are not shown: they would flicker."""
    return (yield from FrameMaker(task, placement, coarsest=0).through(session.rethreshold(threshold)))


def refine_steps(
    session: SegmentationSession, frames: FrameMaker, box: tuple[Triple, Triple], factor: float, threshold: float
) -> Generator[Any, None, Segmentation]:
    """Refines a box of the last segmentation, at the threshold of the labels that are shown.

    Args:
        session: Holds the segmentation.
        frames: Makes what is shown.
        box: First scan voxel, and one past the last.
        factor: How many times smaller voxels get.
        threshold: The session's own may be another, after *Restore previous*.
    """
    if session.result is not None and session.result.threshold != threshold:
        yield from progress_only(session.rethreshold(threshold))
    start, stop = box
    return (yield from frames.through(session.refine_region(start, stop, factor)))


def device_steps() -> Generator[Any, None, list[Any]]:
    """Lists the devices; imports torch, hence in the worker."""
    yield Progress(stage="preparing")
    import_torch()
    from napari_ossnet.engine.device import list_devices

    return list(list_devices())


def measure_steps(mask: np.ndarray, segmentation: Segmentation) -> Generator[Any, None, tuple[MeasurementRow, ...]]:
    """The numbers of a mask that somebody has edited, where that of a result was."""
    from napari_ossnet.widget.mask_numbers import measure_mask

    rows = []
    labels = [(segment.title, segment.label) for segment in segmentation.task.classes]
    for title, label in labels if len(labels) == 1 else [("Whole object", None), *labels]:
        yield Progress(stage="measuring")
        row = measure_mask(title, mask > 0 if label is None else mask == label, segmentation.affine)
        rows.append(replace(row, box=_box_of(segmentation)))
    return tuple(rows)


def rows_of(segmentation: Segmentation) -> tuple[MeasurementRow, ...]:
    """The numbers of a result as rows of the table."""
    return tuple(
        MeasurementRow(
            title=item.title,
            volume_ml=item.volume_ml,
            surface_area_cm2=item.surface_area_cm2,
            max_diameter_mm=item.max_diameter_mm,
            box=_box_of(segmentation),
        )
        for item in segmentation.measurements
    )


def _box_of(segmentation: Segmentation) -> str:
    return "" if segmentation.region is None else segmentation.region.box_text


def call_steps(function: Any, *arguments: Any) -> Generator[Any, None, Any]:
    """A plain function as a job, for work that is too slow for the window's thread but has no steps.

    Raises:
        EngineError: It failed in a way that the user can act on.
    """
    yield None
    try:
        return function(*arguments)
    except OSError as error:
        raise EngineError(f"A file could not be read or written ({error}).") from error


def progress_only(steps: Generator[Event, None, Segmentation]) -> Generator[Event, None, Segmentation]:
    """A run's progress without its snapshots and messages."""
    try:
        while True:
            try:
                event = next(steps)
            except StopIteration as stop:
                result: Segmentation = stop.value
                return result
            if isinstance(event, Progress):
                yield event
    finally:
        steps.close()
