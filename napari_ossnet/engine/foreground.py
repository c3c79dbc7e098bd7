"""Owns what counts as foreground in a scan, whatever value its background has, and where it lies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.shapes import ScanData

#: A voxel stands out from the background by more than this share of the channel's range ...
_CONTRAST = 0.05
#: ... and by more than this many standard deviations of the background's noise. Magnitude MR noise is Rayleigh
#: distributed; six (robustly estimated) deviations leave about one noise voxel in a million.
_NOISE_DEVIATIONS = 6.0
#: Share of the foreground that may be cut off on either side of an axis: stray voxels don't move the centre.
_STRAY_SHARE = 1e-3
#: Fewer foreground voxels than this share of the scan are no anatomy.
_LEAST_SHARE = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreground:
    """Where the foreground lies: a half-open box of voxels, and the background's value in each channel."""

    start: tuple[int, int, int]
    stop: tuple[int, int, int]
    background: tuple[float, ...]


def find_foreground(data: ScanData) -> Foreground:
    """The foreground of a scan: what stands out from the faces of the volume in any channel.

    The median of the six faces is the background: 0 in a skull-stripped scan, air in others, whatever the offset.
    Where the faces show tissue (a tight crop), no background can be told and the whole volume is foreground.

    Raises:
        InputError: Nothing stands out.
    """
    background = tuple(float(np.median(_faces(channel))) for channel in data)
    standing_out = np.zeros(data.shape[1:], dtype=bool)
    for channel, level in zip(data, background, strict=True):
        standing_out |= _standing_out(channel, level)
    count = int(standing_out.sum())
    if count < _LEAST_SHARE * standing_out.size:
        raise InputError(
            f"The scan is empty: only {count} of {standing_out.size} voxels differ from its background; "
            "give a scan that shows anatomy."
        )
    bounds = [_bounds(standing_out.sum(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    i, j, k = bounds
    return Foreground(start=(i[0], j[0], k[0]), stop=(i[1], j[1], k[1]), background=background)


def _standing_out(channel: np.ndarray, level: float) -> np.ndarray:
    faces = _faces(channel)
    noise = 1.4826 * float(np.median(np.abs(faces - level)))  # the median deviation of a normal distribution
    low, high = np.percentile(channel[::2, ::2, ::2], (0.5, 99.5))
    least = max(_CONTRAST * max(float(high) - level, level - float(low)), _NOISE_DEVIATIONS * noise)
    return np.asarray(np.abs(channel - np.float32(level)) > least)


def _faces(channel: np.ndarray) -> np.ndarray:
    faces = [channel.take(index, axis=axis).ravel() for axis in range(3) for index in (0, -1)]
    return np.concatenate(faces)


def _bounds(profile: np.ndarray) -> tuple[int, int]:
    """First slice and one past the last that hold all of the profile but the stray share at either end."""
    reached = np.cumsum(profile) / profile.sum()
    return int(np.searchsorted(reached, _STRAY_SHARE, side="right")), int(
        np.searchsorted(reached, 1 - _STRAY_SHARE, side="left") + 1
    )
