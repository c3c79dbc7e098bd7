"""Owns what a file's reader hands on before it becomes a ``Volume``: the array with its axes sorted, and its place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.shapes import Affine, ScanData


@dataclass(frozen=True, slots=True, kw_only=True)
class RawImage:
    """What a file says: voxels (channels, i, j, k), float32, where they lie, how they were made; see ``Volume``."""

    data: ScanData
    affine: Affine
    affine_codes: tuple[int, int]
    modality: str = ""
    place_gap_mm: float = 0.0


def refuse_unusual_numbers(name: str, kind: np.dtype) -> None:
    """Let voxels of real numbers pass.

    Raises:
        InputError: The voxels are complex numbers, colours or anything else but one real number each.
    """
    if kind.kind == "c":
        raise InputError(f"{name} holds complex numbers, a scan has real ones; save its magnitude and use that.")
    if kind.fields:
        raise InputError(f"{name} is a colour image ({', '.join(kind.fields)}), a scan is grey; give the scan itself.")
    if kind.kind not in "biuf":
        raise InputError(f"{name} holds voxels of type {kind}, a scan has integers or floats; convert it first.")


def channels_first(name: str, array: np.ndarray) -> ScanData:
    """The voxels as (channels, i, j, k) of an array whose first three axes are i, j, k and whose last may be channels.

    Axes of length 1 beyond the third are dropped, and so is a first one in front of three longer axes: an array that
    was saved with its channel axis in front.

    Raises:
        InputError: There is no third axis, or there are two beyond it.
    """
    shape = array.shape
    if len(shape) == 4 and shape[0] == 1 and min(shape[1:]) > 1:
        array = array[0]
    trailing = tuple(axis for axis in range(3, array.ndim) if array.shape[axis] == 1)
    array = array.squeeze(axis=trailing)
    if array.ndim < 3:
        raise InputError(f"{name} has {array.ndim} axes {shape}, a scan has three; give a 3D image.")
    if array.ndim > 4:
        raise InputError(
            f"{name} has {array.ndim} axes {shape}, a scan has three and at most one of channels; split it first."
        )
    if array.ndim == 3:
        array = array[..., None]
    return np.moveaxis(array, -1, 0)
