"""Owns the result of a run: the mask in the scan's own grid, what is known near its surface, where it is from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ossnet.engine.events import Snapshot
from napari_ossnet.engine.results.measurement import Measurement
from napari_ossnet.engine.shapes import Affine, LabelMap

if TYPE_CHECKING:
    from napari_ossnet.engine.tasks import Task

#: Printed wherever a result leaves the program.
RESEARCH_NOTICE = "For research use only; not a medical device and not for clinical decisions."


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What made a mask, so that it can be made again."""

    weights: str
    #: Of the weights file, hexadecimal.
    sha256: str
    task: str
    variant: str
    #: As torch spells it, e.g. ``cuda:0``.
    device: str
    schedule: str
    #: Package name to version, Python's own included.
    versions: dict[str, str]
    citation: str = ""
    #: Whether the scan's mirror image was asked too.
    mirrored: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotRecord:
    """When a step was finished and what it had cost by then."""

    step: float
    evaluated_locations: int
    #: Since the run began, encoding included.
    elapsed_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionOfScan:
    """The box of scan voxels that a refined result covers, half-open, and how much finer its voxels are."""

    start: tuple[int, int, int]
    stop: tuple[int, int, int]
    factor: float

    @property
    def box_text(self) -> str:
        """The scan voxels as the command line takes them, e.g. ``40:72,50:82,30:62``."""
        return ",".join(f"{first}:{last}" for first, last in zip(self.start, self.stop, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Durations of one run in seconds, each since the run began, except ``encoding_s``."""

    #: What reading the weights, preparing and encoding took; 0 where all of it was known already.
    encoding_s: float
    first_snapshot_s: float
    elapsed_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Segmentation:
    """A finished mask and everything that is asked about it.

    ``labels`` holds the labels of the task's classes, 0 is background; its axes are those of the scan, and voxel (a)
    lies at world position ``affine @ (a, 1)``. For a refined region they are finer and cover only ``region``.
    """

    labels: LabelMap
    affine: Affine
    #: The scan's qform and sform codes, which the mask's file keeps.
    affine_codes: tuple[int, int]
    task: Task
    threshold: float
    #: The last step's samples; it covers what the network's grid covers of the scan, outside is background.
    snapshot: Snapshot
    #: The whole object first, then each class of the task where it has several.
    measurements: tuple[Measurement, ...]
    provenance: Provenance
    snapshots: tuple[SnapshotRecord, ...]
    evaluated_locations: int
    timings: Timings
    peak_memory_bytes: int
    region: RegionOfScan | None = None
    #: Sentences that the user was told during the run.
    messages: tuple[str, ...] = ()

    @property
    def band_samples(self) -> np.ndarray:
        """Evaluated samples next to the surface, indices (n, 3) into ``snapshot.labels``."""
        return self.snapshot.band_samples

    @property
    def band_logits(self) -> np.ndarray:
        """Their logits, float32 (n, classes)."""
        return self.snapshot.band_logits

    @property
    def is_empty(self) -> bool:
        """Whether nothing was found."""
        return not self.labels.any()

    @property
    def whole(self) -> Measurement:
        """The measurement of all classes together."""
        return self.measurements[0]

    def slice_of_scan(self, axis: int, index: int) -> int:
        """The scan's slice that a slice of the mask lies in; the voxels of a refined region are finer and fewer."""
        if self.region is None:
            return index
        first, last = self.region.start[axis], self.region.stop[axis]
        return first + int((index + 0.5) * (last - first) / self.labels.shape[axis])

    def report(self) -> dict[str, Any]:
        """The report as plain JSON values: numbers of the whole object at the top, each class under ``classes``."""
        return {
            **self.whole.as_dict(),
            "classes": [measurement.as_dict() for measurement in self.measurements[1:]],
            "evaluated_locations": self.evaluated_locations,
            "encoding_s": round(self.timings.encoding_s, 4),
            "first_snapshot_s": round(self.timings.first_snapshot_s, 4),
            "elapsed_s": round(self.timings.elapsed_s, 4),
            "peak_memory_bytes": self.peak_memory_bytes,
            "device": self.provenance.device,
            "threshold": self.threshold,
            "schedule": self.provenance.schedule,
            "mirrored": self.provenance.mirrored,
            "weights": {
                "name": self.provenance.weights,
                "sha256": self.provenance.sha256,
                "task": self.provenance.task,
                "variant": self.provenance.variant,
            },
            "versions": dict(self.provenance.versions),
            "snapshots": [
                {
                    "step": record.step,
                    "evaluated_locations": record.evaluated_locations,
                    "elapsed_s": round(record.elapsed_s, 4),
                }
                for record in self.snapshots
            ],
            "shape": list(self.labels.shape),
            "affine": self.affine.tolist(),
            "region": self._region_as_dict(),
            "messages": list(self.messages),
            "citation": self.provenance.citation,
            "notice": RESEARCH_NOTICE,
        }

    def _region_as_dict(self) -> dict[str, Any] | None:
        if self.region is None:
            return None
        return {
            "start": list(self.region.start),
            "stop": list(self.region.stop),
            "factor": self.region.factor,
            "note": "interpolated beyond the scan's resolution" if self.region.factor > 1 else "part of the scan",
        }
