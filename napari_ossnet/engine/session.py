"""The front ends' door: a request goes in, events come out, a segmentation is returned; what is dear is kept."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.events import Event, Message, Progress
from napari_ossnet.engine.results.segmentation import RegionOfScan, Segmentation
from napari_ossnet.engine.torch_errors import as_engine_errors
from napari_ossnet.engine.volume import Volume

if TYPE_CHECKING:
    import numpy as np

    from napari_ossnet.engine.encoded_scan import EncodedScan, NetworkInUse
    from napari_ossnet.engine.refining.known_points import KnownPoints
    from napari_ossnet.engine.results.numbers import ThresholdUncertainty
    from napari_ossnet.engine.surfaces.surface import Mesh

Schedule = Literal["octree", "published", "published-prior"]
DEFAULT_SCHEDULE: Schedule = "octree"
Triple = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentRequest:
    """What to segment, with what, and how."""

    volume: Volume
    #: Name of the task, e.g. ``brats``.
    task: str
    #: ``a`` ... ``d``, ``o-net``, ``x`` ...; None takes the task's default.
    variant: str | None = None
    #: Name in the catalogue or a file; None takes the best that is at hand.
    weights: str | Path | None = None
    #: ``auto``, ``cpu``, ``cuda``, ``cuda:n`` or ``mps``.
    device: str = "auto"
    #: Budget for the work above the loaded scan; None takes half of what is free.
    memory_bytes: int | None = None
    #: The finest step that is evaluated, in scan voxels: 1, 2, 4, 8 or 16.
    step: int = 1
    schedule: Schedule = DEFAULT_SCHEDULE
    #: Probability at which a location counts as occupied, between 0 and 1, exclusive.
    threshold: float = 0.5
    #: Ask the scan's mirror image too and take the mean of both answers, at twice the cost; see ``fields/mirrored.py``.
    mirrored: bool = False
    #: What there is to say about the scan already, e.g. by ``load_scan``; it goes into the report with the run's own.
    messages: tuple[str, ...] = ()

    def is_same_but_for_threshold(self, other: SegmentRequest) -> bool:
        """Whether the other asks for the same scan, network and options."""
        return self.volume is other.volume and replace(self, volume=other.volume, threshold=other.threshold) == other


Encode = Callable[["SegmentRequest", "NetworkInUse | None"], "Generator[Event, None, EncodedScan]"]


def _encode(request: SegmentRequest, earlier: NetworkInUse | None) -> Generator[Event, None, EncodedScan]:
    # Imported here, because it imports torch: front ends open without it.
    from napari_ossnet.engine.encoded_scan import encode_scan

    return (yield from encode_scan(request, earlier))


class SegmentationSession:
    """Segments scans one at a time and keeps the network, the encoded scan and every evaluated point for the next call.

    Every method that works is a generator of events; its return value is the result. Closing a generator cancels it:
    the last snapshot stays valid, what was evaluated is kept. Errors are ``EngineError`` only.
    """

    def __init__(self, *, encode: Encode = _encode) -> None:
        self._encode = encode
        self._encoded: EncodedScan | None = None
        self._request: SegmentRequest | None = None
        self._known: KnownPoints | None = None
        #: Points on finer voxels: by the factor where it is whole, so that boxes share them; else by the region.
        self._finer: dict[float | RegionOfScan, KnownPoints] = {}
        self._result: Segmentation | None = None
        self._generation = 0

    @property
    def generation(self) -> int:
        """Another number for every scan, network or option but the threshold.

        Results of the number at hand share one field and its points: their threshold can be moved, a region of them
        refined, their surface drawn. Those of an earlier number can only be kept.
        """
        return self._generation

    @property
    def result(self) -> Segmentation | None:
        """The last finished segmentation of the whole scan."""
        return self._result

    def segment(self, request: SegmentRequest) -> Generator[Event, None, Segmentation]:
        """Segments a scan, coarse to fine.

        Raises:
            EngineError: The scan, the weights or the device can't be used; the sentence says why.
        """
        return (yield from as_engine_errors(self._segment(request)))

    def rethreshold(self, threshold: float) -> Generator[Event, None, Segmentation]:
        """Segments the same scan at another threshold, asking only for points that are not known yet.

        The traversal is that of a fresh run with known values looked up, so the mask is the fresh run's.

        Raises:
            InputError: Nothing was segmented yet, or the threshold is not between 0 and 1.
        """
        if self._request is None:
            raise InputError("There is no segmentation whose threshold could be moved yet; segment a scan first.")
        return (yield from self.segment(replace(self._request, threshold=threshold)))

    def refine_region(self, start: Triple, stop: Triple, factor: float) -> Generator[Event, None, Segmentation]:
        """Segments a box of the last scan on voxels ``factor`` times finer.

        Args:
            start: First scan voxel of the box.
            stop: The voxel after its last one.
            factor: How many times smaller the voxels are, 1 or more.

        Raises:
            InputError: Nothing was segmented yet, or the box is empty or leaves the scan.
        """
        return (yield from as_engine_errors(self._refine_region(start, stop, factor)))

    def surface(self, result: Segmentation, label: int | None = None) -> Generator[Event, None, Mesh]:
        """The surface of a result of this session, its vertices moved onto the field's own level set.

        Args:
            result: What ``segment``, ``rethreshold`` or ``refine_region`` returned for the scan at hand.
            label: A label of the task's classes; None takes all of them together.

        Raises:
            InputError: Nothing was segmented yet, or there is no such label.
        """
        return (yield from as_engine_errors(self._surface(result, label)))

    def uncertainty(
        self, lower: float = 0.4, higher: float = 0.6, result: Segmentation | None = None
    ) -> Generator[Event, None, ThresholdUncertainty]:
        """Measures the last scan at a lower and a higher threshold as well; the result at hand stays as it is.

        No snapshots come, for there is nothing to be shown.

        Args:
            lower: Between 0 and 1.
            higher: The same.
            result: A refined region is measured where this is one; None stands for the whole scan.

        Raises:
            InputError: Nothing was segmented yet, or a threshold is not between 0 and 1.
        """
        region = None if result is None else result.region
        return (yield from as_engine_errors(self._uncertainty(lower, higher, region)))

    def probability_map(self, result: Segmentation) -> np.ndarray:
        """The probability of each foreground class at every voxel of a result, float32 (classes, i, j, k).

        Exact at every voxel that was asked for, which are those next to the surface at any threshold tried so far;
        elsewhere it is interpolated from coarser steps.

        Args:
            result: The last one of the whole scan, or of a refined region of it.

        Raises:
            InputError: The points of that result are not at hand any more.
        """
        from napari_ossnet.engine.files.probability_map import scan_probabilities
        from napari_ossnet.engine.scans.scan_frame import region_lattice

        known = self._known
        if result.region is not None:
            known = None if self._encoded is None else self._known_in(self._encoded, result.region)
        if known is not None:
            known.merge()
        if self._encoded is None or not known:
            raise InputError("The points of this result are not at hand any more; segment the scan or region again.")
        lattice = self._encoded.prepared.lattice
        if result.region is not None:
            lattice = region_lattice(lattice, self._encoded.prepared.orientation, result.region)
        return scan_probabilities(self._encoded, lattice, known, first_step=int(max(1, result.snapshot.step)))

    @property
    def has_super_resolved_image(self) -> bool:
        """Whether the last scan's network restores an image beside its mask, as PFSeg does."""
        return self._encoded is not None and self._encoded.image_field is not None

    def super_resolved_image(self) -> Generator[Event, None, Volume]:
        """The image that PFSeg restores beside its mask, on finer voxels than it was given; named for what it is.

        It is made by a network, from half of the scan's resolution and a crop: to be looked at, not to be measured.

        Raises:
            InputError: Nothing was segmented yet, or by a network that restores no image.
        """
        return (yield from as_engine_errors(self._super_resolved_image()))

    def release(self) -> None:
        """Forgets network, field and points, and gives their memory back."""
        from napari_ossnet.engine.device import release_memory

        self._generation += 1
        self._encoded = self._request = self._known = self._result = None
        self._finer = {}
        release_memory()

    def _super_resolved_image(self) -> Generator[Event, None, Volume]:
        field = None if self._encoded is None else self._encoded.image_field
        if self._encoded is None or field is None:
            raise InputError("Only PFSeg restores an image; segment the scan with weights of the variant pfseg first.")
        return (yield from field.super_resolved(self._encoded.prepared))

    def _segment(self, request: SegmentRequest) -> Generator[Event, None, Segmentation]:
        from napari_ossnet.engine.refining.known_points import KnownPoints
        from napari_ossnet.engine.scan_run import ScanRun, check_request

        check_request(request)
        run = ScanRun()
        if self._request is None or not self._request.is_same_but_for_threshold(request):
            self._generation += 1
        if self._encoded is None or not self._encoded.serves(request):
            # The old field goes before the new one is built: two need not fit at once.
            network = None if self._encoded is None else self._encoded.network
            self._known = self._result = self._encoded = None
            self._finer = {}
            self._encoded = yield from self._encode(request, network)
        encoded = self._encoded
        if self._known is None:
            self._known = KnownPoints()
        run.note_encoded()
        if self._result is None:
            # Points of a run that is cancelled are still of use to a region. A result keeps the request it was made by.
            self._request = request
        self._result = yield from run.whole_scan(encoded, request, self._known)
        self._request = request
        return self._result

    def _refine_region(self, start: Triple, stop: Triple, factor: float) -> Generator[Event, None, Segmentation]:
        if self._encoded is None or self._request is None:
            raise InputError("There is no segmentation of which a region could be refined yet; segment a scan first.")
        if factor > 1:
            yield Message(text="The region is interpolated beyond the scan's resolution.")
        region = RegionOfScan(start=start, stop=stop, factor=factor)
        return (yield from self._again(self._encoded, self._request, region))

    def _surface(self, result: Segmentation, label: int | None) -> Generator[Event, None, Mesh]:
        from napari_ossnet.engine.surfaces.exact_surface import exact_surface

        if self._encoded is None or self._request is None:
            raise InputError("There is no segmentation whose surface could be drawn yet; segment a scan first.")
        return (yield from exact_surface(self._encoded, result.snapshot, label, self._request.memory_bytes))

    def _uncertainty(
        self, lower: float, higher: float, region: RegionOfScan | None
    ) -> Generator[Event, None, ThresholdUncertainty]:
        from napari_ossnet.engine.results.numbers import ThresholdUncertainty

        if self._encoded is None or self._request is None:
            raise InputError("There is no segmentation that could be measured yet; segment a scan first.")
        found = []
        for threshold in (lower, higher):
            steps = self._again(self._encoded, replace(self._request, threshold=threshold), region)
            found.append((yield from _quietly(steps)).measurements)
        return ThresholdUncertainty(
            lower_threshold=lower, higher_threshold=higher, at_lower=found[0], at_higher=found[1]
        )

    def _again(
        self, encoded: EncodedScan, request: SegmentRequest, region: RegionOfScan | None
    ) -> Generator[Event, None, Segmentation]:
        """Segments the encoded scan, or a region of it, on top of what is known; the result at hand stays."""
        from napari_ossnet.engine.refining.known_points import KnownPoints
        from napari_ossnet.engine.scan_run import ScanRun, check_request

        check_request(request)
        run = ScanRun()
        run.note_encoded()
        if region is None:
            self._known = KnownPoints() if self._known is None else self._known
            return (yield from run.whole_scan(encoded, request, self._known))
        return (yield from run.region(encoded, request, region, self._known_in(encoded, region), self._result))

    def _known_in(self, encoded: EncodedScan, region: RegionOfScan) -> KnownPoints:
        """What is known of a region, from whichever region of the same factor; taken over by what is found in it."""
        from napari_ossnet.engine.refining.known_points import KnownPoints
        from napari_ossnet.engine.refining.known_window import KnownWindow
        from napari_ossnet.engine.scans.scan_frame import box_in_task_order

        if not float(region.factor).is_integer():
            if region not in self._finer:
                self._finer = {key: known for key, known in self._finer.items() if not isinstance(key, RegionOfScan)}
                self._finer[region] = KnownPoints()
            return self._finer[region]
        factor = int(region.factor)
        whole = self._finer.setdefault(float(factor), KnownPoints())
        start, stop = box_in_task_order(encoded.prepared.orientation, region.start, region.stop)
        lengths = (last - first for first, last in zip(start, stop, strict=True))
        return KnownWindow(
            whole,
            whole_shape=_times(factor, encoded.prepared.lattice.shape),
            first=_times(factor, start),
            shape=_times(factor, lengths),
        )


def _times(factor: int, lengths: Iterable[int]) -> Triple:
    i, j, k = (factor * length for length in lengths)
    return i, j, k


def _quietly(steps: Generator[Event, None, Segmentation]) -> Generator[Event, None, Segmentation]:
    """Progress only: snapshots and messages would be those of another mask than the user's."""
    while True:
        try:
            event = next(steps)
        except StopIteration as stop:
            return stop.value
        if isinstance(event, Progress):
            yield event
