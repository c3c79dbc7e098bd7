"""Owns trilinear resampling of a volume along its own axes: nothing is rotated, so each axis is treated by itself."""

from __future__ import annotations

import numpy as np

from napari_ossnet.engine.shapes import ScanData


def resize_trilinear(data: np.ndarray, shape: tuple[int, int, int]) -> ScanData:
    """``data`` (channels, i, j, k) stretched to ``shape``, float32, by torch's trilinear with align_corners=False."""
    import torch

    source = torch.from_numpy(np.ascontiguousarray(data, dtype=np.float32))
    resized = torch.nn.functional.interpolate(source[None], size=shape, mode="trilinear", align_corners=False)
    return np.asarray(resized[0].numpy())


def resample_axis(data: np.ndarray, axis: int, positions: np.ndarray) -> np.ndarray:
    """``data`` sampled along one axis at ``positions`` (ascending, evenly spaced, in voxels of that axis), linearly.

    Beyond the outermost voxel centres the outermost voxel counts. Where the samples lie further apart than the
    voxels, the triangle of linear interpolation is widened to their distance, so that no voxel is passed over: a plain
    trilinear lookup would pick single voxels of a fine scan, noise and all.

    Returns:
        float32, ``len(positions)`` long on that axis.
    """
    step = float(positions[1] - positions[0]) if len(positions) > 1 else 1.0
    width = max(1.0, step)
    first = np.floor(positions - width).astype(np.int64) + 1
    taps = int(np.ceil(2 * width)) if width > 1 else 2
    offsets = np.arange(taps)
    weights = np.clip(1.0 - np.abs(first[:, None] + offsets - positions[:, None]) / width, 0.0, None)
    weights /= weights.sum(axis=1, keepdims=True)
    indices = np.clip(first[:, None] + offsets, 0, data.shape[axis] - 1)
    shape = [1] * data.ndim
    shape[axis] = len(positions)
    resampled = np.zeros([len(positions) if a == axis else n for a, n in enumerate(data.shape)], dtype=np.float32)
    for tap in offsets:
        resampled += np.take(data, indices[:, tap], axis=axis) * weights[:, tap].astype(np.float32).reshape(shape)
    return resampled
