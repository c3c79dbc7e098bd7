"""A child process of the benchmark: one piece of work in a process of its own, for its time and its peak memory.

``python -m napari_ossnet.bench.child JOB RESULT`` reads a job (JSON) and writes what it found (JSON). Memory counts
from when torch is imported and the scan is loaded: what the work adds to that.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from napari_ossnet.bench.scans import load_scan
from napari_ossnet.engine.errors import EngineError
from napari_ossnet.engine.host_memory import host_peak_bytes
from napari_ossnet.engine.volume import Volume


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a child does.

    Attributes:
        work: ``segment`` (a whole session), ``chunk`` (encode and answer one chunk), or a peer.
        scan: File of ``store_scan``.
        task: Name of the task.
        weights: The weights file; empty for peers, whose weights are fresh: the time does not depend on them.
        variant: Of the weights.
        is_published: The published form in place of ours.
        chunk: Locations that are asked for at once.
        parameters: About how many a peer is to have.
    """

    work: str
    scan: str
    task: str
    weights: str = ""
    variant: str = ""
    is_published: bool = False
    chunk: int = 2**14
    parameters: int = 0


def run_child(job: Job) -> dict[str, Any]:
    """Runs a job in a process of its own.

    Raises:
        EngineError: The child failed; the sentence has the end of what it said.
    """
    with tempfile.TemporaryDirectory(prefix="ossnet-bench-") as folder:
        files = [Path(folder) / name for name in ("job.json", "result.json")]
        files[0].write_text(json.dumps(asdict(job)), encoding="utf-8")
        command = [sys.executable, "-m", "napari_ossnet.bench.child", *map(str, files)]
        done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
        if done.returncode != 0 or not files[1].is_file():
            said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise EngineError(f"The benchmark's child process for '{job.work}' failed: {said}")
        result: dict[str, Any] = json.loads(files[1].read_text(encoding="utf-8"))
        return result


def measure(job: Job) -> dict[str, Any]:
    """Does a job in this process: seconds, bytes above the loaded scan, and what else the work says."""
    # Before the work begins: memory counts from when torch is there.
    importlib.import_module("napari_ossnet.engine.fields.build")
    volume = load_scan(Path(job.scan))
    _forget_peak()
    before = _resident_bytes()
    began_at = time.perf_counter()
    found = _WORKS[job.work](job, volume)
    seconds = time.perf_counter() - began_at
    return {"seconds": seconds, "peak_bytes": max(0, host_peak_bytes() - before), "loaded_bytes": before, **found}


def _segment(job: Job, volume: Volume) -> dict[str, Any]:
    from napari_ossnet.bench.end_to_end import segment_as_published, segment_once
    from napari_ossnet.bench.networks import Contender

    contender = Contender(variant=job.variant, task=job.task, path=Path(job.weights), name="", sha256="")
    run = segment_as_published(volume, contender) if job.is_published else segment_once(volume, contender)
    return {"seconds": run.seconds, "locations": run.locations}


def _chunk(job: Job, volume: Volume) -> dict[str, Any]:
    from napari_ossnet.bench.decoder import random_voxels
    from napari_ossnet.bench.published_form import encode_in_published_form
    from napari_ossnet.bench.timing import drain
    from napari_ossnet.engine.encoded_scan import encode_scan
    from napari_ossnet.engine.session import SegmentRequest

    request = SegmentRequest(volume=volume, task=job.task, variant=job.variant, weights=Path(job.weights), device="cpu")
    encode = encode_in_published_form if job.is_published else encode_scan
    encoded = drain(encode(request, None))
    began_at = time.perf_counter()
    encoded.field.query(random_voxels(encoded.prepared, job.chunk))
    return {"chunk_s": time.perf_counter() - began_at}


def _peer(job: Job, volume: Volume) -> dict[str, Any]:
    from napari_ossnet.bench.peers import PEERS
    from napari_ossnet.engine.tasks import get_task, prepare

    prepared = prepare(get_task(job.task), volume)
    network, predict = PEERS[job.work](prepared, job.parameters)
    began_at = time.perf_counter()
    predict()
    # As ours: from the prepared scan to the mask.
    seconds = time.perf_counter() - began_at
    return {"seconds": seconds, "parameters": sum(weight.numel() for weight in network.parameters())}


_WORKS: dict[str, Callable[[Job, Volume], dict[str, Any]]] = {
    "segment": _segment,
    "chunk": _chunk,
    "unet-3d": _peer,
    "monai": _peer,
}


def _forget_peak() -> None:
    """Lets the peak begin anew where the system can (Linux); elsewhere loading the scan may count."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def _resident_bytes() -> int:
    """Resident memory now; where the system does not tell, the peak so far."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        return host_peak_bytes()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    job_file, result_file = (Path(argument) for argument in sys.argv[1:3])
    result_file.write_text(
        json.dumps(measure(Job(**json.loads(job_file.read_text(encoding="utf-8"))))), encoding="utf-8"
    )
