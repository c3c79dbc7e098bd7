"""Owns reading and writing what SimpleITK knows (NRRD, MetaImage, DICOM series), and with it the step from LPS to RAS.

SimpleITK comes with the extra ``[io]`` and is imported inside the functions that need it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.files.dicom_frames import read_frame_places
from napari_ossnet.engine.files.dicom_stack import SlicePlace, order_along_normal, stack_affine
from napari_ossnet.engine.files.raw_image import RawImage, refuse_unusual_numbers
from napari_ossnet.engine.shapes import Affine

SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")
#: Suffixes that can be written in one file, and therefore atomically.
WRITABLE_SUFFIXES = (".nrrd", ".mha")
#: ITK's world axes point to the patient's left, back and head; ours to the right, front and head. This is the only
#: place of the engine where the two meet.
_RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
#: Series of fewer files are taken only if there is no longer one.
_LEAST_SLICES = 8

_POSITION, _ORIENTATION, _PIXEL_SPACING, _MODALITY = "0020|0032", "0020|0037", "0028|0030", "0008|0060"


def read_itk(path: Path) -> RawImage:
    """The image in an NRRD or MetaImage file.

    Raises:
        InputError: SimpleITK is missing, the file is damaged, or its voxels are no real numbers in three dimensions.
    """
    # By name, because ITK looks for a suffix in small letters.
    kind = "MetaImageIO" if path.suffix.lower() in (".mha", ".mhd") else "NrrdImageIO"
    with _quiet_sitk(path) as sitk:
        return _raw_image(path, sitk.ReadImage(str(path), imageIO=kind))


def read_dicom_folder(folder: Path) -> RawImage:
    """The one DICOM series in a folder.

    Raises:
        InputError: SimpleITK is missing, the folder has no series or several, or the series is incomplete; or it is one
            file of many frames, and pydicom is missing or the file does not say where they lie.
    """
    with _quiet_sitk(folder) as sitk:
        return _read_series(folder, sitk, _series_in_folder(sitk, folder))


def read_dicom_file(path: Path) -> RawImage:
    """The DICOM series that a file belongs to, from the folder that the file is in; many frames in a file are a series.

    Raises:
        InputError: SimpleITK is missing, the file is no DICOM image, or its series is incomplete; or it has many
            frames, and pydicom is missing or the file does not say where they lie.
    """
    with _quiet_sitk(path) as sitk:
        return _read_series(path, sitk, _series_of_file(sitk, path))


def dicom_files(source: Path) -> tuple[Path, ...]:
    """The files of the series that reading a folder or one of its files takes, in the order of the slices.

    Raises:
        InputError: SimpleITK is missing, the file is no DICOM image, or the folder has no series or several.
    """
    with _quiet_sitk(source) as sitk:
        names = _series_in_folder(sitk, source) if source.is_dir() else _series_of_file(sitk, source)
        return tuple(map(Path, names))


def count_frames(path: Path) -> int:
    """How many slices one DICOM file holds.

    Raises:
        InputError: SimpleITK is missing or the file is no DICOM image.
    """
    with _quiet_sitk(path) as sitk:
        return _header(sitk, str(path)).frames


def write_itk(path: Path, target: Path, array: np.ndarray, affine: Affine) -> None:
    """Write an array (i, j, k) or (i, j, k, channels) to ``path``, compressed, on its way to ``target``.

    Raises:
        InputError: SimpleITK is missing or can't write this.
    """
    with _quiet_sitk(target) as sitk:
        lps = _RAS_FROM_LPS @ affine
        spacing = np.sqrt((lps[:3, :3] ** 2).sum(axis=0))
        # ITK's arrays have the fastest axis last.
        image = sitk.GetImageFromArray(np.swapaxes(array, 0, 2), isVector=array.ndim == 4)
        image.SetSpacing(spacing.tolist())
        image.SetOrigin(lps[:3, 3].tolist())
        image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
        sitk.WriteImage(image, str(path), useCompression=True)


def is_dicom(path: Path) -> bool:
    """Whether a file bears DICOM's mark, ``DICM`` after a preamble of 128 bytes.

    Raises:
        InputError: The file can't be opened.
    """
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError as error:
        raise InputError(f"{path.name} can't be read ({error.strerror}); check that you may open it.") from error


@contextmanager
def _quiet_sitk(path: Path) -> Iterator[Any]:
    """SimpleITK with its warnings off the console and its errors as one sentence."""
    try:
        import SimpleITK
    except ImportError as error:
        raise InputError(
            f'{path.name} needs SimpleITK, which is not installed: pip install "napari-ossnet[io]".'
        ) from error
    loudness = SimpleITK.ProcessObject
    was_loud = loudness.GetGlobalWarningDisplay()
    loudness.SetGlobalWarningDisplay(False)
    try:
        yield SimpleITK
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip().rstrip(".")
        raise InputError(f"SimpleITK can't use {path.name} ({reason}); check that it is a whole image.") from error
    finally:
        loudness.SetGlobalWarningDisplay(was_loud)


def _raw_image(path: Path, image: Any) -> RawImage:
    affine = np.eye(4)
    if image.GetDimension() not in (3, 4):
        raise InputError(f"{path.name} has {image.GetDimension()} axes, a scan has three; give a 3D image.")
    count = image.GetDimension()
    direction = np.array(image.GetDirection()).reshape(count, count)
    affine[:3, :3] = direction[:3, :3] * np.array(image.GetSpacing())[:3]
    affine[:3, 3] = image.GetOrigin()[:3]
    modality = image.GetMetaData(_MODALITY).strip() if image.HasMetaDataKey(_MODALITY) else ""
    # An NRRD without a space says nothing of its place: ITK's axes and its spacing of 1 mm are then a guess.
    is_lost = path.name.lower().endswith((".nrrd", ".nhdr")) and not image.HasMetaDataKey("NRRD_space")
    return RawImage(
        data=_channels_first(path, image),
        affine=_RAS_FROM_LPS @ affine,
        affine_codes=(0, 0) if is_lost else (1, 1),
        modality=modality,
    )


def _channels_first(path: Path, image: Any) -> np.ndarray:
    """Voxels (channels, i, j, k): ITK's arrays are (k, j, i), a fourth axis comes first and vectors come last."""
    import SimpleITK

    array = SimpleITK.GetArrayViewFromImage(image)
    refuse_unusual_numbers(path.name, array.dtype)
    is_vector = image.GetNumberOfComponentsPerPixel() > 1
    if image.GetDimension() == 4:
        if is_vector:
            raise InputError(f"{path.name} has four axes of vectors, a scan has three; split it first.")
        channels = array
    else:
        channels = np.moveaxis(array, -1, 0) if is_vector else array[None]
    return np.ascontiguousarray(channels.transpose(0, 3, 2, 1), dtype=np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Header:
    """What SimpleITK says of a DICOM file without its pixels: its tags, its slices, and the type of its values."""

    tags: dict[str, str]
    frames: int
    pixel_type: int
    is_vector: bool

    @property
    def modality(self) -> str:
        return self.tags.get(_MODALITY, "")


def _header(sitk: Any, file: str) -> _Header:
    reader = sitk.ImageFileReader()
    reader.SetFileName(file)
    reader.ReadImageInformation()
    keys = (_POSITION, _ORIENTATION, _PIXEL_SPACING, _MODALITY)
    size = reader.GetSize()
    return _Header(
        tags={key: reader.GetMetaData(key).strip() for key in keys if reader.HasMetaDataKey(key)},
        frames=size[2] if len(size) > 2 else 1,
        pixel_type=reader.GetPixelID(),
        is_vector=reader.GetNumberOfComponents() > 1,
    )


def _series_in_folder(sitk: Any, folder: Path) -> tuple[str, ...]:
    series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    if not series:
        raise InputError(f"The folder {folder} holds no DICOM series; give an image file or a folder of slices.")
    files = [sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), name) for name in series]
    # Localisers and structure sets often lie beside the scan; they are no stacks of slices.
    files = [names for names in files if len(names) >= _LEAST_SLICES] or files
    if len(files) > 1:
        examples = ", ".join(f"{Path(names[0]).name} ({len(names)} files)" for names in files)
        raise InputError(
            f"The folder {folder} holds {len(files)} DICOM series, expected one; name a file of the one you want: "
            f"{examples}."
        )
    return files[0]


def _series_of_file(sitk: Any, path: Path) -> tuple[str, ...]:
    if _header(sitk, str(path)).frames > 1:
        return (str(path),)
    for name in sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(path.parent)):
        files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(path.parent), name)
        if any(Path(file).name == path.name for file in files):
            return files
    return (str(path),)


def _read_series(path: Path, sitk: Any, files: tuple[str, ...]) -> RawImage:
    headers = [_header(sitk, file) for file in files]
    if len(files) == 1:
        return _read_one(path, sitk, files[0], headers[0])
    many = [file for file, header in zip(files, headers, strict=True) if header.frames > 1]
    if many:
        raise InputError(
            f"The DICOM series of {path.name} has {len(files)} files, and {Path(many[0]).name} alone has several "
            "slices; name the one file you want, or export the series as single slices."
        )
    affine = stack_affine(path.name, _slice_places(path, headers))
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(files)
    if len({header.pixel_type for header in headers}) > 1 and not any(header.is_vector for header in headers):
        # A slope of its own gives each file a type of its own, and ITK would press all into that of the first.
        reader.SetOutputPixelType(sitk.sitkFloat32)
    return RawImage(
        data=_channels_first(path, reader.Execute()),
        affine=_RAS_FROM_LPS @ affine,
        affine_codes=(1, 1),
        modality=headers[0].modality,
    )


def _read_one(path: Path, sitk: Any, file: str, header: _Header) -> RawImage:
    if header.frames == 1:
        return _raw_image(path, sitk.ReadImage(file))
    places = read_frame_places(Path(file), header.frames)
    order = order_along_normal(places)
    affine = stack_affine(Path(file).name, [places[index] for index in order])
    data = _channels_first(path, sitk.ReadImage(file))
    return RawImage(
        data=data if (np.diff(order) == 1).all() else np.take(data, order, axis=-1),
        affine=_RAS_FROM_LPS @ affine,
        affine_codes=(1, 1),
        modality=header.modality,
    )


def _slice_places(path: Path, headers: list[_Header]) -> list[SlicePlace]:
    try:
        return [
            SlicePlace(
                position=_numbers(header.tags[_POSITION]),
                orientation=_numbers(header.tags[_ORIENTATION]),
                pixel_spacing=_numbers(header.tags[_PIXEL_SPACING]),
            )
            for header in headers
        ]
    except (KeyError, ValueError) as error:
        raise InputError(
            f"The DICOM series of {path.name} lacks positions, orientation or pixel size ({error}); export it again."
        ) from error


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(number) for number in text.split("\\"))
