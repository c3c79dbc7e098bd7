"""Owns napari's way of asking us to open a file: which paths we take, and what we make of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.volume import READABLE_SUFFIXES
from napari_ossnet.widget.opening import LayerTuple, read_layers

Reader = Callable[[str | list[str]], list[LayerTuple]]
#: A folder is looked into this far for DICOM slices; other plugins have folders of their own.
_FILES_LOOKED_AT = 5


def get_reader(path: str | list[str]) -> Reader | None:
    """A reader for these paths, or None where they are not ours."""
    paths = [path] if isinstance(path, str) else path
    return _read if paths and all(_is_ours(Path(item)) for item in paths) else None


def _read(path: str | list[str]) -> list[LayerTuple]:
    paths = [path] if isinstance(path, str) else path
    return [layer for item in paths for layer in read_layers(item)]


def _is_ours(path: Path) -> bool:
    if path.is_dir():
        return _has_dicom(path)
    return path.name.lower().endswith(READABLE_SUFFIXES)


def _has_dicom(folder: Path) -> bool:
    from napari_ossnet.engine.files.itk_files import is_dicom

    files = [entry for entry in sorted(folder.iterdir()) if entry.is_file() and not entry.name.startswith(".")]
    try:
        return any(is_dicom(entry) for entry in files[:_FILES_LOOKED_AT])
    except (OSError, InputError):
        return False
