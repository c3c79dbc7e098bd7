"""Owns what a DICOM file of many frames (enhanced CT, MR) says of each frame's place: its functional groups.

ITK stacks the frames as they come and takes 1 mm where they are unevenly spaced. pydicom, which reads the groups, comes
with the extra ``[dicom]`` and is imported inside the function that needs it.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.files.dicom_stack import SlicePlace

_SHARED, _PER_FRAME = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
_ANOTHER_WAY = "export it as single slices or as NIfTI"


def read_frame_places(file: Path, frame_count: int) -> list[SlicePlace]:
    """Where each frame of a file lies, in the order of its pixel data (DICOM PS3.3, C.7.6.16).

    Args:
        file: A DICOM file.
        frame_count: The frames that its pixel data has, two or more.

    Raises:
        InputError: pydicom is missing, a frame does not say where it lies, or ITK would rescale the frames wrongly.
    """
    try:
        import pydicom
    except ImportError as error:
        raise InputError(
            f"{file.name} has {frame_count} frames in one file, which needs pydicom, which is not installed: "
            'pip install "napari-ossnet[dicom]".'
        ) from error
    with warnings.catch_warnings():
        # As ITK's, pydicom's warnings stay off the console: what can't be used is refused.
        warnings.simplefilter("ignore", UserWarning)
        # ITK reads files without DICOM's mark, hence the force.
        header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=[_SHARED, _PER_FRAME], force=True)
        shared: Any = next(iter(header.get(_SHARED) or ()), {})
        frames = list(header.get(_PER_FRAME) or ())
        if len(frames) != frame_count:
            raise InputError(
                f"{file.name} has {frame_count} frames and says of {len(frames)} where they lie; {_ANOTHER_WAY}."
            )
        _refuse_several_scales(file.name, shared, frames)
        try:
            return [_place(frame, shared) for frame in frames]
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"The frames of {file.name} lack positions, orientation or pixel size ({error}); {_ANOTHER_WAY}."
            ) from error


def _place(frame: Any, shared: Any) -> SlicePlace:
    return SlicePlace(
        position=_numbers(frame, shared, "PlanePositionSequence", "ImagePositionPatient"),
        orientation=_numbers(frame, shared, "PlaneOrientationSequence", "ImageOrientationPatient"),
        pixel_spacing=_numbers(frame, shared, "PixelMeasuresSequence", "PixelSpacing"),
    )


def _numbers(frame: Any, shared: Any, sequence: str, keyword: str) -> tuple[float, ...]:
    """A value of a frame's own groups, or else of those that all frames share."""
    for groups in (frame, shared):
        for item in groups.get(sequence) or ():
            if item.get(keyword):
                return tuple(float(number) for number in item.get(keyword))
    raise KeyError(keyword)


def _refuse_several_scales(name: str, shared: Any, frames: list[Any]) -> None:
    """Let frames pass that are rescaled alike: ITK takes one slope, the shared or the first frame's, for all."""
    common = _scale(shared)
    scales = {_scale(frame) or common or (1.0, 0.0) for frame in frames}
    if len(scales | {common or next(iter(scales))}) > 1:
        raise InputError(f"The frames of {name} are not rescaled alike (slopes and intercepts); {_ANOTHER_WAY}.")


def _scale(groups: Any) -> tuple[float, float] | None:
    for item in groups.get("PixelValueTransformationSequence") or ():
        return float(item.get("RescaleSlope") or 1), float(item.get("RescaleIntercept") or 0)
    return None
