"""Cases as the network sees them, decoded once and kept memory-mapped under ``OSSNET_HOME/cache``.

A case becomes two plain .npy files: the prepared grid in half precision and the label on the same grid. The folder's
name is a digest of everything that went into it, so that a changed file or task makes a new one.
"""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_ossnet.engine.errors import InputError, OutputError
from napari_ossnet.engine.tasks import TASKS, PreparedVolume, Task, prepare
from napari_ossnet.engine.volume import Volume, read_volume
from ossnet_training.cases import Case
from ossnet_training.label_placement import label_on_scan

logger = logging.getLogger(__name__)

#: Raise when what a cached case holds changes.
_FORMAT = "3"
#: A case's files.
_FILES = ("grid.npy", "label.npy")


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedCase:
    """Where a decoded case lies."""

    case: Case
    folder: Path

    @property
    def name(self) -> str:
        """The case's name."""
        return self.case.name

    def grid(self) -> np.ndarray:
        """The prepared grid, float16 (channels, i, j, k), memory-mapped and read-only."""
        return np.load(self.folder / "grid.npy", mmap_mode="r")

    def label(self) -> np.ndarray:
        """Class numbers on the grid, uint8 (i, j, k), memory-mapped and read-only."""
        return np.load(self.folder / "label.npy", mmap_mode="r")


def cache_cases(
    cases: Sequence[Case], task: Task, label_map: Sequence[tuple[int, int]], folder: Path, *, allow_empty: bool = False
) -> list[CachedCase]:
    """Check all cases and decode those that aren't in the cache yet.

    Args:
        cases: Cases of the data set.
        task: What they are prepared for.
        label_map: Pairs of a label number and the class number that it stands for.
        folder: The cache; made if missing.
        allow_empty: Take cases whose label has no foreground.

    Raises:
        InputError: Cases can't be used; all of them are named, each with its problem.
        OutputError: The cache can't be written.
    """
    cached, problems, present = [], [], np.zeros(256, dtype=bool)
    for case in cases:
        target = folder / f"{_safe_name(case.name)}-{_digest(case, task, label_map)}"
        try:
            if not _is_complete(target):
                logger.info("decoding %s", case.name)
                _decode(case, task, label_map, target)
        except InputError as error:
            problems.append(str(error))
            continue
        cached.append(CachedCase(case=case, folder=target))
        numbers = np.unique(cached[-1].label())
        present[numbers] = True
        if not numbers.any() and not allow_empty:
            problems.append(f"Case {case.name}: the label is empty; leave it out, or set data.allow_empty=true.")
    absent = [entry.name for number, entry in enumerate(task.classes, start=1) if not present[number]]
    if absent and not problems:
        problems.append(f"No case has the class {', '.join(absent)}; check the labels, or data.label_map.")
    if problems:
        raise InputError(
            f"{len(problems)} problems in the data; nothing was started:\n" + "\n".join(f"  - {p}" for p in problems)
        )
    return cached


def read_case(case: Case, task: Task) -> tuple[Volume, np.ndarray]:
    """A case's scan, channels in the task's order, and its label's numbers on the scan's voxels (i, j, k).

    Raises:
        InputError: A file is missing or unreadable, or their voxels differ; with the case's name.
    """
    try:
        volume = _read_images(case, task)
        return volume, label_on_scan(_read_label(case), volume)
    except InputError as error:
        raise InputError(f"Case {case.name}: {error}") from error


def class_numbers(label: np.ndarray, task: Task, label_map: Sequence[tuple[int, int]]) -> np.ndarray:
    """Labels as the network's class numbers, uint8: 0 background, then the task's classes from 1.

    With the one class of a task of this program and no map, every label above 0 is foreground (spec section 3). A class
    of the user's own takes its own label alone.

    Raises:
        InputError: A label is not a whole number, or is unknown to the task.
    """
    found = np.unique(label)
    odd = found[~np.isfinite(found) | (found != np.round(found))]
    if len(odd):
        raise InputError(f"labels must be whole numbers, found {_some(odd)}")
    if not label_map and _takes_any_label(task):
        return (label > 0).astype(np.uint8)
    mapping = dict(label_map) or {entry.label: number for number, entry in enumerate(task.classes, start=1)}
    mapping.setdefault(0, 0)
    unknown = [value for value in found if int(value) not in mapping]
    if unknown:
        raise InputError(
            f"labels must be among {sorted(mapping)}, found {_some(unknown)}; map them with data.label_map, or "
            "--label-map of evaluate"
        )
    # By their place among those found, so that a label may be below 0 or very large.
    return np.array([mapping[int(value)] for value in found], dtype=np.uint8)[np.searchsorted(found, label)]


def _takes_any_label(task: Task) -> bool:
    meaning = [(entry.name, entry.label) for entry in task.classes]
    return len(meaning) == 1 and any(
        meaning == [(entry.name, entry.label) for entry in known.classes] for known in TASKS.values()
    )


def label_on_grid(classes: np.ndarray, prepared: PreparedVolume) -> np.ndarray:
    """Class numbers (i, j, k) of the scan carried to the network's grid by the nearest voxel, outside 0.

    A voxel reaches half its width to all sides, at the scan's faces too, where the image is filled as far.
    """
    from scipy.ndimage import affine_transform

    oriented = np.ascontiguousarray(prepared.orientation.to_task(classes))
    back = np.linalg.inv(prepared.lattice.to_grid)
    shape = prepared.grid.shape[1:]
    return affine_transform(
        oriented, back[:3, :3], back[:3, 3], output_shape=shape, order=0, mode="grid-constant", cval=0
    )


def _read_images(case: Case, task: Task) -> Volume:
    missing = [path.name for path in case.images if not path.exists()]
    if missing:
        raise InputError(f"missing {', '.join(missing)} in {case.images[0].parent}.")
    volumes = [read_volume(path) for path in case.images]
    first = volumes[0]
    for path, volume in zip(case.images, volumes, strict=True):
        if volume.shape != first.shape or not np.allclose(volume.affine, first.affine, atol=1e-3):
            raise InputError(
                f"the grid of {path.name} {volume.shape} is not that of {case.images[0].name} {first.shape}."
            )
    data = np.concatenate([volume.data for volume in volumes])
    if len(data) != task.channels:
        raise InputError(f"the task {task.name} takes {task.channels} channels, found {len(data)}.")
    return Volume(
        data=data,
        affine=first.affine,
        channel_names=task.modality_names,
        sources=case.images,
        affine_codes=first.affine_codes,
    )


def _read_label(case: Case) -> Volume:
    if not case.label.exists():
        raise InputError(f"missing label {case.label}.")
    label = read_volume(case.label)
    if len(label.data) != 1:
        raise InputError(f"the label {case.label.name} has {len(label.data)} channels, expected one.")
    return label


def _decode(case: Case, task: Task, label_map: Sequence[tuple[int, int]], target: Path) -> None:
    volume, label = read_case(case, task)
    try:
        classes = class_numbers(label, task, label_map)
        prepared = prepare(task, volume)
    except InputError as error:
        raise InputError(f"Case {case.name}: {error}") from error
    grid = prepared.grid.astype(np.float16)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".case-", dir=target.parent))
        try:
            for name, array in zip(_FILES, (grid, label_on_grid(classes, prepared)), strict=True):
                np.save(scratch / name, array)
            _put_in_place(scratch, target)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        raise OutputError(
            f"Can't write the cache of case {case.name} to {target.parent} ({error.strerror}); free space there, or "
            "point OSSNET_HOME at a disk that has some."
        ) from error


def _put_in_place(scratch: Path, target: Path) -> None:
    """Move a decoded case's files to where they belong, unless another process was faster: its files are the same.

    File by file, so that nothing that others read is ever taken away.
    """
    target.mkdir(exist_ok=True)
    for name in _FILES:
        if _is_complete(target):
            return
        try:
            (scratch / name).replace(target / name)
        except OSError:
            # Windows doesn't replace a file that another process reads.
            if not _is_complete(target):
                raise


def _safe_name(name: str) -> str:
    """A case's name as part of a folder's: a CSV file may have whole paths as names."""
    return re.sub(r"[^\w.()\[\] -]", "_", name)[-80:]


def _is_complete(folder: Path) -> bool:
    return all((folder / name).is_file() for name in _FILES)


def _digest(case: Case, task: Task, label_map: Sequence[tuple[int, int]]) -> str:
    parts = [_FORMAT, task.to_json(), repr(sorted(label_map))]
    for path in (*case.images, case.label):
        state = path.stat() if path.exists() else None
        parts.append(f"{path.resolve()}:{state.st_size}:{state.st_mtime_ns}" if state else str(path))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _some(values: Sequence[float] | np.ndarray) -> str:
    return ", ".join(f"{value:g}" for value in list(values)[:5])
