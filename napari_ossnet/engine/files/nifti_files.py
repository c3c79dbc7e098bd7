"""Owns reading and writing what nibabel knows: NIfTI, its header and image pairs, and FreeSurfer's MGH and MGZ."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import numpy as np

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.files.raw_image import RawImage, channels_first, refuse_unusual_numbers
from napari_ossnet.engine.geometry import is_sheared, voxel_to_world
from napari_ossnet.engine.shapes import Affine

#: What this module reads and writes, longest first so that the first match is the whole suffix.
SUFFIXES = (".nii.gz", ".nii", ".mgz", ".mgh", ".hdr", ".img")
_PACKED = (".nii.gz", ".mgz")
#: Packed ones, which are read to their end, and MGH, whose file nibabel forgets to close.
_OPENED_HERE = (*_PACKED, ".mgh")
#: The bits of NIfTI's ``xyzt_units`` that are about space, and its metres (1) and microns (3); 2 is millimetres.
_SPACE_UNITS = 0b111
_MM_PER_UNIT = {1: 1e3, 3: 1e-3}
#: Bytes that are unpacked at once on the way to the end of a packed file.
_PIECE = 1 << 20


def read_nifti(path: Path) -> RawImage:
    """The image in a file that nibabel reads, as float32 with its scale factors applied.

    Raises:
        InputError: The file is damaged, cut short, has no voxels, or its voxels are no real numbers.
    """
    try:
        import nibabel as nib

        with _quiet_nibabel():
            if path.name.lower().endswith(_OPENED_HERE):
                return _read_opened(path)
            return _raw_image(path, nib.load(path))
    except FileNotFoundError as error:
        missing = Path(error.filename or path).name
        raise InputError(f"{path.name} has no voxels: {missing} is missing; put the two side by side.") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path.name} is cut short or damaged ({error}); copy or download it again.") from error
    except InputError:
        raise
    except _unreadable_errors() as error:
        raise InputError(
            f"{path.name} can't be read ({_first_line(error)}); check that it is a whole image."
        ) from error


@contextmanager
def _quiet_nibabel() -> Iterator[None]:
    """Keep nibabel from telling the console how it repairs odd headers, where only our own sentences belong.

    Its own ``LoggingOutputSuppressor`` takes its handlers away for good, and then Python prints the remarks instead.
    """
    from nibabel.imageglobals import logger

    was_disabled, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = was_disabled


def _read_opened(path: Path) -> RawImage:
    """Read a file to its very end: only there does gzip notice that the last bytes are missing or wrong."""
    import nibabel as nib
    from nibabel.fileholders import FileHolder

    name = path.name.lower()
    kind = nib.MGHImage if name.endswith((".mgz", ".mgh")) else nib.Nifti1Image
    with gzip.open(path, "rb") if name.endswith(_PACKED) else path.open("rb") as file:
        if kind is nib.Nifti1Image and _is_nifti2(file):
            kind = nib.Nifti2Image
        raw = _raw_image(path, kind.from_file_map({"image": FileHolder(fileobj=file)}))
        while file.read(_PIECE):
            pass
    return raw


def _is_nifti2(file: BufferedIOBase) -> bool:
    size = file.read(4)
    file.seek(0)
    return 540 in (int.from_bytes(size, "little"), int.from_bytes(size, "big"))


def _raw_image(path: Path, image: Any) -> RawImage:
    import nibabel as nib

    refuse_unusual_numbers(path.name, image.get_data_dtype())
    # What overflows becomes infinite, and is refused as such where the scan is prepared.
    with np.errstate(over="ignore"):
        array = np.asanyarray(image.dataobj, dtype=np.float32)
    data = np.ascontiguousarray(channels_first(path.name, array))
    header, affine = image.header, np.array(image.affine, dtype=np.float64)
    gap_mm = 0.0
    if "qform_code" in header:
        codes = (int(header["qform_code"]), int(header["sform_code"]))
        # nibabel leaves the numbers as they are; ITK, hence Slicer, reads metres and microns as millimetres too.
        mm_per_unit = _MM_PER_UNIT.get(int(header["xyzt_units"]) & _SPACE_UNITS, 1.0)
        affine[:3] *= mm_per_unit
        if all(codes):
            gap_mm = mm_per_unit * _gap_of_forms(image, data.shape[1:])
    else:
        # MGH says where its voxels lie; Analyze, the other one, does not, and which side is left is nibabel's guess.
        codes = (1, 1) if isinstance(image, nib.MGHImage) else (0, 0)
    return RawImage(data=data, affine=affine, affine_codes=codes, place_gap_mm=gap_mm)


def _gap_of_forms(image: Any, shape: tuple[int, ...]) -> float:
    """How far apart qform and sform place a corner voxel at most, in the file's unit; 0 where the qform is none."""
    from nibabel.spatialimages import HeaderDataError

    try:
        forms = image.get_qform(), image.get_sform()
    except HeaderDataError:
        return 0.0
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(shape) - 1)
    one, other = (voxel_to_world(form, corners) for form in forms)
    return float(np.linalg.norm(one - other, axis=1).max())


def write_nifti(path: Path, target: Path, array: np.ndarray, affine: Affine, codes: tuple[int, int]) -> None:
    """Write an array (i, j, k) or (i, j, k, channels) to ``path`` in the format that the name of ``target`` asks for.

    The qform and sform codes are kept even where they are 0. Where the scan's two forms agree, its mask lies on it in
    every program, whichever of the two it prefers; where they differ, both of the mask's say what its sform says. A
    sheared affine, of a tilted CT, has an sform alone: a qform can't hold it.
    """
    import nibabel as nib

    if target.name.lower().endswith((".mgz", ".mgh")):
        nib.save(nib.MGHImage(array, affine), path)
        return
    image = nib.Nifti1Image(array, affine)
    if is_sheared(affine):
        codes = (0, max(codes[1], 1))
    image.set_qform(affine, codes[0])
    image.set_sform(affine, codes[1])
    if not np.allclose(image.header.get_best_affine(), affine, atol=1e-3):
        # A finer region of a scan whose header says nothing of its place: only an sform can hold where it lies.
        image.set_sform(affine, max(codes[1], 1))
    image.header.set_xyzt_units("mm")
    nib.save(image, path)


def _unreadable_errors() -> tuple[type[Exception], ...]:
    """What damaged files raise on their way through nibabel: its own errors, and those of what it calls."""
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError
    from nibabel.wrapstruct import WrapStructError

    own = (ImageFileError, HeaderDataError, WrapStructError)
    return *own, OSError, ValueError, KeyError, TypeError, OverflowError, MemoryError


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
