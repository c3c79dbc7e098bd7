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


def _read_line(grid: np.ndarray, c: int, i: int, j: int, k0: int, line: np.ndarray) -> None:
    """Voxels (c, i, j) from ``k0`` on into ``line``, zeros where they lie outside the grid."""
    _, size_i, size_j, size_k = grid.shape
    is_there = 0 <= i < size_i and 0 <= j < size_j
    for e in range(line.size):
        line[e] = grid[c, i, j, k0 + e] if is_there and 0 <= k0 + e < size_k else _ZERO


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


def _copy_line(line: np.ndarray, row: np.ndarray) -> None:
    """Copies 8 or 15 values: known lengths, so that the loops unroll."""
    if row.size == 8:
        for e in range(8):
            row[e] = line[e]
    else:
        for e in range(15):
            row[e] = line[e]


def _copy_cube(grid: np.ndarray, i0: int, j0: int, k0: int, c: int, cube: np.ndarray) -> None:
    """Copies the voxels of channel ``c`` from (i0, j0, k0) on.

    Apart from the arithmetic, so that nothing waits for one line before the next is on its way from memory.
    """
    _, size_i, size_j, size_k = grid.shape
    edge = cube.shape[0]
    is_whole = _is_whole(i0, edge, size_i) and _is_whole(j0, edge, size_j) and _is_whole(k0, edge, size_k)
    for a in range(edge):
        for b in range(edge):
            row = cube[a, b]
            if is_whole:
                _copy_line(grid[c, i0 + a, j0 + b, k0 : k0 + edge], row)
            else:
                _read_line(grid, c, i0 + a, j0 + b, k0, row)


def _blend_window(
    cube: np.ndarray, wi: np.float32, wj: np.float32, wk: np.float32, channels: int, at: int, window: np.ndarray
) -> None:
    """Blends 8^3 voxels to 7^3, along i and j in place (whole lines at a time), and along k."""
    for a in range(7):
        for b in range(8):
            line, following = cube[a, b], cube[a + 1, b]
            for e in range(8):
                line[e] += wi * (following[e] - line[e])
    for a in range(7):
        for b in range(7):
            line, following = cube[a, b], cube[a, b + 1]
            for e in range(8):
                line[e] += wj * (following[e] - line[e])
            start = ((a * channels + at) * 7 + b) * 7
            row = window[start : start + 7]
            for e in range(7):
                row[e] = line[e] + wk * (line[e + 1] - line[e])


def _average(first: np.float32, second: np.float32, third: np.float32, w: np.float32) -> np.float32:
    """Mean of the first two, blended with the mean of the last two; ``w`` is half the weight of the latter."""
    return (_HALF - w) * first + _HALF * second + w * third


def _average_window(
    cube: np.ndarray, wi: np.float32, wj: np.float32, wk: np.float32, channels: int, at: int, window: np.ndarray
) -> None:
    """Averages 15^3 voxels to 7^3, along i and j in place (whole lines at a time), and along k."""
    wi, wj, wk = _HALF * wi, _HALF * wj, _HALF * wk
    for a in range(7):
        for b in range(15):
            line, first, second, third = cube[a, b], cube[2 * a, b], cube[2 * a + 1, b], cube[2 * a + 2, b]
            for e in range(15):
                line[e] = _average(first[e], second[e], third[e], wi)
    for a in range(7):
        for b in range(7):
            line, first, second, third = cube[a, b], cube[a, 2 * b], cube[a, 2 * b + 1], cube[a, 2 * b + 2]
            for e in range(15):
                line[e] = _average(first[e], second[e], third[e], wj)
            start = ((a * channels + at) * 7 + b) * 7
            row = window[start : start + 7]
            for e in range(7):
                row[e] = _average(line[2 * e], line[2 * e + 1], line[2 * e + 2], wk)


def local_windows(grid: np.ndarray, locations: np.ndarray, channels: int, result: np.ndarray) -> None:
    """Local 7^3 windows, copied at voxels and blended trilinearly between them.

    Args:
        grid: (c, i, j, k) float32, contiguous.
        locations: (n, 3) float32, grid frame; anywhere, outside the grid there are zeros.
        channels: Channels of a whole window; the grid's come first.
        result: (n, channels * 343) float32, contiguous.
    """
    cube = np.zeros((8, 8, 8), np.float32)
    _, size_i, size_j, size_k = grid.shape
    for n in range(locations.shape[0]):
        x, y, z = locations[n]
        i, j, k = _base(x, size_i) - 3, _base(y, size_j) - 3, _base(z, size_k) - 3
        wi, wj, wk = x - np.floor(x), y - np.floor(y), z - np.floor(z)
        for c in range(grid.shape[0]):
            if wi == 0 and wj == 0 and wk == 0:
                _copy_window(grid, i, j, k, c, channels, c, result[n])
            else:
                _copy_cube(grid, i, j, k, c, cube)
                _blend_window(cube, wi, wj, wk, channels, c, result[n])


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
    cube = np.zeros((15, 15, 15), np.float32)
    _, size_i, size_j, size_k = grid.shape
    for n in range(locations.shape[0]):
        x, y, z = locations[n]
        i, j, k = _base(x, size_i) - 7, _base(y, size_j) - 7, _base(z, size_k) - 7
        wi, wj, wk = x - np.floor(x), y - np.floor(y), z - np.floor(z)
        for c in range(grid.shape[0]):
            _copy_cube(grid, i, j, k, c, cube)
            _average_window(cube, wi, wj, wk, channels, channels - grid.shape[0] + c, result[n])
