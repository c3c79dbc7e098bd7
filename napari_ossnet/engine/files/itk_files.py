"""Owns reading and writing what SimpleITK knows (NRRD, MetaImage, DICOM series), and with it the step from LPS to RAS.

SimpleITK comes with the extra ``[io]`` and is imported inside the functions that need it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from napari_ossnet.engine.errors import InputError
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
#: Slices may be off their even spacing by this share of it.
_UNEVEN = 0.05

_POSITION, _ORIENTATION, _PIXEL_SPACING, _MODALITY = "0020|0032", "0020|0037", "0028|0030", "0008|0060"


def read_itk(path: Path) -> RawImage:
    """The image in an NRRD or MetaImage file.

    Raises:
        InputError: SimpleITK is missing, the file is damaged, or its voxels are no real numbers in three dimensions.
    """
    with _quiet_sitk(path) as sitk:
        return _raw_image(path, sitk.ReadImage(str(path)))


def read_dicom_folder(folder: Path) -> RawImage:
    """The one DICOM series in a folder.

    Raises:
        InputError: SimpleITK is missing, the folder has no series or several, or the series is incomplete.
    """
    with _quiet_sitk(folder) as sitk:
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
        return _read_series(folder, sitk, files[0])


def read_dicom_file(path: Path) -> RawImage:
    """The DICOM series that a file belongs to, from the folder that the file is in.

    Raises:
        InputError: SimpleITK is missing, the file is no DICOM image, or its series is incomplete.
    """
    with _quiet_sitk(path) as sitk:
        for name in sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(path.parent)):
            files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(path.parent), name)
            if any(Path(file).name == path.name for file in files):
                return _read_series(path, sitk, files)
        return _raw_image(path, sitk.ReadImage(str(path)))


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


def _read_series(path: Path, sitk: Any, files: tuple[str, ...]) -> RawImage:
    if len(files) == 1:
        return _raw_image(path, sitk.ReadImage(files[0]))
    headers = [_header(sitk, file) for file in files]
    affine = _series_affine(path, headers)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(files)
    return RawImage(
        data=_channels_first(path, reader.Execute()),
        affine=_RAS_FROM_LPS @ affine,
        affine_codes=(1, 1),
        modality=headers[0].get(_MODALITY, ""),
    )


def _header(sitk: Any, file: str) -> dict[str, str]:
    reader = sitk.ImageFileReader()
    reader.SetFileName(file)
    reader.ReadImageInformation()
    keys = (_POSITION, _ORIENTATION, _PIXEL_SPACING, _MODALITY)
    return {key: reader.GetMetaData(key).strip() for key in keys if reader.HasMetaDataKey(key)}


def _series_affine(path: Path, headers: list[dict[str, str]]) -> Affine:
    """Voxel index to LPS mm from the slices' own positions (DICOM PS3.3, C.7.6.2.1.1).

    From the positions rather than from ITK, which squares up the stack of a tilted gantry.
    """
    try:
        positions = np.array([_numbers(header[_POSITION]) for header in headers])
        across, down = np.split(np.array(_numbers(headers[0][_ORIENTATION])), 2)
        row_distance, column_distance = _numbers(headers[0][_PIXEL_SPACING])
    except (KeyError, ValueError) as error:
        raise InputError(
            f"The DICOM series of {path.name} lacks positions, orientation or pixel size ({error}); export it again."
        ) from error
    steps = np.diff(positions, axis=0)
    mean = steps.mean(axis=0)
    gaps = np.sqrt((steps**2).sum(axis=1))
    if np.sqrt(((steps - mean) ** 2).sum(axis=1)).max() > _UNEVEN * np.sqrt((mean**2).sum()):
        raise InputError(
            f"The slices of {path.name} are not evenly spaced ({gaps.min():.2f} to {gaps.max():.2f} mm): slices are "
            "missing or two series are mixed; export the series again."
        )
    affine = np.eye(4)
    affine[:3, 0] = across * column_distance
    affine[:3, 1] = down * row_distance
    affine[:3, 2] = mean
    affine[:3, 3] = positions[0]
    return affine


def _numbers(text: str) -> list[float]:
    return [float(number) for number in text.split("\\")]
