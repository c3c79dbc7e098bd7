"""Owns what counts as foreground in a scan, whatever value its background has, and where it lies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.scans.channels import for_each_channel
from napari_ossnet.engine.shapes import ScanData

#: A voxel stands out from the background by more than this share of the channel's range ...
_CONTRAST = 0.05
#: ... and by more than this many standard deviations of the background's noise. Magnitude MR noise is Rayleigh
#: distributed; six (robustly estimated) deviations leave about one noise voxel in a million.
_NOISE_DEVIATIONS = 6.0
#: Faces whose noise, so widened, exceeds this share of the channel's range are not blank.
_BLANK_SHARE = 0.6
#: Share of the foreground that may be cut off on either side of an axis: stray voxels don't move the centre.
_STRAY_SHARE = 1e-3
#: Fewer foreground voxels than this share of the scan are no anatomy.
_LEAST_SHARE = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreground:
    """Where the foreground lies: a half-open box of voxels, how many there are, and the background in each channel."""

    start: tuple[int, int, int]
    stop: tuple[int, int, int]
    voxels: int
    background: tuple[float, ...]


def find_foreground(data: ScanData) -> Foreground:
    """The foreground of a scan: what stands out from the faces of the volume in any channel.

    The median of the six faces is the background: 0 in a skull-stripped scan, air in others, whatever the offset.
    Where the faces show tissue (a tight crop), no background can be told and the whole volume is foreground.

    Raises:
        InputError: Nothing stands out.
    """
    parts = for_each_channel(_standing_out, list(data))
    standing_out = np.logical_or.reduce([mask for mask, _ in parts])
    background = tuple(level for _, level in parts)
    count = int(standing_out.sum())
    if count < _LEAST_SHARE * standing_out.size:
        raise InputError(
            f"The scan is empty: only {count} of {standing_out.size} voxels differ from its background; "
            "give a scan that shows anatomy."
        )
    bounds = [_bounds(standing_out.sum(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    i, j, k = bounds
    return Foreground(start=(i[0], j[0], k[0]), stop=(i[1], j[1], k[1]), voxels=count, background=background)


def _standing_out(channel: np.ndarray) -> tuple[np.ndarray, float]:
    """Which voxels of a channel (i, j, k) stand out, and its background's value."""
    level, least = _background(channel)
    difference = channel - np.float32(level)
    return np.abs(difference, out=difference) > least, level


def background_level(channel: np.ndarray) -> float:
    """The value of a channel (i, j, k) outside of what it shows."""
    return _background(channel)[0]


def _background(channel: np.ndarray) -> tuple[float, float]:
    """The background's value, and by how much a voxel must differ from it to stand out."""
    faces = _faces(channel)
    level = float(np.median(faces))
    noise = 1.4826 * float(np.median(np.abs(faces - level)))  # the deviation of a normal distribution from its median
    low, high = (float(value) for value in np.percentile(channel[::2, ::2, ::2], (0.5, 99.5)))
    if _NOISE_DEVIATIONS * noise > _BLANK_SHARE * (high - low):
        # The faces show tissue: every voxel stands out, and what lies beyond is as dark as the darkest.
        return low, -1.0
    return level, max(_CONTRAST * max(high - level, level - low), _NOISE_DEVIATIONS * noise)


def _faces(channel: np.ndarray) -> np.ndarray:
    # Not by take(): that copies the whole of a channel that is a box of a larger one.
    faces = [np.moveaxis(channel, axis, 0)[index].ravel() for axis in range(3) for index in (0, -1)]
    return np.concatenate(faces)


def _bounds(profile: np.ndarray) -> tuple[int, int]:
    """First slice and one past the last that hold all of the profile but the stray share at either end."""
    reached = np.cumsum(profile) / profile.sum()
    return int(np.searchsorted(reached, _STRAY_SHARE, side="right")), int(
        np.searchsorted(reached, 1 - _STRAY_SHARE, side="left") + 1
    )
