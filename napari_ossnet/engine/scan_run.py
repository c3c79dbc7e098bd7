"""Owns one run over an encoded scan: from the refinement's snapshots to the segmentation that is returned."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import torch

import napari_ossnet
from napari_ossnet.engine.device import chunk_size_for, format_bytes, peak_memory_bytes
from napari_ossnet.engine.encoded_scan import EncodedScan
from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.events import Event, Message, Progress, Snapshot
from napari_ossnet.engine.geometry import Lattice, spacing_of
from napari_ossnet.engine.host_memory import host_memory_bytes
from napari_ossnet.engine.refining.decision import Decision
from napari_ossnet.engine.refining.known_points import KnownPoints
from napari_ossnet.engine.refining.lattice_snapshot import LatticeSnapshot
from napari_ossnet.engine.refining.octree_hints import Seeds
from napari_ossnet.engine.refining.refinement import Refined, check_schedule, refine
from napari_ossnet.engine.results.measurement import Measurement, measure
from napari_ossnet.engine.results.segmentation import Provenance, RegionOfScan, Segmentation, SnapshotRecord, Timings
from napari_ossnet.engine.scans.scan_frame import ScanFrame, box_in_task_order, cropped, region_affine
from napari_ossnet.engine.session import SegmentRequest
from napari_ossnet.engine.shapes import LabelMap

NOTHING_FOUND = (
    "Nothing was found: the mask is empty; check that the task and the modalities fit the scan, or lower the threshold."
)


def check_request(request: SegmentRequest) -> None:
    """Refuses at once what would only be noticed after the encoding.

    Raises:
        InputError: The threshold is not between 0 and 1, or the schedule has no such step.
    """
    Decision(request.threshold)
    check_schedule(request.schedule, request.step)


def check_lattice(lattice: Lattice) -> None:
    """Refuses a box whose mask alone the machine can't hold: a byte a voxel, and one for what is known of it.

    Raises:
        InputError: There is no room for it.
    """
    needed, free = 2 * math.prod(lattice.shape), host_memory_bytes()[0]
    if free is not None and needed > free:
        size = " x ".join(map(str, lattice.shape))
        raise InputError(
            f"A box of {size} finer voxels takes {format_bytes(needed)} for its mask and only {format_bytes(free)} are "
            "free; choose a smaller box or factor."
        )


@dataclass(kw_only=True)
class ScanRun:
    """The clock and the notes of one run."""

    started_at: float = field(default_factory=time.perf_counter)
    encoding_s: float = 0.0
    records: list[SnapshotRecord] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the run began."""
        return time.perf_counter() - self.started_at

    def note_encoded(self) -> None:
        """Notes that the field stands."""
        self.encoding_s = self.elapsed_s

    def whole_scan(
        self, encoded: EncodedScan, request: SegmentRequest, known: KnownPoints
    ) -> Generator[Event, None, Segmentation]:
        """Segments the scan's own voxels."""
        lattice = encoded.prepared.lattice
        labels, snapshot = yield from self._labels(encoded, request, lattice, known, None)
        return (yield from self._finish(encoded, request, labels, snapshot, None))

    def region(
        self,
        encoded: EncodedScan,
        request: SegmentRequest,
        region: RegionOfScan,
        known: KnownPoints,
        coarser: Segmentation | None,
    ) -> Generator[Event, None, Segmentation]:
        """Segments a box of the scan on finer voxels, led by the boundary of the mask that is there already."""
        start, stop = box_in_task_order(encoded.prepared.orientation, region.start, region.stop)
        lattice = encoded.prepared.lattice.region(start, stop, region.factor)
        check_lattice(lattice)
        seeds = boundary_seeds(encoded, coarser, lattice, start, stop)
        request = replace(request, schedule="octree", step=1)
        labels, snapshot = yield from self._labels(encoded, request, lattice, known, seeds)
        return (yield from self._finish(encoded, request, labels, snapshot, region))

    def _labels(
        self,
        encoded: EncodedScan,
        request: SegmentRequest,
        lattice: Lattice,
        known: KnownPoints,
        seeds: np.ndarray | None,
    ) -> Generator[Event, None, tuple[LabelMap, Snapshot]]:
        """The mask of a lattice in the scan's axis order; what the network's grid does not cover is background.

        Raises:
            InputError: The grid covers nothing of the lattice.
        """
        start, stop = encoded.prepared.covered_box(lattice)
        if any(first >= last for first, last in zip(start, stop, strict=True)):
            raise InputError("The network sees nothing of this box of the scan; choose one nearer the middle.")
        covered = cropped(lattice, start, stop)
        known = known.cropped(start, covered.shape)
        found = None
        if seeds is not None:
            points = torch.as_tensor(seeds - np.array(start), dtype=torch.float32, device=encoded.device)
            found = Seeds(points=points, step=max(lattice_step_of_scan(encoded, lattice)))
        refined, snapshot = yield from self._refine(encoded, request, covered, known, found)
        if covered.shape == lattice.shape and refined.snapshot.steps == (1, 1, 1):
            # The last snapshot is the mask already; a copy would be the largest thing in memory.
            return snapshot.labels, snapshot
        classes = refined.labels.cpu().numpy()
        if covered.shape != lattice.shape:
            found_classes, classes = classes, np.zeros(lattice.shape, dtype=np.uint8)
            classes[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = found_classes
        return _frame(encoded, lattice).labels(classes), snapshot

    def _refine(
        self,
        encoded: EncodedScan,
        request: SegmentRequest,
        lattice: Lattice,
        known: KnownPoints,
        seeds: Seeds | None,
    ) -> Generator[Event, None, tuple[Refined, Snapshot]]:
        frame = _frame(encoded, lattice)
        steps = refine(
            encoded.field,
            lattice,
            schedule=request.schedule,
            threshold=request.threshold,
            final_step=request.step,
            chunk_size=chunk_size_for(request.memory_bytes, encoded.field),
            known=known,
            seeds=seeds,
        )
        snapshot: Snapshot | None = None
        while True:
            try:
                event = next(steps)
            except StopIteration as stop:
                assert snapshot is not None
                return stop.value, snapshot
            if isinstance(event, LatticeSnapshot):
                snapshot = frame.snapshot(event, self.elapsed_s)
                self._note(snapshot)
                yield snapshot
            else:
                if isinstance(event, Message):
                    self.messages.append(event.text)
                yield event

    def _while_measuring(
        self, steps: Generator[None, None, tuple[Measurement, ...]]
    ) -> Generator[Event, None, tuple[Measurement, ...]]:
        while True:
            try:
                next(steps)
            except StopIteration as stop:
                return stop.value
            yield Progress(stage="measuring", elapsed_s=self.elapsed_s)

    def _note(self, snapshot: Snapshot) -> None:
        self.records.append(
            SnapshotRecord(
                step=snapshot.step,
                evaluated_locations=snapshot.evaluated_locations,
                elapsed_s=snapshot.elapsed_s,
            )
        )

    def _finish(
        self,
        encoded: EncodedScan,
        request: SegmentRequest,
        labels: LabelMap,
        snapshot: Snapshot,
        region: RegionOfScan | None,
    ) -> Generator[Event, None, Segmentation]:
        yield Progress(stage="measuring", elapsed_s=self.elapsed_s)
        volume, task = encoded.prepared.volume, encoded.prepared.task
        affine = volume.affine if region is None else region_affine(volume.affine, region, labels.shape)
        if not labels.any():
            self.messages.append(NOTHING_FOUND)
            yield Message(text=NOTHING_FOUND, level="warning")
        measurements = yield from self._while_measuring(measure(labels, affine, task, snapshot))
        return Segmentation(
            labels=labels,
            affine=affine,
            affine_codes=volume.affine_codes,
            task=task,
            threshold=request.threshold,
            snapshot=snapshot,
            measurements=measurements,
            provenance=_provenance(encoded, request),
            snapshots=tuple(self.records),
            evaluated_locations=snapshot.evaluated_locations,
            timings=Timings(
                encoding_s=self.encoding_s,
                first_snapshot_s=self.records[0].elapsed_s,
                elapsed_s=self.elapsed_s,
            ),
            peak_memory_bytes=peak_memory_bytes(encoded.device),
            region=region,
            messages=(*request.messages, *encoded.warnings, *self.messages),
        )


def _frame(encoded: EncodedScan, lattice: Lattice) -> ScanFrame:
    prepared = encoded.prepared
    return ScanFrame(volume=prepared.volume, orientation=prepared.orientation, lattice=lattice, task=prepared.task)


def boundary_seeds(
    encoded: EncodedScan,
    coarser: Segmentation | None,
    lattice: Lattice,
    start: tuple[int, int, int],
    stop: tuple[int, int, int],
) -> np.ndarray:
    """Where the mask at hand has its boundary in the box (in task order), as locations (n, 3) of the finer lattice."""
    if coarser is None:
        return np.empty((0, 3))
    labels: LabelMap = encoded.prepared.orientation.to_task(coarser.labels)
    box = labels[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))]
    is_boundary = np.zeros(box.shape, dtype=bool)
    for axis in range(3):
        differs = np.diff(box.astype(np.int16), axis=axis) != 0
        for shift in (0, 1):
            inside = [slice(None)] * 3
            inside[axis] = slice(shift, shift + differs.shape[axis])
            is_boundary[tuple(inside)] |= differs
    scale = np.array(lattice.shape) / np.array(box.shape)
    # Cell-centred, as Lattice.region: the centre of box voxel v is at fine location (v + 1/2) * scale - 1/2.
    return (np.argwhere(is_boundary) + 0.5) * scale - 0.5


def lattice_step_of_scan(encoded: EncodedScan, lattice: Lattice) -> tuple[float, float, float]:
    """How many lattice points one scan voxel is, along each axis of the lattice."""
    fine, coarse = spacing_of(lattice.affine), spacing_of(encoded.prepared.lattice.affine)
    i, j, k = (large / small for large, small in zip(coarse, fine, strict=True))
    return i, j, k


def _provenance(encoded: EncodedScan, request: SegmentRequest) -> Provenance:
    return Provenance(
        weights=encoded.card.name,
        sha256=encoded.sha256,
        task=encoded.card.task.name,
        variant=encoded.card.variant,
        device=str(encoded.device),
        schedule=request.schedule,
        versions=versions(),
        citation=encoded.card.citation,
        mirrored=request.mirrored,
    )


def versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    found = {"napari_ossnet": napari_ossnet.__version__, "python": platform.python_version()}
    for name in ("torch", "numpy", "scikit-image", "nibabel"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found
