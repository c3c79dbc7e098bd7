"""Real scans with another contrast: random monotone curves, one a modality, that keep white matter near 1."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_ossnet.engine.phantom.random_fields import FloatArray, smooth_noise
from napari_ossnet.engine.phantom.tissues import Tissue


def remapped(rng: np.random.Generator, images: FloatArray, tissues: NDArray[np.uint8]) -> FloatArray:
    """The images under random monotone curves.

    Args:
        rng: Source of randomness.
        images: (4, i, j, k), white matter about 1 in every channel.
        tissues: Their tissues.

    Returns:
        (4, i, j, k) float32, not negative, white matter still about 1.
    """
    channels = []
    for image in images:
        values = np.maximum(image, 0)
        knots, curve = _curve(rng)
        values = np.interp(values, knots, curve).astype(np.float32)
        values /= max(float(np.median(values[tissues == Tissue.WHITE][::17])), 1e-3)
        values *= 1 + np.float32(rng.uniform(0, 0.03)) * smooth_noise(rng, values.shape, 12.0)
        channels.append(values)
    return np.stack(channels)


def _curve(rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    knots = np.array([0.0, 0.3, 0.6, 0.8, 1.0, 1.2, 1.5, 2.0, 3.0, 6.0])
    steps = np.diff(knots) * np.exp(rng.normal(0, 0.45, len(knots) - 1))
    return knots, np.concatenate([[0.0], np.cumsum(steps)])
