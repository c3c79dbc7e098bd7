"""Owns what leaves the widget: mask, surface and report as files, the table as text."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Generator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ossnet.engine.errors import OutputError
from napari_ossnet.engine.events import Progress
from napari_ossnet.engine.files.atomic import atomic_path
from napari_ossnet.engine.results.segmentation import Segmentation
from napari_ossnet.engine.session import SegmentationSession
from napari_ossnet.widget.jobs import ScanMemory, ScanOrder, measure_steps
from napari_ossnet.widget.state import MeasurementRow

if TYPE_CHECKING:
    from napari_ossnet.engine.surfaces.surface import Mesh

COLUMNS = ("Class", "Volume (mL)", "Surface (cm2)", "Largest diameter (mm)")
BOX_COLUMN = "Box (voxels)"
MASK_FILTER = "NIfTI (*.nii.gz *.nii);;Segments for Slicer (*.seg.nrrd);;NRRD (*.nrrd);;MetaImage (*.mha);;MGZ (*.mgz)"
SURFACE_FILTER = "STL (*.stl);;PLY (*.ply);;OBJ (*.obj);;VTP (*.vtp);;glTF (*.glb)"
REPORT_FILTER = "Page with pictures (*.html);;JSON (*.json)"
CSV_FILTER = "CSV (*.csv)"

_NO_SURFACE = "There is no surface to save: the mask is empty; lower the threshold first."


def save_mask(path: str, segmentation: Segmentation, labels: np.ndarray) -> str:
    """Writes labels (i, j, k), edits included, in the place of the scan; returns what to tell the user.

    Raises:
        OutputError: The file can't be written.
    """
    from napari_ossnet.engine.files.export import export_result

    export_result(replace(segmentation, labels=np.asarray(labels, dtype=np.uint8)), path)
    return f"Saved the mask to {path}."


def surface_steps(
    path: str, segmentation: Segmentation, session: SegmentationSession | None
) -> Generator[Any, None, str]:
    """Writes the whole surface in RAS mm, never the thinned one that is shown; returns what to tell the user.

    Args:
        path: The suffix says what is written.
        segmentation: Its surface is drawn.
        session: Has the field still, onto whose level set the surface is moved; None where it has not.

    Raises:
        OutputError: The file can't be written, or there is no surface.
    """
    from napari_ossnet.engine.surfaces.surface import extract_surface

    yield Progress(stage="surface")
    mesh = extract_surface(segmentation) if session is None else (yield from session.surface(segmentation))
    _write_mesh(path, mesh)
    return f"Saved the surface to {path}."


def save_surface_of_mask(path: str, labels: np.ndarray, affine: np.ndarray) -> str:
    """Writes the surface around labels that were edited by hand; returns what to tell the user.

    Raises:
        OutputError: The file can't be written, or there is no surface.
    """
    from napari_ossnet.widget.mask_numbers import mesh_of_mask

    _write_mesh(path, mesh_of_mask(labels > 0, affine))
    return f"Saved the surface of the edited labels to {path}."


def report_steps(
    path: str,
    segmentation: Segmentation,
    order: ScanOrder,
    memory: ScanMemory,
    edited: np.ndarray | None,
    session: SegmentationSession | None,
) -> Generator[Any, None, str]:
    """Writes the report, as a page with pictures or as JSON; returns what to tell the user.

    Args:
        path: Ends in .html or .json.
        segmentation: The result.
        order: What was segmented.
        memory: Makes the scan of it, whose slices are in the page.
        edited: The labels if they were edited by hand, which are measured anew; None if they were not.
        session: Has the field still, and says what another threshold would make of it; None where it has not.

    Raises:
        OutputError: The file can't be written.
    """
    from napari_ossnet.engine.results.numbers import numbers_of, unsure_between

    yield Progress(stage="measuring")
    uncertainty = None
    if session is not None:
        lower, higher = unsure_between(segmentation.threshold)
        uncertainty = yield from session.uncertainty(lower, higher, segmentation)
    numbers = numbers_of(segmentation, uncertainty=uncertainty)
    yield Progress(stage="measuring")
    rows = () if edited is None else (yield from measure_steps(edited, segmentation))
    if rows:
        segmentation = replace(segmentation, messages=(*segmentation.messages, _edited_sentence(rows)))
    images = {name: _origin_of(source) for name, source in order.sources}
    if Path(path).suffix.lower() == ".html":
        from napari_ossnet.engine.results.report_page import write_report_page

        volume, _ = memory.volume(order)
        yield Progress(stage="measuring")
        write_report_page(path, volume, segmentation, images, numbers)
    else:
        content = {**segmentation.report(), **numbers.as_dict(), "images": images}
        content |= {"is_edited_by_hand": bool(rows), "edited_measurements": [asdict(row) for row in rows]}
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return f"Saved the report to {path}."


def save_table(path: str, rows: tuple[MeasurementRow, ...]) -> str:
    """Writes the table as CSV.

    Raises:
        OutputError: The file can't be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(table_text(rows, ","), encoding="utf-8")
    return f"Saved the table to {path}."


def table_text(rows: tuple[MeasurementRow, ...], separator: str = "\t") -> str:
    """The table as text, one line a class, ready for a spreadsheet; numbers of a box tell which one."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, lineterminator="\n")
    has_box = any(row.box for row in rows)
    writer.writerow((*COLUMNS, BOX_COLUMN) if has_box else COLUMNS)
    for row in rows:
        values = [row.title, f"{row.volume_ml:.3f}", f"{row.surface_area_cm2:.2f}", f"{row.max_diameter_mm:.1f}"]
        writer.writerow([*values, row.box] if has_box else values)
    return text.getvalue()


def with_suffix(path: str, chosen_filter: str, all_filters: str) -> str:
    """The path with the suffix of the chosen file type, unless it ends in one that such a file can have.

    Args:
        path: As the user has typed it; dots in a name (``smith_2024.05.12``) are no suffix.
        chosen_filter: The file type, as Qt writes it: ``NIfTI (*.nii.gz *.nii)``.
        all_filters: All types that were offered.
    """
    if path.lower().endswith(tuple(_suffixes_of(all_filters))):
        return path
    return path + _suffixes_of(chosen_filter)[0]


def _suffixes_of(filters: str) -> list[str]:
    return re.findall(r"\*(\.[\w.]+)", filters)


def _write_mesh(path: str, mesh: Mesh) -> None:
    from napari_ossnet.engine.files.mesh_files import write_mesh

    if mesh.is_empty:
        raise OutputError(_NO_SURFACE)
    write_mesh(path, mesh)


def _edited_sentence(rows: tuple[MeasurementRow, ...]) -> str:
    numbers = "; ".join(
        f"{row.title} {row.volume_ml:.2f} mL, {row.surface_area_cm2:.1f} cm², {row.max_diameter_mm:.1f} mm"
        for row in rows
    )
    return f"The labels were edited by hand after this run; then they measured: {numbers}. All else is the run's own."


def _origin_of(source: Any) -> str:
    """The file that a channel came from, or the name of its layer."""
    files = source.placement.sources
    return str(files[0]) if files else str(source.name)
