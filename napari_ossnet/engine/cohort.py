"""Owns a cohort in folders: which cases there are, and the table of what came of them.

The table is put together from the files that the cases have left (``case_files.py``), whoever wrote them.
"""

from __future__ import annotations

import csv
import io
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_ossnet.engine.case_files import ERROR_SUFFIX, CaseFiles, read_report
from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.files.atomic import atomic_path
from napari_ossnet.engine.files.itk_files import is_dicom
from napari_ossnet.engine.scans.assignment import guess_modality, is_named_as_labels
from napari_ossnet.engine.tasks import Task
from napari_ossnet.engine.volume import READABLE_SUFFIXES, stem_of

COLUMNS = (
    "case", "status", "volume_ml", "surface_area_cm2", "max_diameter_mm", "evaluated_locations", "first_snapshot_s",
    "elapsed_s", "peak_memory_bytes", "device", "weights", "weights_sha256", "error",
)  # fmt: skip
_DICOM_SUFFIX = ".dcm"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCase:
    """One case of a cohort: its name and its images."""

    name: str
    images: tuple[str, ...]


def find_cases(task: Task, source: Path) -> list[BatchCase]:
    """The cases in a folder, by name: each image file, and each subfolder with images, slices, or a series a modality.

    Label maps (by the words of their names) and, in a subfolder, images that speak of no modality of the task are left
    out where other images are. A folder of nothing but DICOM slices is one case.

    Raises:
        InputError: There is no such folder, or no case in it.
    """
    if not source.is_dir():
        raise InputError(f"There is no folder {source}; --batch needs a folder with a folder or a file a case.")
    cases = [case for folder in _folders_in(source) if (case := _case_of(task, folder)) is not None]
    cases += [BatchCase(name=stem_of(path), images=(str(path),)) for path in _images_in(source)]
    if not cases and _holds_dicom(source):
        return [BatchCase(name=source.resolve().name, images=(str(source),))]
    if not cases:
        raise InputError(f"There is no case in {source}; expected a folder or an image file a case.")
    if any(path.name.lower().endswith(_DICOM_SUFFIX) for path in _files_in(source)):
        _log.warning("The DICOM files right in %s are left out; put those of a case into a folder of its own.", source)
    names = [case.name for case in cases]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise InputError(f"Several images in {source} have the name {doubled[0]}; their masks would be one file.")
    return sorted(cases, key=lambda case: case.name)


def folders_left_out(source: Path, cases: list[BatchCase]) -> list[str]:
    """Names of the subfolders of a cohort that hold no image of its cases, so that nobody takes them for done."""
    taken = {Path(image).relative_to(source).parts[:1] for case in cases for image in case.images}
    return [folder.name for folder in _folders_in(source) if (folder.name,) not in taken]


def refuse_target(source: Path, target: Path) -> None:
    """Lets a folder for results pass whose masks can't become cases.

    Raises:
        InputError: It is the folder of the cases, or lies in it.
    """
    if target.resolve().is_relative_to(source.resolve()):
        raise InputError(
            f"A batch needs two folders, and {target} is in {source}: its masks would become cases; "
            "choose a folder outside."
        )


def cases_of_batch(task: Task, source: Path, target: Path) -> list[BatchCase]:
    """The cases in a folder, whose results may go to another one: nothing of the user's is taken or replaced there.

    Raises:
        InputError: A folder can't be used, there is no case, or the target holds files of somebody else by the names
            of masks or reports: say, the labels of the same cases.
    """
    refuse_target(source, target)
    cases = find_cases(task, source)
    foreign = [case.name for case in cases if CaseFiles(target, case.name).is_foreign]
    if foreign:
        raise InputError(
            f"The folder {target} has files named {foreign[0]} that no batch has left (so for {len(foreign)} of "
            f"{len(cases)} cases), and they would be replaced; choose an empty folder for the results."
        )
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
        failed = {path.name.removesuffix(ERROR_SUFFIX) for path in found if path.name.endswith(ERROR_SUFFIX)}
        # An older mask of a case that failed since is kept, but it is not this run's result.
        current = (path for path in found if path.stem not in failed)
        writer.writerows(row for path in current if (row := _row(path)) is not None)
        with atomic_path(target / "results.csv") as temporary:
            temporary.write_text(text.getvalue(), encoding="utf-8")


def _case_of(task: Task, folder: Path) -> BatchCase | None:
    """The case in a folder; one that can't be looked into is a case that will fail, and the others go on."""
    try:
        return _case_of_folder(task, folder)
    except (PermissionError, InputError):
        return BatchCase(name=folder.name, images=(str(folder),))


def _case_of_folder(task: Task, folder: Path) -> BatchCase | None:
    images = _images_in(folder)
    if not images:
        if _holds_dicom(folder):
            return BatchCase(name=folder.name, images=(str(folder),))
        return _case_of_series(task, folder)
    telling = [path for path in images if guess_modality(task, path.name) is not None]
    chosen = telling if len(telling) >= task.channels else images
    for path in set(images) - set(chosen):
        _log.info("%s: %s is no image of the task %s", folder.name, path.name, task.name)
    return BatchCase(name=folder.name, images=tuple(str(path) for path in chosen))


def _case_of_series(task: Task, folder: Path) -> BatchCase | None:
    """A case whose DICOM series lie in folders of their own, as scanners export them: one a modality of the task."""
    series = [inner for inner in _folders_in(folder) if _holds_dicom(inner)]
    if len(series) != task.channels:
        return None
    return BatchCase(name=folder.name, images=tuple(str(inner) for inner in series))


def _folders_in(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))


def _images_in(folder: Path) -> list[Path]:
    """The files that are images by themselves, without label maps where there are others."""
    files = _files_in(folder)
    names = {path.name.lower() for path in files}
    images = [
        path
        for path in files
        if path.name.lower().endswith(READABLE_SUFFIXES)
        and path.suffix.lower() != _DICOM_SUFFIX
        # The voxels of an Analyze or NIfTI pair belong to its header.
        and not (path.suffix.lower() == ".img" and f"{path.stem.lower()}.hdr" in names)
    ]
    scans = [path for path in images if not is_named_as_labels(path.name)]
    for path in set(images) - set(scans if scans else images):
        _log.info("%s is taken for a label map and left out", path)
    return scans or images


def _holds_dicom(folder: Path) -> bool:
    """Whether a folder holds slices; the index of a DICOM medium bears DICOM's mark, but is none."""
    files = [path for path in _files_in(folder) if path.name.upper() != "DICOMDIR"]
    return any(path.suffix.lower() == _DICOM_SUFFIX for path in files) or any(map(is_dicom, files))


def _report_files(target: Path) -> list[Path]:
    return sorted(path for path in target.glob("*.json") if not path.name.startswith("."))


def _row(path: Path) -> dict[str, Any] | None:
    report = read_report(path)
    if path.name.endswith(ERROR_SUFFIX) and "error" in report:
        return {"case": path.name.removesuffix(ERROR_SUFFIX), "status": "failed", "error": report["error"]}
    if "evaluated_locations" not in report:
        return None
    weights = report["weights"]
    row = {"case": path.stem, "status": "done", "weights": weights["name"], "weights_sha256": weights["sha256"]}
    return row | {column: report[column] for column in COLUMNS if column in report and column != "weights"}
