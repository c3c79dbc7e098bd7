"""Finding the labelled cases of a data set: BraTS and LiTS folders, Decathlon, and plain image/label pairs."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_ossnet.engine.errors import InputError

NIFTI = (".nii.gz", ".nii")
SCAN_SUFFIXES = (*NIFTI, ".mgz", ".nrrd", ".mha")

#: File endings of the BraTS 2020 and 2021 releases, in the order of the published channels.
_BRATS_CHANNELS = ("flair", "t1", "t1ce", "t2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One labelled scan: its name, its image files (one a channel, or one with all) and its label file.

    ``columns`` are the images' names where the data set gives them any; see ``channel_order.py``.
    """

    name: str
    images: tuple[Path, ...]
    label: Path
    columns: tuple[str, ...] = ()


def find_cases(path: str | Path, layout: str = "auto") -> list[Case]:
    """All labelled cases of a data set, by name.

    Args:
        path: The data set's folder, its dataset.json, or a CSV file.
        layout: One of `LAYOUTS`, or ``auto``.

    Raises:
        InputError: Nothing is there, it is no data set, or two cases share a name.
    """
    root = Path(path).expanduser()
    if not str(path) or not root.exists():
        raise InputError(f"There is no data set at {str(path)!r}; name its folder with --data.")
    layout = guess_layout(root) if layout == "auto" else layout
    if layout not in LAYOUTS:
        raise InputError(f"{root} can't be read in the {layout} layout; expected one of auto, {', '.join(LAYOUTS)}.")
    cases = sorted(LAYOUTS[layout](root), key=lambda case: case.name)
    if not cases:
        raise InputError(
            f"{root} holds no labelled case in the {layout} layout ({_EXPECTED[layout]}); check the path, or set "
            "data.layout=auto."
        )
    names = [case.name for case in cases]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"{root} has several cases of one name: {', '.join(twice[:5])}; give each its own.")
    return cases


def guess_layout(root: Path) -> str:
    """The layout that a path looks like.

    Raises:
        InputError: It looks like none of them.
    """
    if root.suffix.lower() == ".csv":
        return "pairs"
    if root.name == "dataset.json" or (root / "dataset.json").is_file():
        return "decathlon"
    if root.is_dir():
        if _scans(root.glob("*/*_seg.nii*"), NIFTI):
            return "brats"
        if _scans(root.rglob("segmentation-*.nii*"), NIFTI):
            return "lits"
        if _pair_folders(root) is not None:
            return "pairs"
    expected = "; ".join(f"{name}: {text}" for name, text in _EXPECTED.items())
    raise InputError(f"{root} looks like no data set that is known here. Expected one of: {expected}.")


def _scans(paths: Iterable[Path], suffixes: tuple[str, ...] = SCAN_SUFFIXES) -> list[Path]:
    """Those of some paths that are scans by their names, in order; macOS leaves a file ``._NAME`` beside each."""
    return sorted(path for path in paths if path.name.endswith(suffixes) and not path.name.startswith("."))


def _find_brats(root: Path) -> Iterable[Case]:
    for folder in sorted(p for p in root.glob("*") if p.is_dir()):
        labels = _with_ending(folder, "seg")
        if labels:
            images = tuple(
                (_with_ending(folder, channel) or [folder / f"{folder.name}_{channel}.nii.gz"])[0]
                for channel in _BRATS_CHANNELS
            )
            yield Case(name=folder.name, images=images, label=labels[0], columns=_BRATS_CHANNELS)


def _with_ending(folder: Path, ending: str) -> list[Path]:
    return _scans(folder.glob(f"*_{ending}.nii*"), NIFTI)


def _find_lits(root: Path) -> Iterable[Case]:
    # The release splits its scans over folders (Training Batch 1 and 2), with labels beside the scans.
    for label in _scans(root.rglob("segmentation-*.nii*"), NIFTI):
        number = re.sub(r"^segmentation-|\.nii(\.gz)?$", "", label.name)
        found = _scans(root.rglob(f"volume-{number}.nii*"), NIFTI)
        image = found[0] if found else label.with_name(label.name.replace("segmentation", "volume"))
        yield Case(name=f"volume-{number}", images=(image,), label=label)


def _find_decathlon(root: Path) -> Iterable[Case]:
    path = root if root.is_file() else root / "dataset.json"
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))["training"]
        pairs = [(path.parent / item["image"], path.parent / item["label"]) for item in listed]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is not a Decathlon description ({error!r}); expected a list 'training' of pairs 'image', 'label'."
        ) from error
    for image, label in pairs:
        yield Case(name=case_name(image), images=(image,), label=label)


def _find_pairs(root: Path) -> Iterable[Case]:
    if root.is_file():
        yield from _read_csv(root)
        return
    folders = _pair_folders(root)
    if folders is None:
        raise InputError(f"{root} has no folders of images and labels ({_EXPECTED['pairs']}).")
    images, labels = folders
    for label in _scans(labels.iterdir()):
        exact = images / label.name
        name = case_name(label)
        # nnU-Net's way: one file a channel, NAME_0000.nii.gz, NAME_0001.nii.gz, ...
        channels = tuple(_scans(images.glob(f"{name}_[0-9][0-9][0-9][0-9].*")))
        yield Case(name=name, images=(exact,) if exact.exists() or not channels else channels, label=label)


def _pair_folders(root: Path) -> tuple[Path, Path] | None:
    for images, labels in (("images", "labels"), ("imagesTr", "labelsTr")):
        if (root / images).is_dir() and (root / labels).is_dir():
            return root / images, root / labels
    return None


def _read_csv(path: Path) -> Iterable[Case]:
    """Rows of a CSV file: ``label``, perhaps ``name``, and every other column an image, a channel each."""
    rows, header = _csv_rows(path)
    columns = [column for column in header if column not in ("name", "label")]
    if not rows or "label" not in header or not columns:
        raise InputError(
            f"{path} needs a header with a column 'label' and at least one image column, with commas between them, and "
            "rows below it."
        )
    for number, row in enumerate(rows, start=2):
        if None in row:
            raise InputError(
                f"{path}, line {number}: more fields than the header's {len(header)}; put a field that has a comma "
                "into quotation marks."
            )
        missing = [column for column in ("label", *columns) if not row.get(column)]
        if missing:
            raise InputError(f"{path}, line {number}: nothing under {', '.join(missing)}.")
        images = tuple(path.parent / row[column] for column in columns)
        yield Case(
            name=row.get("name") or case_name(path.parent / row["label"]),
            images=images,
            label=path.parent / row["label"],
            columns=tuple(columns),
        )


def _csv_rows(path: Path) -> tuple[list[dict[str | Any, str | Any]], list[str]]:
    """The rows and the header of a CSV file; spreadsheets put a byte order mark before it."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            return list(reader), list(reader.fieldnames or ())
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} isn't a CSV file in UTF-8 ({error}); save it as such.") from error


def case_name(path: Path) -> str:
    """A file's name without the suffixes of scans."""
    for suffix in SCAN_SUFFIXES:
        if path.name.endswith(suffix):
            return path.name[: -len(suffix)]
    return path.stem


LAYOUTS: dict[str, Callable[[Path], Iterable[Case]]] = {
    "brats": _find_brats,
    "lits": _find_lits,
    "decathlon": _find_decathlon,
    "pairs": _find_pairs,
}

_EXPECTED = {
    "brats": "a folder a case with CASE_flair, _t1, _t1ce, _t2 and _seg as .nii or .nii.gz",
    "lits": "volume-N.nii and segmentation-N.nii",
    "decathlon": "a dataset.json that lists training images and labels",
    "pairs": "folders images/ and labels/ with equal file names, or a CSV with columns image and label",
}
