"""Owns trilinear resampling of a volume along its own axes: nothing is rotated, so each axis is treated by itself."""

from __future__ import annotations

import numpy as np

from napari_ossnet.engine.shapes import GridData

#: A window narrower than this, in voxels, changes nothing that float32 could show.
_NO_WINDOW = 1e-3


def resize_trilinear(data: np.ndarray, shape: tuple[int, int, int]) -> GridData:
    """``data`` (channels, i, j, k) stretched to ``shape``, float32, by torch's trilinear with align_corners=False."""
    import torch

    source = torch.from_numpy(np.ascontiguousarray(data, dtype=np.float32))
    resized = torch.nn.functional.interpolate(source[None], size=shape, mode="trilinear", align_corners=False)
    return np.asarray(resized[0].numpy())


def resample_axis(data: np.ndarray, axis: int, positions: np.ndarray) -> np.ndarray:
    """``data`` sampled along one axis at ``positions`` (ascending, evenly spaced, in voxels of that axis), linearly.

    Beyond the outermost voxel centres the outermost voxel counts. Where the samples lie further apart than the
    voxels, each is the mean of the linear interpolation over a window, so that no voxel is passed over: a plain
    trilinear lookup would pick single voxels of a fine scan, noise and all. The window's width, sqrt(step^2 - 1)
    voxels, makes a fine voxel (the mean over its own extent, variance 1/12) one of the coarse size (variance
    step^2 / 12), since variances add; it is 0, plain interpolation, where the spacing stays the same.

    Returns:
        float32, ``len(positions)`` long on that axis.
    """
    step = float(positions[1] - positions[0]) if len(positions) > 1 else 1.0
    window = float(np.sqrt(max(step * step - 1.0, 0.0)))
    first = np.floor(positions - 1.0 - window / 2).astype(np.int64) + 1
    offsets = np.arange(int(np.ceil(2.0 + window)))
    weights = _weights(first[:, None] + offsets - positions[:, None], window)
    indices = np.clip(first[:, None] + offsets, 0, data.shape[axis] - 1)
    matrix = np.zeros((len(positions), data.shape[axis]), dtype=np.float32)
    np.add.at(matrix, (np.arange(len(positions))[:, None], indices), weights)
    # As a dense product, zeros and all: several times faster than gathering neighbours along a strided axis.
    return np.moveaxis(np.tensordot(data, matrix, axes=(axis, 1)), -1, axis)


def _weights(distances: np.ndarray, window: float) -> np.ndarray:
    """The weight of a voxel at each distance: the triangle of linear interpolation, averaged over the window."""
    if window < _NO_WINDOW:
        return np.clip(1.0 - np.abs(distances), 0.0, None)
    weights = (_triangle_integral(distances + window / 2) - _triangle_integral(distances - window / 2)) / window
    return np.asarray(weights)


def _triangle_integral(end: np.ndarray) -> np.ndarray:
    """The integral of the triangle of height 1 over -1 to 1, from the left up to ``end``."""
    end = np.clip(end, -1.0, 1.0)
    return np.where(end < 0, 0.5 * (1 + end) ** 2, 1.0 - 0.5 * (1 - end) ** 2)
