"""Copying boxes of voxels out of a grid, to be compiled."""

from __future__ import annotations

import numpy as np


def _copy_part(grid: np.ndarray, i0: int, j0: int, k0: int, outside: np.ndarray, box: np.ndarray) -> None:
    """A box that leaves the grid."""
    channels, size_i, size_j, size_k = grid.shape
    size = box.shape[1]
    for c in range(channels):
        for a in range(size):
            for b in range(size):
                is_there = 0 <= i0 + a < size_i and 0 <= j0 + b < size_j
                for e in range(size):
                    is_inside = is_there and 0 <= k0 + e < size_k
                    box[c, a, b, e] = grid[c, i0 + a, j0 + b, k0 + e] if is_inside else outside[c]


def copy_boxes(grid: np.ndarray, starts: np.ndarray, outside: np.ndarray, result: np.ndarray) -> None:
    """Boxes of a grid.

    Args:
        grid: (channels, i, j, k) float32.
        starts: First voxel of each box, (n, 3) int64.
        outside: What each channel is beyond the grid, (channels,) float32.
        result: (n, channels, size, size, size) float32.
    """
    channels, size_i, size_j, size_k = grid.shape
    size = result.shape[2]
    for n in range(starts.shape[0]):
        i, j, k = starts[n]
        if min(i, j, k) < 0 or i + size > size_i or j + size > size_j or k + size > size_k:
            _copy_part(grid, i, j, k, outside, result[n])
            continue
        # Line after line without a question in between, so that many are on their way from memory at once.
        for c in range(channels):
            for a in range(size):
                for b in range(size):
                    line, row = grid[c, i + a, j + b, k : k + size], result[n, c, a, b]
                    for e in range(size):
                        row[e] = line[e]
