"""Packages that only some results need: missed before the work, since afterwards the whole run would be lost."""

from __future__ import annotations

from importlib.util import find_spec

from napari_ossnet.cli.results import DICOM_SUFFIX, ResultFiles
from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.files import itk_files


def check_extras(files: ResultFiles) -> None:
    """Finds out, without importing anything, whether what the results need is installed.

    Raises:
        InputError: A package is missing; the sentence says how to install it.
    """
    # Segments for Slicer are written without SimpleITK, whatever their last suffix is.
    images = [] if files.mask.name.lower().endswith(".seg.nrrd") else [files.mask]
    images += [path for path in (files.probability, files.super_resolved) if path is not None]
    for path in images:
        if path.suffix.lower() in itk_files.WRITABLE_SUFFIXES:
            _refuse_without("SimpleITK", f"{path.name} needs SimpleITK", "io")
    if files.mask.suffix.lower() == DICOM_SUFFIX:
        _refuse_without("highdicom", f"{files.mask.name} needs highdicom", "dicom")
    if files.wishes.faces is not None or files.wishes.smoothing:
        _refuse_without("vtkmodules", "Changing a surface (--faces, --smoothing) needs VTK", "napari")


def _refuse_without(module: str, need: str, extra: str) -> None:
    if find_spec(module) is None:
        raise InputError(f'{need}, which is not installed: pip install "napari-ossnet[{extra}]".')
