"""The options ``--region`` and ``--upscale``: a box of scan voxels, and how much finer it is asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.shapes import LabelMap

Triple = tuple[int, int, int]
#: Scan voxels around the object in a box that is not given by hand.
MARGIN = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionChoice:
    """What was asked for: the box as text (None: around the object), voxels ``factor`` times smaller."""

    text: str | None
    factor: float


def choose_region(text: str | None, factor: float | None) -> RegionChoice | None:
    """The choice that the two options make; None where neither is given.

    Raises:
        InputError: The factor is under 1, or the box is none.
    """
    if text is None and factor is None:
        return None
    if factor is not None and not 1 <= factor <= 64:
        raise InputError(f"--upscale must lie between 1 and 64, got {factor:g}.")
    if text is not None:
        _ranges(text)
    return RegionChoice(text=text, factor=factor or 1.0)


def parse_region(choice: RegionChoice, shape: Triple) -> tuple[Triple | None, Triple | None]:
    """First voxel of the box and the voxel after its last; None, None where it goes around the object.

    Args:
        choice: The options.
        shape: Voxels of the scan along i, j, k.

    Raises:
        InputError: The box is empty or leaves the scan.
    """
    if choice.text is None:
        return None, None
    ranges = _ranges(choice.text)
    start = tuple(first or 0 for first, _ in ranges)
    stop = tuple(size if last is None else last for (_, last), size in zip(ranges, shape, strict=True))
    if not all(0 <= a < b <= size for a, b, size in zip(start, stop, shape, strict=True)):
        size = " x ".join(map(str, shape))
        raise InputError(f"--region must be a box inside the scan's {size} voxels, got {choice.text}.")
    return (start[0], start[1], start[2]), (stop[0], stop[1], stop[2])


def box_around(labels: LabelMap) -> tuple[Triple, Triple]:
    """The smallest box around every occupied voxel, with a margin, cut to the scan.

    Args:
        labels: The mask; at least one voxel is occupied.
    """
    start, stop = [], []
    for axis, size in enumerate(labels.shape):
        others = tuple(other for other in range(3) if other != axis)
        occupied = np.flatnonzero(labels.any(axis=others))
        start.append(max(0, int(occupied[0]) - MARGIN))
        stop.append(min(size, int(occupied[-1]) + 1 + MARGIN))
    return (start[0], start[1], start[2]), (stop[0], stop[1], stop[2])


def _ranges(text: str) -> list[tuple[int | None, int | None]]:
    matches = [re.fullmatch(r"\s*(\d*)\s*:\s*(\d*)\s*", part) for part in text.split(",")]
    if len(matches) != 3 or None in matches:
        raise InputError(
            f"--region must be three half-open voxel ranges such as 40:72,50:82,30:62 (: is a whole axis), got {text}."
        )
    return [
        (int(match[1]) if match[1] else None, int(match[2]) if match[2] else None)
        for match in matches
        if match is not None
    ]
