"""A pool of synthetic scans on disk, in half precision, that may grow while it is read.

A scan is three files: ``<name>_image.npy`` (4, i, j, k) float16 in the order FLAIR, T1, T1ce, T2, 0 outside the brain
mask; ``<name>_label.npy`` (i, j, k) uint8, 1 core, 2 oedema, 3 enhancing; and a line in ``MANIFEST.jsonl`` that is
written last. Both are cropped: ``start`` says where voxel 0 lies in ``grid_shape``, everything else there is 0.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.files.atomic import atomic_path
from napari_ossnet.engine.phantom.anatomy import SCAN_SHAPE
from napari_ossnet.engine.phantom.scan import SyntheticScan

MANIFEST = "MANIFEST.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolEntry:
    """One scan of a pool; see the module for the files.

    Attributes:
        name: Name of its files.
        split: ``train`` or ``val``.
        start: Voxel of the grid at which the crop begins.
        shape: Shape of the crop.
        grid_shape: Shape of the whole scan.
        head: Name of the head that it was made from.
        kinds: Kinds of its tumours; none, where it is healthy.
        volume_ml: Volume of all tumour together.
        seed: Seed of the pool and number of the scan.
        generation: Which version of the generator made it.
    """

    name: str
    split: str
    start: tuple[int, int, int]
    shape: tuple[int, int, int]
    grid_shape: tuple[int, int, int] = SCAN_SHAPE
    head: str
    kinds: tuple[str, ...]
    volume_ml: float
    seed: tuple[int, int]
    generation: int = 0


def describe(scan: SyntheticScan, *, name: str, split: str, seed: tuple[int, int], generation: int = 0) -> PoolEntry:
    """The entry of a scan, which is cropped to the brain mask further than it is."""
    low, high = _extent(scan.image[0] > 0)
    return PoolEntry(
        name=name,
        split=split,
        start=(scan.box[0].start + low[0], scan.box[1].start + low[1], scan.box[2].start + low[2]),
        shape=(high[0] - low[0], high[1] - low[1], high[2] - low[2]),
        head=scan.head,
        kinds=tuple(p.kind for p in scan.plans),
        volume_ml=round(float((scan.labels > 0).sum()) / 1e3, 2),
        seed=seed,
        generation=generation,
    )


def write_scan(folder: Path, entry: PoolEntry, scan: SyntheticScan) -> None:
    """Add a scan to a pool; a reader of the manifest sees it whole or not at all.

    Raises:
        OutputError: The folder can't be written.
    """
    i, j, k = (
        slice(a - box.start, a - box.start + n) for a, n, box in zip(entry.start, entry.shape, scan.box, strict=True)
    )
    with atomic_path(folder / f"{entry.name}_image.npy") as file, file.open("wb") as stream:
        np.save(stream, scan.image[:, i, j, k].astype(np.float16))
    with atomic_path(folder / f"{entry.name}_label.npy") as file, file.open("wb") as stream:
        np.save(stream, scan.labels[i, j, k])
    append_entry(folder, entry)


def append_entry(folder: Path, entry: PoolEntry, manifest: str = MANIFEST) -> None:
    """Add a line to the manifest, after the scan's files are whole."""
    with (folder / manifest).open("a+b") as stream:
        line = json.dumps(asdict(entry)) + "\n"
        if not _is_at_line_start(stream):
            # Half a line of a process that was killed in the middle: it must not swallow this one.
            line = "\n" + line
        stream.write(line.encode())
        stream.flush()
        os.fsync(stream.fileno())


def _is_at_line_start(stream: BinaryIO) -> bool:
    """Whether what is written next to the end of a file begins a line."""
    if stream.seek(0, os.SEEK_END) == 0:
        return True
    stream.seek(-1, os.SEEK_END)
    return stream.read(1) == b"\n"


def read_manifest(folder: Path, manifest: str = MANIFEST) -> list[PoolEntry]:
    """All scans of a pool; a name that occurs twice counts as its last line, a line cut short not at all.

    Raises:
        InputError: The folder has no manifest.
    """
    file = folder / manifest
    if not file.is_file():
        raise InputError(f"No {manifest} in {folder}; make a pool with `ossnet-train synthesise`.")
    entries: dict[str, PoolEntry] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            values = json.loads(line)
        except json.JSONDecodeError:
            continue
        for key in ("start", "shape", "grid_shape", "kinds", "seed"):
            values[key] = tuple(values[key])
        entries[values["name"]] = PoolEntry(**values)
    return list(entries.values())


def load_scan(folder: Path, entry: PoolEntry) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """A scan of a pool in its whole grid: (4, i, j, k) float32 and (i, j, k) uint8."""
    image = np.zeros((4, *entry.grid_shape), dtype=np.float32)
    label = np.zeros(entry.grid_shape, dtype=np.uint8)
    part = tuple(slice(a, a + n) for a, n in zip(entry.start, entry.shape, strict=True))
    image[(slice(None), *part)] = np.load(folder / f"{entry.name}_image.npy", mmap_mode="r")
    label[part] = np.load(folder / f"{entry.name}_label.npy", mmap_mode="r")
    return image, label


def _extent(mask: NDArray[np.bool_]) -> tuple[list[int], list[int]]:
    low, high = [], []
    for axis in range(3):
        hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        low.append(int(hit[0]))
        high.append(int(hit[-1]) + 1)
    return low, high
