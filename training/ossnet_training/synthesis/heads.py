"""Where heads come from: folders of label maps, folders of real scans, or code."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.phantom.anatomy import Head
from napari_ossnet.engine.phantom.contrast import MODALITIES
from napari_ossnet.engine.phantom.made_head import make_head
from ossnet_training.synthesis.label_heads import read_label_head
from ossnet_training.synthesis.scan_heads import read_scan_head

_SUFFIXES = (".nii.gz", ".nii", ".mgz")
_MODALITY = re.compile(r"^(?P<case>.+?)[_-](?P<modality>flair|t1ce|t1|t2|seg)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadSource:
    """A head that is read when it is needed.

    Attributes:
        name: For the records and for splits.
        kind: ``labels``, ``scan`` or ``code``.
        read: Reads or makes the head.
    """

    name: str
    kind: str
    read: Callable[[], Head]


def label_sources(folder: Path) -> list[HeadSource]:
    """One source a label map in a folder, by name.

    Raises:
        InputError: There is no such folder or no label map in it.
    """
    files = _volumes(folder)
    return [HeadSource(name=_stem(f), kind="labels", read=_reader(f)) for f in files]


def scan_sources(folder: Path) -> list[HeadSource]:
    """One source a scan: files ``<case>_flair.nii.gz``, ``_t1``, ``_t1ce``, ``_t2`` and, if there is one, ``_seg``.

    Raises:
        InputError: There is no such folder or no scan in it.
    """
    cases: dict[str, dict[str, Path]] = {}
    for file in _volumes(folder):
        match = _MODALITY.match(_stem(file))
        if match:
            cases.setdefault(match["case"], {})[match["modality"].lower()] = file
    if not cases:
        raise InputError(f"No scans in {folder}: expected files such as case_flair.nii.gz, case_t1.nii.gz.")
    return [HeadSource(name=name, kind="scan", read=_scan_reader(name, files)) for name, files in cases.items()]


def made_source(seed: int) -> HeadSource:
    """A head made by code."""
    return HeadSource(name=f"made_{seed}", kind="code", read=lambda: make_head(seed))


class HeadShelf:
    """Reads heads on demand and keeps the last few."""

    def __init__(self, capacity: int = 4) -> None:
        self._kept: OrderedDict[str, Head] = OrderedDict()
        self._capacity = capacity

    def get(self, source: HeadSource) -> Head:
        """The source's head."""
        if source.kind == "code":
            return source.read()
        if source.name not in self._kept:
            self._kept[source.name] = source.read()
            if len(self._kept) > self._capacity:
                self._kept.popitem(last=False)
        self._kept.move_to_end(source.name)
        return self._kept[source.name]


def _reader(file: Path) -> Callable[[], Head]:
    return lambda: read_label_head(file)


def _scan_reader(name: str, files: dict[str, Path]) -> Callable[[], Head]:
    images = {m: files[m] for m in MODALITIES if m in files}
    return lambda: read_scan_head(name, images, files.get("seg"))


def _volumes(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise InputError(f"Expected a folder of volumes, found no folder {folder}.")
    files = sorted(f for f in folder.iterdir() if f.name.endswith(_SUFFIXES))
    if not files:
        raise InputError(f"No NIfTI or MGZ files in {folder}.")
    return files


def _stem(file: Path) -> str:
    for suffix in _SUFFIXES:
        if file.name.endswith(suffix):
            return file.name[: -len(suffix)]
    return file.stem
