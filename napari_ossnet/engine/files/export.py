"""The one door for results as files: the suffix says what is written, and a file appears whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from napari_ossnet.engine.errors import OutputError
from napari_ossnet.engine.files.atomic import atomic_path
from napari_ossnet.engine.results.segmentation import Segmentation


def export_result(segmentation: Segmentation, path: str | Path) -> None:
    """Writes what the suffix names: the mask, the surface (all classes together), the report or the table of numbers.

    Raises:
        OutputError: The suffix names nothing that is known, there is no surface, or the file can't be written.
    """
    name = Path(path).name.lower()
    for suffix, write in _WRITERS:
        if name.endswith(suffix):
            write(segmentation, Path(path))
            return
    raise OutputError(f"Can't write {path}: the name must end in one of {', '.join(suffix for suffix, _ in _WRITERS)}.")


def write_report(segmentation: Segmentation, path: Path) -> None:
    """Writes the report as JSON.

    Raises:
        OutputError: The file can't be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(segmentation.report(), indent=2) + "\n", encoding="utf-8")


def write_surface(segmentation: Segmentation, path: Path) -> None:
    """Writes the surface of all classes together, in RAS mm.

    Raises:
        OutputError: The mask is empty, or the file can't be written.
    """
    from napari_ossnet.engine.files.mesh_files import write_mesh
    from napari_ossnet.engine.surfaces.surface import extract_surface

    mesh = extract_surface(segmentation)
    if mesh.is_empty:
        raise OutputError(f"There is no surface to write to {path}: the mask is empty; lower the threshold first.")
    write_mesh(path, mesh)


def _write_mask(segmentation: Segmentation, path: Path) -> None:
    from napari_ossnet.engine.volume import write_mask

    write_mask(path, segmentation.labels, segmentation)


def _write_table(segmentation: Segmentation, path: Path) -> None:
    from napari_ossnet.engine.results.numbers import numbers_of, write_numbers

    write_numbers(path, numbers_of(segmentation))


def _write_segments(segmentation: Segmentation, path: Path) -> None:
    from napari_ossnet.engine.files.seg_nrrd import write_seg_nrrd

    write_seg_nrrd(path, segmentation)


_Writer = Callable[[Segmentation, Path], None]
#: Longer suffixes come before the shorter ones that they end in.
_WRITERS: tuple[tuple[str, _Writer], ...] = (
    (".seg.nrrd", _write_segments),
    *((suffix, _write_mask) for suffix in (".nii.gz", ".nii", ".mgz", ".mgh", ".nrrd", ".mha")),
    *((suffix, write_surface) for suffix in (".stl", ".ply", ".obj", ".vtp", ".glb")),
    (".json", write_report),
    (".csv", _write_table),
)
