"""Smooth random fields, and matrices that act along one axis of a volume.

Everything smooth (noise, warps, bias fields) is drawn on coarse knots and brought to voxels by cubic B-splines, one
axis after the other: three small matrix products in place of an interpolation a voxel.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


def spline_matrix(positions: NDArray[np.floating], knot_spacing: float, knots: int) -> FloatArray:
    """Weights of uniform cubic B-splines at positions; coefficients that are linear in the knot give a linear function.

    Args:
        positions: (n,), in voxels; knot ``q`` lies at ``(q - 1) * knot_spacing``.
        knot_spacing: Distance between knots, in voxels.
        knots: Number of knots.

    Returns:
        (n, knots) float32, rows summing to one (positions beyond the last knot are held there).
    """
    scaled = np.clip(np.asarray(positions, dtype=np.float64) / knot_spacing, 0.0, knots - 3 - 1e-6)
    first = np.floor(scaled).astype(np.int64)
    t = scaled - first
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]) / 6.0
    matrix = np.zeros((len(scaled), knots), dtype=np.float32)
    rows = np.arange(len(scaled))
    for offset in range(4):
        matrix[rows, first + offset] += weights[offset]
    return matrix


def knot_count(size: float, knot_spacing: float) -> int:
    """How many knots cover ``size`` voxels for `spline_matrix`."""
    return int(np.ceil(size / knot_spacing)) + 3


def along_axis(matrix: FloatArray, volume: FloatArray, axis: int) -> FloatArray:
    """The volume with ``matrix`` (new, old) applied along one of its three axes; C-contiguous."""
    if axis == 0:
        shape = volume.shape[1:]
        return (matrix @ volume.reshape(volume.shape[0], -1)).reshape(-1, *shape)
    if axis == 1:
        return np.matmul(matrix, volume)
    return volume @ matrix.T


def separable(matrices: Sequence[FloatArray], volume: FloatArray) -> FloatArray:
    """The three matrices applied along the three axes, the last axis first (cheap where the volume grows)."""
    for axis in (2, 1, 0):
        volume = along_axis(matrices[axis], volume, axis)
    return volume


def smooth_noise(rng: np.random.Generator, shape: Sequence[int], scale: float) -> FloatArray:
    """A smooth random field of mean about 0 and standard deviation 1.

    Args:
        rng: Source of randomness.
        shape: Shape of the field in voxels.
        scale: Distance between the spline's knots in voxels; details are about twice as large.

    Returns:
        float32 of the shape.
    """
    counts = [knot_count(size + scale, scale) for size in shape]
    coefficients = rng.standard_normal(counts, dtype=np.float32)
    # A random phase an axis, so that the knots don't lie at the same voxels in every field.
    matrices = [
        spline_matrix(np.arange(size) + phase, scale, count)
        for size, phase, count in zip(shape, rng.uniform(0, scale, 3), counts, strict=True)
    ]
    # Variance of a cubic B-spline sum of white coefficients, averaged over the phase: 151/315 an axis.
    return separable(matrices, coefficients) / np.float32((151 / 315) ** 1.5)


def layered_noise(rng: np.random.Generator, shape: Sequence[int], scales: dict[float, float]) -> FloatArray:
    """A sum of smooth fields, ``{scale in voxels: amplitude}``."""
    total = np.zeros(tuple(shape), dtype=np.float32)
    for scale, amplitude in scales.items():
        total += np.float32(amplitude) * smooth_noise(rng, shape, scale)
    return total


def linear_matrix(positions: NDArray[np.floating], count: int) -> FloatArray:
    """Weights of linear interpolation at positions (in samples, held at both ends): (n, count)."""
    held = np.clip(np.asarray(positions, dtype=np.float64), 0, count - 1)
    first = np.minimum(np.floor(held).astype(np.int64), max(count - 2, 0))
    fraction = held - first
    matrix = np.zeros((len(held), count), dtype=np.float32)
    rows = np.arange(len(held))
    matrix[rows, first] += 1 - fraction
    matrix[rows, np.minimum(first + 1, count - 1)] += fraction
    return matrix


def gaussian_matrix(size: int, sigma: float, shift: float = 0.0) -> FloatArray:
    """Blur by a Gaussian of ``sigma`` voxels and a shift in voxels along an axis; rows sum to one."""
    offsets = np.arange(size)[None, :] - np.arange(size)[:, None] - shift
    weights = np.exp(-0.5 * (offsets / max(sigma, 0.25)) ** 2)
    return (weights / np.maximum(weights.sum(1, keepdims=True), 1e-12)).astype(np.float32)


def blurred(volume: FloatArray, sigma: float | Sequence[float]) -> FloatArray:
    """The volume blurred by a Gaussian; sigma in voxels, one or one an axis. Held at the border."""
    sigmas = (sigma,) * 3 if isinstance(sigma, (int, float)) else tuple(sigma)
    for axis, value in enumerate(sigmas):
        if value > 0:
            volume = along_axis(gaussian_matrix(volume.shape[axis], value), volume, axis)
    return volume
