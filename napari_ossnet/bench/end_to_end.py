"""Whole segmentations, from the encoder's input to the mask on the scan's own grid, ours and published in turns."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from napari_ossnet.bench.networks import Contender
from napari_ossnet.bench.published_form import encode_in_published_form
from napari_ossnet.engine.events import Progress
from napari_ossnet.engine.session import Schedule, SegmentationSession, SegmentRequest
from napari_ossnet.engine.volume import Volume


@dataclass(frozen=True, kw_only=True)
class Run:
    """One segmentation.

    Attributes:
        seconds: From the start of the encoding (weights read, scan prepared) to the mask in the scan's grid.
        cpu_s: The same time, of all cores of this process.
        encoding_s: Its part until the field stands.
        first_snapshot_s: From the request, weights and preparation included, to the first picture.
        after_encoding_s: From the standing field to the first picture.
        locations: Asked of the field.
        labels: The mask, scan order.
    """

    seconds: float
    cpu_s: float
    encoding_s: float
    first_snapshot_s: float
    after_encoding_s: float
    locations: int
    labels: np.ndarray


def segment_once(volume: Volume, contender: Contender, device: str = "cpu", schedule: Schedule = "octree") -> Run:
    """A segmentation by our path, in a session of its own: nothing is kept from run to run."""
    return _run(SegmentationSession(), _request(volume, contender, device, schedule))


def segment_as_published(volume: Volume, contender: Contender, device: str = "cpu") -> Run:
    """The same by the published form, with the published schedule and its prior."""
    session = SegmentationSession(encode=encode_in_published_form)
    return _run(session, _request(volume, contender, device, "published-prior"))


def run_in_turns(works: dict[str, Callable[[], Run]], repeats: int) -> dict[str, list[Run]]:
    """Every run of every contender, round by round."""
    runs: dict[str, list[Run]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            runs[name].append(work())
    return runs


def _request(volume: Volume, contender: Contender, device: str, schedule: Schedule) -> SegmentRequest:
    return SegmentRequest(
        volume=volume,
        task=contender.task,
        variant=contender.variant,
        weights=contender.path,
        device=device,
        schedule=schedule,
    )


def _run(session: SegmentationSession, request: SegmentRequest) -> Run:
    steps = session.segment(request)
    began_at: float | None = None
    began_cpu = masked_at = masked_cpu = 0.0
    started_at = time.perf_counter()
    while True:
        try:
            event = next(steps)
        except StopIteration as stop:
            result = stop.value
            break
        if isinstance(event, Progress) and event.stage == "encoding" and began_at is None:
            began_at, began_cpu = time.perf_counter(), time.process_time()
        elif isinstance(event, Progress) and event.stage == "measuring":
            masked_at, masked_cpu = time.perf_counter(), time.process_time()
    assert began_at is not None
    times = result.timings
    return Run(
        seconds=masked_at - began_at,
        cpu_s=masked_cpu - began_cpu,
        encoding_s=times.encoding_s - (began_at - started_at),
        first_snapshot_s=times.first_snapshot_s,
        after_encoding_s=times.first_snapshot_s - times.encoding_s,
        locations=result.evaluated_locations,
        labels=result.labels,
    )
