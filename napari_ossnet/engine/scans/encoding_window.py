"""Owns which part of a grid an encoder needs to see: the anatomy with a margin, not the air around it.

A head fills about a third of the grid that whole-brain networks are published with. Training and inference use the
same rule, so that a network never meets statistics that it was not trained on.
"""

from __future__ import annotations

from napari_ossnet.engine.scans.foreground import find_foreground
from napari_ossnet.engine.shapes import ScanData

Triple = tuple[int, int, int]

#: Voxels around the foreground: faint rims below the foreground's threshold, and some air for the network to see.
MARGIN = 8
#: Voxels are looked at this far apart.
STRIDE = 2


def encoding_window(grid: ScanData, box_start: Triple, box_stop: Triple, multiple: int) -> tuple[Triple, Triple]:
    """First and past-the-last grid voxel of the part to encode.

    Args:
        grid: The network's grid as prepared, before any augmentation, (channels, i, j, k).
        box_start: First grid voxel that the scan may fill.
        box_stop: Grid voxel after the last that the scan may fill.
        multiple: Each extent becomes a multiple of this many voxels, as far as the grid reaches.

    Raises:
        InputError: Nothing stands out from the background.
    """
    # Every second voxel tells as much, within the margin.
    box = grid[(slice(None), *(slice(start, stop, STRIDE) for start, stop in zip(box_start, box_stop, strict=True)))]
    foreground = find_foreground(box)
    spans = [
        _span(begin + STRIDE * first, begin + STRIDE * last, extent, multiple)
        for begin, first, last, extent in zip(box_start, foreground.start, foreground.stop, grid.shape[1:], strict=True)
    ]
    (i, i_stop), (j, j_stop), (k, k_stop) = spans
    return (i, j, k), (i_stop, j_stop, k_stop)


def _span(first: int, last: int, extent: int, multiple: int) -> tuple[int, int]:
    """The span [first, last) with its margin, widened evenly to the multiple and moved into [0, extent)."""
    wanted = last - first + 2 * MARGIN
    size = min(-(-wanted // multiple) * multiple, extent)
    start = (first + last - size) // 2
    start = min(max(start, 0), extent - size)
    return start, start + size
