"""Owns a cohort in folders: which cases there are, and the table of what came of them.

A finished case has left ``<case>.nii.gz`` and ``<case>.json``, a failed one ``<case>.error.json``; the table is put
together from these files, whoever wrote them.
"""

from __future__ import annotations

import csv
import io
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.files.atomic import atomic_path
from napari_ossnet.engine.scans.assignment import guess_modality
from napari_ossnet.engine.tasks import Task
from napari_ossnet.engine.volume import READABLE_SUFFIXES, stem_of

COLUMNS = (
    "case", "status", "volume_ml", "surface_area_cm2", "max_diameter_mm", "evaluated_locations", "first_snapshot_s",
    "elapsed_s", "peak_memory_bytes", "device", "weights", "weights_sha256", "error",
)  # fmt: skip
ERROR_SUFFIX = ".error.json"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCase:
    """One case of a cohort: its name and its images."""

    name: str
    images: tuple[str, ...]


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
            temporary.write_text(text.getvalue(), encoding="utf-8")


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
        report = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        # Another process has just done the case that had failed before.
        return None
    if path.name.endswith(ERROR_SUFFIX):
        return {"case": path.name.removesuffix(ERROR_SUFFIX), "status": "failed", "error": report["error"]}
    if "evaluated_locations" not in report:
        return None
    weights = report["weights"]
    row = {"case": path.stem, "status": "done", "weights": weights["name"], "weights_sha256": weights["sha256"]}
    return row | {column: report[column] for column in COLUMNS if column in report and column != "weights"}
