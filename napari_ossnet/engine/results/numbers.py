"""Owns the numbers of a finished result in full: every object of every class, and what the threshold makes of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from napari_ossnet.engine.files.atomic import atomic_path
from napari_ossnet.engine.results.bidimensional import axial_axis, bidimensional
from napari_ossnet.engine.results.measurement import Measurement, max_diameter_mm
from napari_ossnet.engine.results.segmentation import Segmentation
from napari_ossnet.engine.surfaces.surface import Mesh, extract_surface
from napari_ossnet.engine.surfaces.surface_components import components

#: Objects smaller than this are not listed one by one: about a voxel of a usual scan, noise to every reader.
LEAST_ML = 0.01
#: How far a threshold may move before a reader would say that another mask is meant: 0.4 to 0.6 around the usual one.
UNSURE_BY = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectNumbers:
    """The numbers of one connected object, from the surface that the field draws."""

    name: str
    title: str
    #: The class's label; None for all classes together.
    label: int | None
    #: 1 is the largest object of its class.
    number: int
    volume_ml: float
    surface_area_cm2: float
    max_diameter_mm: float
    #: The longest diameter in an axial slice and the longest one across it, where their product is largest.
    axial_longest_mm: float
    axial_across_mm: float
    #: Their product, as RANO takes it.
    axial_product_mm2: float
    #: That slice's index along the scan's axial axis.
    axial_slice: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdUncertainty:
    """The same scan measured at a lower and at a higher threshold: the larger and the smaller answer."""

    lower_threshold: float
    higher_threshold: float
    at_lower: tuple[Measurement, ...]
    at_higher: tuple[Measurement, ...]

    def volumes_ml(self, position: int = 0) -> tuple[float, float]:
        """The smallest and the largest volume of one of the measurements; the first is the whole object's."""
        low, high = sorted((self.at_higher[position].volume_ml, self.at_lower[position].volume_ml))
        return low, high


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """Everything that was measured on one result."""

    measurements: tuple[Measurement, ...]
    objects: tuple[ObjectNumbers, ...]
    uncertainty: ThresholdUncertainty | None = None
    #: Scan voxels of the refined box that was measured; empty for the whole scan.
    box: str = ""

    def as_dict(self) -> dict[str, Any]:
        """What a report adds: ``objects`` and ``uncertainty``, as plain JSON values."""
        found: dict[str, Any] = {"objects": [asdict(item) for item in self.objects]}
        if self.uncertainty is not None:
            volumes = [self.uncertainty.volumes_ml(position) for position in range(len(self.measurements))]
            found["uncertainty"] = {
                "lower_threshold": self.uncertainty.lower_threshold,
                "higher_threshold": self.uncertainty.higher_threshold,
                "volumes_ml": [
                    {"name": item.name, "smallest": low, "largest": high}
                    for item, (low, high) in zip(self.measurements, volumes, strict=True)
                ],
            }
        return found


def unsure_between(threshold: float) -> tuple[float, float]:
    """Thresholds, lower and higher, whose masks are as good an answer as that of ``threshold``: 0.4 and 0.6 for 0.5.

    Near 0 and 1 they go half of the way to there at most.
    """
    lower = max(threshold - UNSURE_BY, threshold / 2)
    higher = min(threshold + UNSURE_BY, (1 + threshold) / 2)
    return round(lower, 6), round(higher, 6)


def numbers_of(
    segmentation: Segmentation,
    *,
    uncertainty: ThresholdUncertainty | None = None,
    least_ml: float = LEAST_ML,
    surface_of: Callable[[int | None], Mesh] | None = None,
) -> Numbers:
    """All numbers of a result.

    Args:
        segmentation: The result.
        uncertainty: As the session measures it.
        least_ml: Objects below this volume are left out of the list.
        surface_of: The surface of a label (None: of all); by default it is drawn from the result's band.
    """
    draw = surface_of or (lambda label: extract_surface(segmentation, label))
    objects: list[ObjectNumbers] = []
    for item in segmentation.measurements:
        large = [piece for piece in components(draw(item.label)) if piece.volume_mm3 / 1000 >= least_ml]
        objects += [_numbers(segmentation, item, number + 1, piece) for number, piece in enumerate(large)]
    box = "" if segmentation.region is None else segmentation.region.box_text
    return Numbers(measurements=segmentation.measurements, objects=tuple(objects), uncertainty=uncertainty, box=box)


def _numbers(segmentation: Segmentation, item: Measurement, number: int, piece: Mesh) -> ObjectNumbers:
    axial = bidimensional(piece, segmentation.affine)
    index = axial.slice_index
    return ObjectNumbers(
        name=item.name,
        title=item.title,
        label=item.label,
        number=number,
        volume_ml=piece.volume_mm3 / 1000,
        surface_area_cm2=piece.area_mm2 / 100,
        max_diameter_mm=max_diameter_mm(piece.vertices_world),
        axial_longest_mm=axial.longest_mm,
        axial_across_mm=axial.across_mm,
        axial_product_mm2=axial.product_mm2,
        axial_slice=None if index is None else segmentation.slice_of_scan(axial_axis(segmentation.affine), index),
    )


COLUMNS = (
    "class",
    "label",
    "object",
    "voxels",
    "mask_volume_ml",
    "field_volume_ml",
    "smallest_volume_ml",
    "largest_volume_ml",
    "surface_area_cm2",
    "max_diameter_mm",
    "axial_longest_mm",
    "axial_across_mm",
    "axial_product_mm2",
    "axial_slice",
    "box",
)


def numbers_as_rows(numbers: Numbers) -> list[dict[str, Any]]:
    """One row a class (object ``all``) and one an object, by column name; what does not apply is an empty string."""
    rows = []
    for position, item in enumerate(numbers.measurements):
        low, high = ("", "") if numbers.uncertainty is None else numbers.uncertainty.volumes_ml(position)
        rows.append(
            {
                "class": item.title,
                "label": "" if item.label is None else item.label,
                "object": "all",
                "voxels": item.voxels,
                "mask_volume_ml": item.volume_ml,
                "field_volume_ml": item.field_volume_ml,
                "smallest_volume_ml": low,
                "largest_volume_ml": high,
                "surface_area_cm2": item.surface_area_cm2,
                "max_diameter_mm": item.max_diameter_mm,
            }
        )
        rows += [_object_row(entry) for entry in numbers.objects if entry.name == item.name]
    return [{column: row.get(column, "") for column in COLUMNS} | {"box": numbers.box} for row in rows]


def _object_row(entry: ObjectNumbers) -> dict[str, Any]:
    return {
        "class": entry.title,
        "label": "" if entry.label is None else entry.label,
        "object": entry.number,
        "field_volume_ml": entry.volume_ml,
        "surface_area_cm2": entry.surface_area_cm2,
        "max_diameter_mm": entry.max_diameter_mm,
        "axial_longest_mm": entry.axial_longest_mm,
        "axial_across_mm": entry.axial_across_mm,
        "axial_product_mm2": entry.axial_product_mm2,
        "axial_slice": "" if entry.axial_slice is None else entry.axial_slice,
    }


def write_numbers(path: str | Path, numbers: Numbers) -> None:
    """Writes the rows as CSV, with a header.

    Raises:
        OutputError: The file can't be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in numbers_as_rows(numbers):
        writer.writerow({key: f"{value:.4f}" if isinstance(value, float) else value for key, value in row.items()})
    with atomic_path(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")
