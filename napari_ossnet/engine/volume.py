"""Owns the scan as a value, and is the door to reading and writing it: a file's name or a folder decides the reader."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from napari_ossnet.engine.errors import InputError, OutputError
from napari_ossnet.engine.files import itk_files, nifti_files
from napari_ossnet.engine.files.atomic import atomic_path
from napari_ossnet.engine.files.raw_image import RawImage
from napari_ossnet.engine.geometry import axis_codes_of, refuse_unusable_affine, spacing_of
from napari_ossnet.engine.shapes import Affine, LabelMap, ScanData

#: What an image file may be called, for file dialogs; beside them folders of DICOM slices and single ``.dcm`` files.
READABLE_SUFFIXES = (*nifti_files.SUFFIXES, *itk_files.SUFFIXES, ".dcm")
#: What a mask or a float volume may be called.
WRITABLE_SUFFIXES = (".nii.gz", ".nii", ".mgz", ".mgh", *itk_files.WRITABLE_SUFFIXES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A scan in its own voxel grid.

    Attributes:
        data: Voxels, float32 (channels, i, j, k), in the axis order of the file.
        affine: Voxel index to world position, RAS+ mm, float64.
        channel_names: One name a channel.
        sources: The files that it was read from.
        affine_codes: The qform and sform codes of NIfTI, which masks keep; (1, 1) where the format has none, and
            (0, 0) where the file says nothing of its place.
        place_gap_mm: How far apart qform and sform of a NIfTI place a corner where it states both; ``affine`` is then
            the sform's.
        modality: What DICOM says of how the scan was made, ``CT`` or ``MR``; empty where the format has no such mark.
    """

    data: ScanData
    affine: Affine
    channel_names: tuple[str, ...]
    sources: tuple[Path, ...] = ()
    affine_codes: tuple[int, int] = (1, 1)
    modality: str = ""
    place_gap_mm: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what no scan can be.

        Raises:
            InputError: Voxels are not float32 (channels, i, j, k), a name is missing, or the affine is no affine.
        """
        if self.data.ndim != 4 or self.data.dtype != np.float32 or self.data.size == 0:
            raise InputError(
                f"A scan is float32 (channels, i, j, k) with at least one voxel, got {self.data.dtype} "
                f"{self.data.shape}; convert it first."
            )
        if len(self.channel_names) != self.data.shape[0]:
            raise InputError(
                f"A scan of {self.data.shape[0]} channels needs as many names, got {self.channel_names}; name each."
            )
        refuse_unusable_affine(self.affine)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along i, j, k."""
        _, i, j, k = self.data.shape
        return i, j, k

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along i, j, k."""
        return spacing_of(self.affine)

    @property
    def axis_codes(self) -> str:
        """Where i, j, k point, e.g. ``LPS``."""
        return axis_codes_of(self.affine)


@runtime_checkable
class Placed(Protocol):
    """Whatever lies in the world as a scan does: a ``Volume``, a ``Segmentation``."""

    @property
    def affine(self) -> Affine:
        """Voxel index to RAS+ mm."""

    @property
    def affine_codes(self) -> tuple[int, int]:
        """The qform and sform codes of NIfTI."""


def read_volume(path: str | Path) -> Volume:
    """The scan in a file or in a folder of DICOM slices; a single slice stands for its series.

    Raises:
        InputError: The file is missing, damaged, of a kind that isn't known, or no 3D image of real numbers.
    """
    path = Path(path)
    try:
        if not path.exists():
            raise InputError(f"There is no file {path}; check its name.")
        raw = _read(path)
    except PermissionError as error:
        raise InputError(f"{path} can't be opened ({error.strerror}); check that you may read it.") from error
    name = stem_of(path)
    count = raw.data.shape[0]
    names = (name,) if count == 1 else tuple(f"{name} {channel}" for channel in range(count))
    return Volume(
        data=raw.data,
        affine=raw.affine,
        channel_names=names,
        sources=(path,),
        affine_codes=raw.affine_codes,
        modality=raw.modality,
        place_gap_mm=raw.place_gap_mm,
    )


def write_mask(path: str | Path, labels: LabelMap, like: Placed | tuple[Affine, tuple[int, int]]) -> None:
    """Write a mask (i, j, k) as uint8, in the place of ``like``, in the format that the suffix asks for.

    Args:
        path: One of ``WRITABLE_SUFFIXES``; ``.nii.gz`` is the usual one.
        labels: Labels in the axis order of ``like``.
        like: What the mask belongs to, or an affine with its qform and sform codes.

    Raises:
        OutputError: The file can't be written there, or not in this format.
    """
    _write(Path(path), np.asarray(labels, dtype=np.uint8), like)


def write_volume(path: str | Path, data: np.ndarray, like: Placed | tuple[Affine, tuple[int, int]]) -> None:
    """Write float32 voxels, (i, j, k) or (channels, i, j, k), in the place of ``like``; channels become the last axis.

    Raises:
        OutputError: The file can't be written there, or not in this format.
    """
    array = np.asarray(data, dtype=np.float32)
    _write(Path(path), np.moveaxis(array, 0, -1) if array.ndim == 4 else array, like)


def refuse_unknown_output(path: str | Path) -> None:
    """Let a name pass that ``write_mask`` and ``write_volume`` can write, before any long work.

    Raises:
        OutputError: The suffix names no format that can be written.
    """
    if not Path(path).name.lower().endswith(WRITABLE_SUFFIXES):
        raise OutputError(f"Can't write {path}: its name must end in one of {', '.join(WRITABLE_SUFFIXES)}.")


def stem_of(path: str | Path) -> str:
    """The name of a file without its folder and without the suffix of any format known here."""
    name = Path(path).name
    suffix = next((suffix for suffix in READABLE_SUFFIXES if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(suffix)] or name


def _read(path: Path) -> RawImage:
    name = path.name.lower()
    if path.is_dir():
        # ITK finds nothing in a folder that it may not look into, and doesn't say why.
        next(path.iterdir(), None)
        return itk_files.read_dicom_folder(path)
    if name.endswith(nifti_files.SUFFIXES):
        return nifti_files.read_nifti(path)
    if name.endswith(itk_files.SUFFIXES):
        return itk_files.read_itk(path)
    if name.endswith(".dcm") or itk_files.is_dicom(path):
        return itk_files.read_dicom_file(path)
    raise InputError(
        f"{path.name} is of no known kind; give a file that ends in {', '.join(READABLE_SUFFIXES)}, or a DICOM folder."
    )


def _write(path: Path, array: np.ndarray, like: Placed | tuple[Affine, tuple[int, int]]) -> None:
    refuse_unknown_output(path)
    affine, codes = like if isinstance(like, tuple) else (like.affine, like.affine_codes)
    with atomic_path(path) as temporary:
        if path.name.lower().endswith(itk_files.WRITABLE_SUFFIXES):
            try:
                itk_files.write_itk(temporary, path, array, affine)
            except InputError as error:
                raise OutputError(str(error)) from error
        else:
            nifti_files.write_nifti(temporary, path, array, affine, codes)
