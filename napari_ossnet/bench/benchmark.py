"""The whole benchmark: what is measured in which order, and the JSON document that comes out."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from napari_ossnet.bench.child import Job, run_child
from napari_ossnet.bench.comparison import compare_on_scan
from napari_ossnet.bench.decoder import location_seconds, measure_decoder
from napari_ossnet.bench.encoder import measure_encoder
from napari_ossnet.bench.growth import measure_growth
from napari_ossnet.bench.machine import describe_machine
from napari_ossnet.bench.memory import measure_memory, measure_run
from napari_ossnet.bench.networks import Contender, trained, untrained
from napari_ossnet.bench.peers import TITLES, is_available
from napari_ossnet.bench.plan import Plan
from napari_ossnet.bench.scans import SCANS, BenchScan, store_scan
from napari_ossnet.bench.timing import drain
from napari_ossnet.engine.checkpoints import load_checkpoint
from napari_ossnet.engine.fields.build import build_field
from napari_ossnet.engine.tasks import PreparedVolume, get_task, prepare

TASK = "brats"
#: Parameters of OSS-Net C for the tumour task (spec section 2): what MONAI's network is matched to.
PARAMETERS = 8_695_733

Say = Callable[[str], None]


def run_benchmark(
    plan: Plan,
    say: Say,
    device: str = "cpu",
    weights: str | Path | None = None,
    keep: Callable[[dict[str, Any]], None] = lambda document: None,
) -> dict[str, Any]:
    """Measures everything and returns it as JSON values.

    Args:
        plan: How much.
        say: Gets a line for every part that begins.
        device: Where networks run; memory and peers are measured on the CPU.
        weights: Of an OSS-Net C in place of the best at hand.
        keep: Gets the document after every part, so that a run that is stopped leaves what it has.

    Raises:
        EngineError: A part could not be measured at all.
    """
    began_at = time.perf_counter()
    document: dict[str, Any] = {"machine": describe_machine(device), "is_quick": plan.is_quick}
    with tempfile.TemporaryDirectory(prefix="ossnet-bench-") as folder:
        found = {"c": trained(TASK, "c", weights), "x": trained(TASK, "x")}
        contenders = {name: item for name, item in found.items() if isinstance(item, Contender)}
        missing = {name: item for name, item in found.items() if isinstance(item, str)}
        subject = contenders.get("c") or untrained(TASK, "c", Path(folder))
        say("making the scans")
        scans = [SCANS[name]() for name in plan.scans]
        prepared = prepare(get_task(TASK), scans[0].volume)
        say("encoder and decoder")
        document["encoder"] = measure_encoder(subject, prepared, device, plan.encoder_repeats)
        document["decoder"] = measure_decoder(subject, prepared, device, plan.decoder_locations, plan.decoder_repeats)
        if "x" in contenders:
            document["decoder"]["x_location_us"] = _x_location_us(contenders["x"], prepared, plan)
        keep(document)
        say("growth with resolution")
        location_s = document["decoder"]["location_us"] / 1e6
        document["growth"] = measure_growth(plan.growth_sizes, plan.growth_shapes, location_s)
        keep(document)
        document |= _end_to_end(scans, contenders, missing, plan, say, device, document)
        keep(document)
        stored = Path(folder) / "scan.npy"
        store_scan(stored, scans[0].volume)
        del scans, prepared
        say("memory, in child processes")
        document["memory"] = measure_memory(subject, stored, plan)
        keep(document)
        document["peers"] = _peers(contenders, stored, plan.peers, say)
    document["elapsed_s"] = time.perf_counter() - began_at
    keep(document)
    return document


def _x_location_us(x: Contender, prepared: PreparedVolume, plan: Plan) -> float:
    import torch

    field = drain(build_field(load_checkpoint(x.path).network, prepared, device=torch.device("cpu")))
    return location_seconds(field, prepared, plan.decoder_locations, plan.decoder_repeats) * 1e6


def _end_to_end(
    scans: list[BenchScan],
    contenders: dict[str, Contender],
    missing: dict[str, str],
    plan: Plan,
    say: Say,
    device: str,
    parts: dict[str, Any],
) -> dict[str, Any]:
    """``end_to_end``, ``x`` and ``first_snapshot`` of the document: of every scan, and of the worst one on top."""
    tables = {}
    left_s = plan.exhaustive_s
    for scan in scans if contenders else []:
        say(f"end to end: {scan.name}")
        tables[scan.name] = compare_on_scan(scan, contenders, device, plan.runs, left_s)
        left_s = max(0.0, left_s - tables[scan.name]["exhaustive_s"])
    c = {name: table["rows"].get("c") for name, table in tables.items()}
    x = {name: table["rows"].get("x") for name, table in tables.items()}
    published = {name: table["rows"].get("published") for name, table in tables.items()}
    leading = c if "c" in contenders else x
    snapshots = [row for row in leading.values() if row]
    return {
        "end_to_end": {**worst_of(c.values()), "not_available": missing.get("c"), "scans": c, "published": published},
        "x": {
            **worst_of(x.values()),
            "not_available": missing.get("x"),
            "estimated_ratio": None if "c" in contenders else estimated_ratio(x.values(), parts),
            "estimated_cpu_ratio": None if "c" in contenders else estimated_ratio(x.values(), parts, of_cpu=True),
            "scans": x,
        },
        "first_snapshot": {
            "seconds": max((row["first_snapshot_s"] for row in snapshots), default=None),
            "after_encoding_s": max((row["after_encoding_s"] for row in snapshots), default=None),
            "variant": "c" if "c" in contenders else "x" if "x" in contenders else None,
        },
        "scans": {name: {"truth_voxels": table["truth_voxels"]} for name, table in tables.items()},
    }


def worst_of(rows: Iterable[dict[str, Any] | None]) -> dict[str, Any]:
    """For each figure that is a target, the worst of the scans; None where none has it."""
    there = [row for row in rows if row]

    def values(key: str) -> list[Any]:
        return [row[key] for row in there if row[key] is not None]

    return {
        "ratio": min(values("ratio"), default=None),
        "seconds": max(values("seconds"), default=None),
        "locations": max(values("locations"), default=None),
        "voxels_different": max(values("voxels_different"), default=None),
        "exhaustive_share": min(values("exhaustive_share"), default=None),
        "repeats": min(values("repeats"), default=None),
    }


def estimated_ratio(
    rows: Iterable[dict[str, Any] | None], parts: dict[str, Any], *, of_cpu: bool = False
) -> float | None:
    """What the published form would take against X where no trained OSS-Net C is at hand; the smallest of the scans.

    Its encoder and its decoder are timed in the same run with untrained weights (the cost is the same); the locations
    are those that the published schedule asks of X's field. With ``of_cpu`` the seconds of all cores are compared.
    """
    encoder_s = parts["encoder"]["published_cpu_s" if of_cpu else "published_seconds"]
    location_us = parts["decoder"]["published_location_cpu_us" if of_cpu else "published_location_us"]
    ratios = []
    for row in rows:
        if row:
            decoding_s = row["published_schedule"]["locations"] * location_us / 1e6
            ratios.append((encoder_s + decoding_s) / row["cpu_s" if of_cpu else "seconds"])
    return min(ratios, default=None)


def _peers(contenders: dict[str, Contender], scan: Path, names: tuple[str, ...], say: Say) -> list[dict[str, Any]]:
    """Ours first, then the peers: seconds from the prepared scan to the mask, peak memory above the loaded scan."""
    rows = []
    for variant, contender in contenders.items():
        say(f"side by side: OSS-Net {variant.upper()}")
        found = measure_run(contender, scan)
        rows.append({"name": f"OSS-Net {variant.upper()} (ours)", **_figures(found)})
    for name in names:
        if not is_available(name):
            rows.append({"name": TITLES[name], "seconds": None, "peak_bytes": None, "note": f"{name} is not installed"})
            continue
        say(f"side by side: {TITLES[name]}")
        found = run_child(Job(work=name, scan=str(scan), task=TASK, parameters=PARAMETERS))
        rows.append({"name": TITLES[name], **_figures(found), "parameters": found["parameters"]})
    return rows


def _figures(found: dict[str, Any]) -> dict[str, Any]:
    return {"seconds": found["seconds"], "peak_bytes": found["peak_bytes"]}
