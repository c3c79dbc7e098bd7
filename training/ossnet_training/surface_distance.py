"""The 95th percentile of the distances between two masks' surfaces (HD95), in millimetres."""

from __future__ import annotations

import numpy as np


def hd95_mm(found: np.ndarray, truth: np.ndarray, spacing_mm: tuple[float, float, float]) -> float:
    """Symmetric HD95 between the surfaces of two masks.

    The larger of the two directed 95th percentiles, as the BraTS evaluation has it; surfaces are voxels with a
    neighbour (of six) outside the mask. 0 where both are empty, infinite where one is.

    Args:
        found: Mask (i, j, k), bool.
        truth: The same shape.
        spacing_mm: Voxel size along i, j, k.
    """
    if not found.any() and not truth.any():
        return 0.0
    if not found.any() or not truth.any():
        return float("inf")
    window = _bounds(found | truth)
    found, truth = _surface(found[window]), _surface(truth[window])
    there, back = _distances(found, truth, spacing_mm), _distances(truth, found, spacing_mm)
    return float(max(np.percentile(there, 95), np.percentile(back, 95)))


def _bounds(mask: np.ndarray) -> tuple[slice, ...]:
    """The mask's box with a voxel around it, as far as the array reaches."""
    spans = []
    for axis in range(3):
        hit = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
        spans.append(slice(max(int(hit[0]) - 1, 0), int(hit[-1]) + 2))
    return tuple(spans)


def _surface(mask: np.ndarray) -> np.ndarray:
    from scipy.ndimage import binary_erosion

    return mask & ~binary_erosion(mask)


def _distances(start: np.ndarray, goal: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Distance in mm of each voxel of ``start`` to the nearest of ``goal``."""
    from scipy.ndimage import distance_transform_edt

    return distance_transform_edt(~goal, sampling=spacing_mm)[start]
