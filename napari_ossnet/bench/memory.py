"""Peak memory of whole runs and of chunks, each in a child process."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from napari_ossnet.bench.child import Job, run_child
from napari_ossnet.bench.networks import Contender, untrained
from napari_ossnet.bench.plan import MEMORY_CHUNK, Plan
from napari_ossnet.bench.scans import ct_scan, store_scan

Curve = list[dict[str, Any]]


def measure_memory(contender: Contender, scan: Path, plan: Plan) -> dict[str, Any]:
    """Figures as JSON values; ``peak_bytes`` is above the loaded scan, at 2^14 locations a chunk.

    Args:
        contender: Weights of an OSS-Net A to D, trained or not.
        scan: File of ``store_scan``.
        plan: Names the chunk sizes.
    """
    curves: dict[str, Curve] = {}
    for form in ("ours", "published"):
        curves[form] = [
            {"chunk": chunk, **run_child(_job(contender, scan, chunk, is_published=form == "published"))}
            for chunk in plan.chunk_sizes
        ]
    lits: dict[str, Any] | None = None
    if plan.has_lits:
        lits = _lits()
    return {
        "peak_bytes": at_chunk(curves["ours"], MEMORY_CHUNK),
        "published_peak_bytes": at_chunk(curves["published"], MEMORY_CHUNK),
        "chunk": MEMORY_CHUNK,
        "curves": curves,
        "lits": lits,
        "weights": contender.name,
        "is_trained": contender.is_trained,
    }


def at_chunk(curve: Curve, chunk: int) -> int:
    """The peak of the point with this chunk size."""
    return next(int(point["peak_bytes"]) for point in curve if point["chunk"] == chunk)


def measure_run(contender: Contender, scan: Path) -> dict[str, Any]:
    """Seconds and peak of one whole segmentation by our path."""
    return run_child(
        Job(work="segment", scan=str(scan), task=contender.task, weights=str(contender.path), variant=contender.variant)
    )


def _lits() -> dict[str, Any]:
    """Encoding and one chunk on the 512^3 grid of the liver task: 2 GB in all is the aim."""
    with tempfile.TemporaryDirectory(prefix="ossnet-bench-") as folder:
        scan = Path(folder) / "ct.npy"
        store_scan(scan, ct_scan().volume)
        contender = untrained("lits", "c", Path(folder))
        found = run_child(_job(contender, scan, MEMORY_CHUNK, is_published=False))
    return {**found, "total_bytes": found["peak_bytes"] + found["loaded_bytes"]}


def _job(contender: Contender, scan: Path, chunk: int, *, is_published: bool) -> Job:
    return Job(
        work="chunk",
        scan=str(scan),
        task=contender.task,
        weights=str(contender.path),
        variant=contender.variant,
        is_published=is_published,
        chunk=chunk,
    )
