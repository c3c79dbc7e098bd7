"""Owns what a task is: modalities, classes and the network's grid, as data that travels inside the weights."""

from __future__ import annotations

import json
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, Literal

from napari_ossnet.engine.errors import InputError

Kind = Literal["MR", "CT"]
Placement = Literal["resize", "foreground", "centre"]
Triple = tuple[int, int, int]
#: Coding scheme, code value, code meaning, as in DICOM and Slicer.
Code = tuple[str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Modality:
    """One input channel: its name, its title, and the words in a file's name that give it away."""

    name: str
    title: str
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminology:
    """What a class is in a coded vocabulary: its category, its type and, where known, the region of the body."""

    category: Code
    type: Code
    region: Code | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentClass:
    """One foreground class: the label in the mask, and how it is shown (``color`` is red, green, blue, 0 to 255)."""

    name: str
    title: str
    label: int
    color: Triple
    terminology: Terminology | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is segmented in what, and how a scan reaches the network's grid.

    Attributes:
        name: Short name, as on the command line.
        title: Name for people.
        description: One sentence for people.
        kind: ``MR`` or ``CT``.
        modalities: Input channels in the network's order.
        axes: Where the grid's axes point, e.g. ``LPS``.
        grid_shape: Voxels of the network's grid.
        spacing_mm: Voxel size of the grid; None where every scan is resized to the grid, whatever its size.
        scan_shape: The published box of scan voxels inside the grid; None where there is none.
        placement: How a scan gets into the grid: ``resize`` stretches it over the whole grid; ``foreground`` centres
            its foreground in the box; ``centre`` puts the scan's centre at the grid's centre.
        classes: Foreground classes; one class means a sigmoid, more mean a softmax with the background first.
        latent_grid: Cells of the encoder's latent grid.
        foreground_ml: Least and most foreground that a fitting scan shows, None where nothing is known of it.
        foreground_hint: What to ask where a scan shows more or less.
    """

    name: str
    title: str
    description: str
    kind: Kind
    modalities: tuple[Modality, ...]
    axes: str
    grid_shape: Triple
    spacing_mm: tuple[float, float, float] | None
    scan_shape: Triple | None
    placement: Placement
    classes: tuple[SegmentClass, ...]
    latent_grid: Triple
    foreground_ml: tuple[float, float] | None = None
    foreground_hint: str = ""

    @property
    def channels(self) -> int:
        """Input channels of the network."""
        return len(self.modalities)

    @property
    def output_classes(self) -> int:
        """Logits a location: 1 for one foreground class (sigmoid), else the classes and the background (softmax)."""
        return 1 if len(self.classes) == 1 else len(self.classes) + 1

    @property
    def modality_names(self) -> tuple[str, ...]:
        """Names of the input channels in the network's order."""
        return tuple(modality.name for modality in self.modalities)

    @property
    def box_shape(self) -> Triple:
        """The box of grid voxels that a scan may fill; the rest of the grid is padding."""
        return self.scan_shape or self.grid_shape

    @property
    def box_start(self) -> Triple:
        """First grid voxel of that box: half of the padding comes before it, the odd voxel too (spec section 3)."""
        i, j, k = (-(-(grid - box) // 2) for grid, box in zip(self.grid_shape, self.box_shape, strict=True))
        return i, j, k

    def to_json(self) -> str:
        """The definition as one line of JSON."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Task:
        """The task that ``to_json`` wrote.

        Raises:
            InputError: The text is no JSON, or lacks a field, or has one that is not known.
        """
        try:
            return _task_from(json.loads(text))
        except (TypeError, ValueError, KeyError) as error:
            raise InputError(
                f"A task definition can't be read ({error}); expected is what this version of the program writes."
            ) from error


def _task_from(record: dict[str, Any]) -> Task:
    values = _known(Task, record)
    values["modalities"] = tuple(
        Modality(**(_known(Modality, item) | {"words": tuple(item.get("words", ()))})) for item in record["modalities"]
    )
    values["classes"] = tuple(_class_from(item) for item in record["classes"])
    for name in ("grid_shape", "spacing_mm", "scan_shape", "latent_grid", "foreground_ml"):
        if isinstance(values.get(name), list):
            values[name] = tuple(values[name])
    return Task(**values)


def _class_from(record: dict[str, Any]) -> SegmentClass:
    values = _known(SegmentClass, record)
    values["color"] = tuple(record["color"])
    if record.get("terminology") is not None:
        codes = _known(Terminology, record["terminology"])
        values["terminology"] = Terminology(**{key: code and tuple(code) for key, code in codes.items()})
    return SegmentClass(**values)


def _known(kind: type, record: dict[str, Any]) -> dict[str, Any]:
    """The record's fields, none of them unknown and none missing that has no default."""
    allowed = {field.name for field in fields(kind)}
    needed = {field.name for field in fields(kind) if field.default is MISSING}
    if not needed <= set(record) <= allowed:
        raise ValueError(f"{kind.__name__} has the fields {sorted(record)}, expected {sorted(allowed)}")
    return dict(record)
