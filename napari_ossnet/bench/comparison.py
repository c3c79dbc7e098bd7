"""One scan, every contender: times in turns, masks against the exhaustive one, and what could not be measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from napari_ossnet.bench.end_to_end import Run, run_in_turns, segment_as_published, segment_once
from napari_ossnet.bench.exhaustive import ExhaustiveMask, cache_path, extend_exhaustive
from napari_ossnet.bench.networks import Contender
from napari_ossnet.bench.scans import BenchScan
from napari_ossnet.bench.timing import drain, pairwise_ratio
from napari_ossnet.engine.catalogue import ossnet_home
from napari_ossnet.engine.encoded_scan import EncodedScan, encode_scan
from napari_ossnet.engine.session import SegmentRequest


def compare_on_scan(
    scan: BenchScan, contenders: dict[str, Contender], device: str, repeats: int, exhaustive_s: float
) -> dict[str, Any]:
    """Rows of one scan, as JSON values: one for each trained network, and ``published`` where there is an OSS-Net C.

    Args:
        scan: The scan.
        contenders: Trained weights by variant, ``c`` and ``x``; either may be missing.
        device: The same for all.
        repeats: Rounds in which all take their turn.
        exhaustive_s: Seconds that may be spent on the exhaustive masks, one after the other.
    """
    works: dict[str, Callable[[], Run]] = {
        name: _ours(scan, contender, device) for name, contender in contenders.items()
    }
    for work in works.values():
        work()  # Not counted: compiles kernels, fills caches.
    if "c" in contenders:
        published = contenders["c"]
        works["published"] = lambda: segment_as_published(scan.volume, published, device)
    runs = run_in_turns(works, repeats)
    masks = {}
    began_at = time.perf_counter()
    for name, contender in contenders.items():
        left_s = max(0.0, exhaustive_s - (time.perf_counter() - began_at))
        masks[name] = exhaustive_mask(scan, contender, device, left_s)
    spent_s = time.perf_counter() - began_at
    if "c" in masks:
        masks["published"] = masks["c"]
    rows = {name: _row(runs[name], masks[name], runs.get("published")) for name in runs}
    if "x" in contenders:
        rows["x"]["published_schedule"] = _published_schedule(scan, contenders["x"], device, masks["x"])
    return {"truth_voxels": scan.truth_voxels, "rows": rows, "exhaustive_s": spent_s}


def exhaustive_mask(scan: BenchScan, contender: Contender, device: str, budget_s: float) -> ExhaustiveMask:
    """The exhaustive mask in the scan's order, as far as it is known after ``budget_s`` seconds."""
    encoded: EncodedScan = drain(encode_scan(_request(scan, contender, device), None))
    path = cache_path(ossnet_home(), contender.sha256, scan.sha256)
    found = extend_exhaustive(encoded.field, encoded.prepared.lattice, path, budget_s)
    return ExhaustiveMask(classes=encoded.prepared.orientation.to_scan(found.classes))


def _published_schedule(scan: BenchScan, x: Contender, device: str, mask: ExhaustiveMask) -> dict[str, Any]:
    """The published schedule with prior on X's own field: how many locations it asks, and how it errs."""
    run = segment_once(scan.volume, x, device, "published-prior")
    return {"locations": run.locations, "voxels_different": mask.share_different(_classes(run.labels))}


def _row(runs: list[Run], mask: ExhaustiveMask, published: list[Run] | None) -> dict[str, Any]:
    seconds = [run.seconds for run in runs]
    return {
        "seconds": median(seconds),
        "cpu_s": median(run.cpu_s for run in runs),
        "encoding_s": median(run.encoding_s for run in runs),
        "first_snapshot_s": median(run.first_snapshot_s for run in runs),
        "after_encoding_s": median(run.after_encoding_s for run in runs),
        "locations": runs[-1].locations,
        "mask_voxels": int(np.count_nonzero(runs[-1].labels)),
        "voxels_different": mask.share_different(_classes(runs[-1].labels)),
        "exhaustive_share": mask.share,
        "ratio": None if published is None else pairwise_ratio([run.seconds for run in published], seconds),
        "cpu_ratio": None
        if published is None
        else pairwise_ratio([run.cpu_s for run in published], [run.cpu_s for run in runs]),
        "repeats": len(runs),
    }


def _classes(labels: np.ndarray) -> np.ndarray:
    """Occupied or not: both networks that are compared are binary, whatever label their class has."""
    return (labels > 0).astype(np.uint8)


def _ours(scan: BenchScan, contender: Contender, device: str) -> Callable[[], Run]:
    return lambda: segment_once(scan.volume, contender, device)


def _request(scan: BenchScan, contender: Contender, device: str) -> SegmentRequest:
    return SegmentRequest(
        volume=scan.volume,
        task=contender.task,
        variant=contender.variant,
        weights=Path(contender.path),
        device=device,
    )
