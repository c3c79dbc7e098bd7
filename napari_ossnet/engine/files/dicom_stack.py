"""Owns where a stack of DICOM slices lies, whether they are the files of a series or the frames of one file, in LPS mm.

From the slices' own positions rather than from ITK, which squares up the stack of a tilted gantry and knows no gaps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.shapes import Affine

#: Slices may be off their even spacing by this share of it.
_UNEVEN = 0.05
#: Direction cosines, and pixel sizes as shares of each other, may differ by this much: some are written with three
#: decimals only.
_ROUNDING = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class SlicePlace:
    """What a header says of where its slice lies (DICOM PS3.3, C.7.6.2).

    Attributes:
        position: The centre of the first pixel, (x, y, z) in LPS mm.
        orientation: The unit vectors along the rows and down the columns, six numbers in LPS.
        pixel_spacing: The distances of rows and of columns, in mm.
    """

    position: tuple[float, ...]
    orientation: tuple[float, ...]
    pixel_spacing: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse what is no place.

        Raises:
            ValueError: There are more numbers or fewer.
        """
        counts = (len(self.position), len(self.orientation), len(self.pixel_spacing))
        if counts != (3, 6, 2):
            raise ValueError(f"{counts} numbers, expected (3, 6, 2)")


def order_along_normal(places: Sequence[SlicePlace]) -> np.ndarray:
    """The indices (slices,) of the slices in the order in which they lie along the normal of the first."""
    across, down = np.split(np.array(places[0].orientation), 2)
    heights = np.array([place.position for place in places]) @ np.cross(across, down)
    return np.argsort(heights, kind="stable")


def stack_affine(name: str, places: Sequence[SlicePlace]) -> Affine:
    """Voxel index to LPS mm of two slices or more in their order (DICOM PS3.3, C.7.6.2.1.1).

    Raises:
        InputError: The slices are no one stack: they are not parallel, of different pixel sizes, several at one
            position, or not evenly spaced.
    """
    _refuse_unlike(name, places)
    positions = np.array([place.position for place in places])
    step = _even_step(name, positions)
    across, down = np.split(np.array(places[0].orientation), 2)
    row_distance, column_distance = places[0].pixel_spacing
    affine = np.eye(4)
    affine[:3, 0] = across * column_distance
    affine[:3, 1] = down * row_distance
    affine[:3, 2] = step
    affine[:3, 3] = positions[0]
    return affine


def _refuse_unlike(name: str, places: Sequence[SlicePlace]) -> None:
    orientations = np.array([place.orientation for place in places])
    turn = np.abs(orientations - orientations[0]).max()
    if turn > _ROUNDING:
        raise InputError(
            f"The slices of {name} are not parallel (their directions differ by up to {turn:.3f}): two series are "
            "mixed; export the series again."
        )
    spacings = np.array([place.pixel_spacing for place in places])
    if np.abs(spacings - spacings[0]).max() > _ROUNDING * spacings[0].min():
        raise InputError(
            f"The slices of {name} differ in pixel size ({spacings.min():.3f} to {spacings.max():.3f} mm): two series "
            "are mixed; export the series again."
        )


def _even_step(name: str, positions: np.ndarray) -> np.ndarray:
    """The step (3,) from slice to slice, in mm."""
    different = len(np.unique(positions, axis=0))
    if different < len(positions):
        raise InputError(
            f"{name} has {len(positions)} slices at {different} positions: several volumes, such as times or echoes, "
            "are in it; export them one by one."
        )
    steps = np.diff(positions, axis=0)
    mean = steps.mean(axis=0)
    gaps = np.sqrt((steps**2).sum(axis=1))
    if np.sqrt(((steps - mean) ** 2).sum(axis=1)).max() > _UNEVEN * np.sqrt((mean**2).sum()):
        raise InputError(
            f"The slices of {name} are not evenly spaced ({gaps.min():.2f} to {gaps.max():.2f} mm): slices are "
            "missing or two series are mixed; export the series again."
        )
    return mean
