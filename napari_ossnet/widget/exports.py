"""Owns what leaves the widget: mask, surface and report as files, the table as text."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from napari_ossnet.engine.atomic import atomic_path
from napari_ossnet.engine.errors import OutputError
from napari_ossnet.engine.segmentation import RESEARCH_NOTICE, Segmentation
from napari_ossnet.engine.surface import extract_surface
from napari_ossnet.engine.volume import write_mask
from napari_ossnet.widget.state import MeasurementRow

COLUMNS = ("Class", "Volume (mL)", "Surface (cm2)", "Largest diameter (mm)")
MASK_FILTER = "NIfTI (*.nii.gz *.nii);;NRRD (*.nrrd);;MetaImage (*.mha)"
SURFACE_FILTER = "STL (*.stl);;PLY (*.ply);;OBJ (*.obj);;VTP (*.vtp);;glTF (*.glb)"
REPORT_FILTER = "JSON (*.json)"
CSV_FILTER = "CSV (*.csv)"


def save_mask(path: str, segmentation: Segmentation, labels: np.ndarray) -> str:
    """Writes labels (i, j, k), edits included, in the place of the scan; returns what to tell the user.

    Raises:
        OutputError: The file can't be written.
    """
    write_mask(path, labels, segmentation)
    return f"Saved the mask to {path}."


def save_surface(path: str, segmentation: Segmentation) -> str:
    """Writes the whole surface in RAS mm, never the thinned one that is shown.

    Raises:
        OutputError: The file can't be written, or there is no surface.
    """
    from napari_ossnet.engine.mesh_files import write_mesh

    mesh = extract_surface(segmentation)
    if mesh.is_empty:
        raise OutputError("There is no surface to save: the mask is empty; lower the threshold first.")
    write_mesh(path, mesh)
    return f"Saved the surface to {path}."


def save_report(path: str, segmentation: Segmentation, rows: tuple[MeasurementRow, ...], *, is_edited: bool) -> str:
    """Writes the run's report as JSON, with the numbers of the edited labels beside it where there are some.

    Raises:
        OutputError: The file can't be written.
    """
    report: dict[str, Any] = segmentation.report()
    report["is_edited_by_hand"] = is_edited
    if is_edited:
        report["edited_measurements"] = [
            {
                "title": row.title,
                "volume_ml": row.volume_ml,
                "surface_area_cm2": row.surface_area_cm2,
                "max_diameter_mm": row.max_diameter_mm,
            }
            for row in rows
        ]
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(report, indent=2), encoding="utf-8")
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
    """The table as text, one line a class, ready for a spreadsheet."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow(
            [row.title, f"{row.volume_ml:.3f}", f"{row.surface_area_cm2:.2f}", f"{row.max_diameter_mm:.1f}"]
        )
    return text.getvalue()


def with_suffix(path: str, chosen_filter: str) -> str:
    """The path with the suffix of the chosen file type, where the user gave none."""
    if Path(path).suffix:
        return path
    suffix = chosen_filter[chosen_filter.index("*") + 1 :].split()[0].rstrip(")")
    return path + suffix


NOTICE = RESEARCH_NOTICE
