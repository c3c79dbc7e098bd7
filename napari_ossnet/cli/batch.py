"""``ossnet segment --batch IN OUT``: a cohort, one case after the other, restartable, shared among processes.

Every case leaves ``OUT/<case>.nii.gz`` and, written after it, ``OUT/<case>.json``; a case with both is finished and is
skipped when the command is run again. A case that fails leaves ``OUT/<case>.error.json`` and doesn't stop the others.
Under torchrun each process takes the cases of its rank; ``OUT/results.csv`` is put together from the files of all.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from napari_ossnet.cli.case import Network, ResultFiles, RunOptions, run_case, write_report, write_results
from napari_ossnet.cli.reporters import Reporter
from napari_ossnet.engine.assignment import guess_modality
from napari_ossnet.engine.atomic import atomic_path
from napari_ossnet.engine.errors import EngineError, InputError
from napari_ossnet.engine.session import SegmentationSession
from napari_ossnet.engine.tasks import Task
from napari_ossnet.engine.volume import READABLE_SUFFIXES, stem_of

COLUMNS = (
    "case", "status", "volume_ml", "surface_area_cm2", "max_diameter_mm", "evaluated_locations", "first_snapshot_s",
    "elapsed_s", "peak_memory_bytes", "device", "weights", "weights_sha256", "error",
)  # fmt: skip
_ERROR_SUFFIX = ".error.json"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCase:
    """One case of a cohort: its name and its images."""

    name: str
    images: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What is done with a cohort, and where its results go."""

    session: SegmentationSession
    network: Network
    #: Holds a folder a case, or a file a case.
    source: Path
    #: Gets masks, reports and the table.
    target: Path
    options: RunOptions
    reporter: Reporter

    def run(self) -> int:
        """Segments the cases that this process is to do, and returns 1 where some of them failed.

        Raises:
            InputError: There is no case in the folder.
            OutputError: The target can't be written.
        """
        if self.target.resolve() == self.source.resolve():
            raise InputError(f"--batch needs two folders, got {self.source} twice; masks would become cases.")
        rank, count = _rank()
        mine = find_cases(self.network.task, self.source)[rank::count]
        options = replace(self.options, device=_device_of_rank(self.options.device))
        failed = 0
        for position, case in enumerate(mine, start=1):
            place = f"[{position}/{len(mine)}] {case.name}"
            if self._is_finished(case.name):
                self.reporter.fact("skipped", f"{place}: finished before", case=case.name)
                continue
            self.reporter.fact("case", place, case=case.name, rank=rank)
            failed += not self._run_case(case, options)
            write_table(self.target)
        write_table(self.target)
        table, done = self.target / "results.csv", len(mine) - failed
        text = f"{done} of {len(mine)} cases are done, {failed} failed; table: {table}"
        self.reporter.fact("batch", text, done=done, failed=failed, table=str(table))
        return int(failed > 0)

    def _run_case(self, case: BatchCase, options: RunOptions) -> bool:
        """Whether the case went well; if not, its sentence is kept beside where its mask would be."""
        failure = self.target / (case.name + _ERROR_SUFFIX)
        try:
            result = run_case(self.session, self.network, case.images, options, self.reporter)
        except EngineError as error:
            self.reporter.fact("failed", f"{case.name} failed: {error}", case=case.name, error=str(error))
            with atomic_path(failure) as temporary:
                temporary.write_text(json.dumps({"error": str(error)}) + "\n")
            return False
        write_results(result, ResultFiles(mask=self._mask(case.name)), self.reporter)
        # The report comes last: it is what marks the case as finished.
        write_report(self._report(case.name), result)
        failure.unlink(missing_ok=True)
        return True

    def _is_finished(self, name: str) -> bool:
        return self._mask(name).is_file() and self._report(name).is_file()

    def _mask(self, name: str) -> Path:
        return self.target / f"{name}.nii.gz"

    def _report(self, name: str) -> Path:
        return self.target / f"{name}.json"


def find_cases(task: Task, source: Path) -> list[BatchCase]:
    """The cases in a folder, by name: each subfolder with images, else each image.

    In a subfolder, images that speak of no modality of the task (a label, a mask) are left out where others do.

    Raises:
        InputError: There is no such folder, or no case in it.
    """
    if not source.is_dir():
        raise InputError(f"There is no folder {source}; --batch needs a folder with a folder or a file a case.")
    folders = sorted(entry for entry in source.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    cases = [case for folder in folders if (case := _case_of_folder(task, folder)) is not None]
    cases = cases or [BatchCase(name=stem_of(path), images=(str(path),)) for path in _images_in(source)]
    if not cases:
        raise InputError(f"There is no case in {source}; expected a folder or an image file a case.")
    names = [case.name for case in cases]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise InputError(f"Several images in {source} have the name {doubled[0]}; their masks would be one file.")
    return cases


def write_table(target: Path) -> None:
    """Writes ``results.csv`` from the reports of all cases that have one.

    Several processes write it. A report that another process adds while the table is written would be lost if that
    process had written its table before, so the reports are listed again afterwards: whoever writes last has all.

    Raises:
        OutputError: The table can't be written.
    """
    listed: list[Path] | None = None
    while (found := _report_files(target)) != listed:
        listed = found
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(row for path in found if (row := _row(path)) is not None)
        with atomic_path(target / "results.csv") as temporary:
            temporary.write_text(text.getvalue())


def _case_of_folder(task: Task, folder: Path) -> BatchCase | None:
    images = _images_in(folder)
    if not images:
        # A folder of DICOM slices is itself the image.
        has_files = any(entry.is_file() for entry in folder.iterdir())
        return BatchCase(name=folder.name, images=(str(folder),)) if has_files else None
    telling = [path for path in images if guess_modality(task, path.name) is not None]
    chosen = telling if len(telling) >= task.channels else images
    for path in set(images) - set(chosen):
        _log.info("%s: %s is no image of the task %s", folder.name, path.name, task.name)
    return BatchCase(name=folder.name, images=tuple(str(path) for path in chosen))


def _images_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and _is_image(path))


def _is_image(path: Path) -> bool:
    return path.name.lower().endswith(READABLE_SUFFIXES) and not path.name.startswith(".")


def _report_files(target: Path) -> list[Path]:
    return sorted(path for path in target.glob("*.json") if not path.name.startswith("."))


def _row(path: Path) -> dict[str, Any] | None:
    try:
        report = json.loads(path.read_text())
    except FileNotFoundError:
        # Another process has just done the case that had failed before.
        return None
    if path.name.endswith(_ERROR_SUFFIX):
        return {"case": path.name.removesuffix(_ERROR_SUFFIX), "status": "failed", "error": report["error"]}
    if "evaluated_locations" not in report:
        return None
    weights = report["weights"]
    row = {"case": path.stem, "status": "done", "weights": weights["name"], "weights_sha256": weights["sha256"]}
    return row | {column: report[column] for column in COLUMNS if column in report and column != "weights"}


def _rank() -> tuple[int, int]:
    """This process's rank and the number of processes, as torchrun (or SLURM's srun) sets them."""
    for rank, count in (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS")):
        if rank in os.environ and count in os.environ:
            return int(os.environ[rank]), int(os.environ[count])
    return 0, 1


def _device_of_rank(device: str) -> str:
    """Several processes on one machine share its GPUs out among them."""
    local = os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID"))
    if local is None or device not in ("auto", "cuda"):
        return device
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return f"cuda:{int(local) % gpus}" if gpus else device
