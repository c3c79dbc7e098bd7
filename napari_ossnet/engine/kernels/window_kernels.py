"""Gathering windows of the scan straight from its grid, to be compiled: ``patches.py`` without padded copies.

A window's values are laid out i outermost, then channel, j, k: value (a, c, b, e) of a location is at
``((a * channels + c) * 7 + b) * 7 + e``. So the planes of a window that a plane of its convolution sees lie together.
"""

from __future__ import annotations

import numpy as np

_ZERO, _HALF = np.float32(0), np.float32(0.5)


def _base(position: np.float32, size: int) -> int:
    """The voxel at or before a position; one far outside is brought near, where its window is as empty."""
    return int(min(max(np.floor(position), -32.0), size + 32.0))


def _is_whole(first: int, count: int, size: int) -> bool:
    return first >= 0 and first + count <= size


def _copy_window(
    grid: np.ndarray, i0: int, j0: int, k0: int, c: int, channels: int, at: int, window: np.ndarray
) -> None:
    """Copies the 7^3 voxels of channel ``c`` from (i0, j0, k0) on to channel ``at`` of a whole window."""
    _, size_i, size_j, size_k = grid.shape
    is_whole = _is_whole(i0, 7, size_i) and _is_whole(j0, 7, size_j) and _is_whole(k0, 7, size_k)
    for a in range(7):
        for b in range(7):
            start = ((a * channels + at) * 7 + b) * 7
            row = window[start : start + 7]
            if is_whole:
                line = grid[c, i0 + a, j0 + b, k0 : k0 + 7]
                for e in range(7):
                    row[e] = line[e]
            else:
                _read_line(grid, c, i0 + a, j0 + b, k0, row)


def _read_line(grid: np.ndarray, c: int, i: int, j: int, k0: int, line: np.ndarray) -> None:
    """Voxels (c, i, j) from ``k0`` on into ``line``, zeros where they lie outside the grid."""
    _, size_i, size_j, size_k = grid.shape
    is_there = 0 <= i < size_i and 0 <= j < size_j
    for e in range(line.size):
        line[e] = grid[c, i, j, k0 + e] if is_there and 0 <= k0 + e < size_k else _ZERO


def _blend_window(
    lines: np.ndarray, planes: np.ndarray, wi: np.float32, wj: np.float32, channels: int, at: int, window: np.ndarray
) -> None:
    """Blends (8, 8, 7) voxels, blended along k already, along j and then along i."""
    for a in range(8):
        for b in range(7):
            for e in range(7):
                planes[a, b, e] = lines[a, b, e] + wj * (lines[a, b + 1, e] - lines[a, b, e])
    for a in range(7):
        start = (a * channels + at) * 49
        plane = window[start : start + 49]
        for b in range(7):
            for e in range(7):
                plane[b * 7 + e] = planes[a, b, e] + wi * (planes[a + 1, b, e] - planes[a, b, e])


def local_windows(grid: np.ndarray, locations: np.ndarray, channels: int, result: np.ndarray) -> None:
    """Local 7^3 windows, copied at voxels and blended trilinearly between them.

    Args:
        grid: (c, i, j, k) float32, contiguous.
        locations: (n, 3) float32, grid frame; anywhere, outside the grid there are zeros.
        channels: Channels of a whole window; the grid's come first.
        result: (n, channels * 343) float32, contiguous.
    """
    line = np.zeros(8, np.float32)
    lines = np.zeros((8, 8, 7), np.float32)
    planes = np.zeros((8, 7, 7), np.float32)
    for n in range(locations.shape[0]):
        i, j, k = (
            _base(locations[n, 0], grid.shape[1]),
            _base(locations[n, 1], grid.shape[2]),
            _base(locations[n, 2], grid.shape[3]),
        )
        wi, wj, wk = (
            locations[n, 0] - np.floor(locations[n, 0]),
            locations[n, 1] - np.floor(locations[n, 1]),
            locations[n, 2] - np.floor(locations[n, 2]),
        )
        for c in range(grid.shape[0]):
            if wi == 0 and wj == 0 and wk == 0:
                _copy_window(grid, i - 3, j - 3, k - 3, c, channels, c, result[n])
                continue
            for a in range(8):
                for b in range(8):
                    _read_line(grid, c, i - 3 + a, j - 3 + b, k - 3, line)
                    for e in range(7):
                        lines[a, b, e] = line[e] + wk * (line[e + 1] - line[e])
            _blend_window(lines, planes, wi, wj, channels, c, result[n])


def _average(first: np.float32, second: np.float32, third: np.float32, w: np.float32) -> np.float32:
    """Mean of the first two, blended with the mean of the last two; ``w`` is half the weight of the latter."""
    return (_HALF - w) * first + _HALF * second + w * third


def _average_window(
    lines: np.ndarray, planes: np.ndarray, wi: np.float32, wj: np.float32, channels: int, at: int, window: np.ndarray
) -> None:
    """Averages (15, 15, 7) voxels, averaged along k already, along j and then along i."""
    for a in range(15):
        for b in range(7):
            for e in range(7):
                planes[a, b, e] = _average(lines[a, 2 * b, e], lines[a, 2 * b + 1, e], lines[a, 2 * b + 2, e], wj)
    for a in range(7):
        start = (a * channels + at) * 49
        plane = window[start : start + 49]
        for b in range(7):
            for e in range(7):
                plane[b * 7 + e] = _average(planes[2 * a, b, e], planes[2 * a + 1, b, e], planes[2 * a + 2, b, e], wi)


def mid_range_windows(grid: np.ndarray, locations: np.ndarray, channels: int, result: np.ndarray) -> None:
    """Mid-range windows: 14^3 voxels averaged to 7^3, and blended trilinearly between voxels.

    Averaging and blending along an axis are one: the mean of voxels 0 and 1, and of 1 and 2, weighted with 1 - w and
    w, takes voxels 0 to 2 with the weights (1 - w) / 2, 1 / 2 and w / 2.

    Args:
        grid: (c, i, j, k) float32, contiguous.
        locations: (n, 3) float32, grid frame; anywhere, outside the grid there are zeros.
        channels: Channels of a whole window; the grid's come last.
        result: (n, channels * 343) float32, contiguous.
    """
    line = np.zeros(15, np.float32)
    lines = np.zeros((15, 15, 7), np.float32)
    planes = np.zeros((15, 7, 7), np.float32)
    for n in range(locations.shape[0]):
        i, j, k = (
            _base(locations[n, 0], grid.shape[1]),
            _base(locations[n, 1], grid.shape[2]),
            _base(locations[n, 2], grid.shape[3]),
        )
        wi, wj, wk = (
            _HALF * (locations[n, 0] - np.floor(locations[n, 0])),
            _HALF * (locations[n, 1] - np.floor(locations[n, 1])),
            _HALF * (locations[n, 2] - np.floor(locations[n, 2])),
        )
        for c in range(grid.shape[0]):
            for a in range(15):
                for b in range(15):
                    _read_line(grid, c, i - 7 + a, j - 7 + b, k - 7, line)
                    for e in range(7):
                        lines[a, b, e] = _average(line[2 * e], line[2 * e + 1], line[2 * e + 2], wk)
            _average_window(lines, planes, wi, wj, channels, channels - grid.shape[0] + c, result[n])
