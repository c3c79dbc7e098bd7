"""How a scanner and the usual preprocessing spoil a picture: slices, blur, shifts, bias, noise, contrast curves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_ossnet.engine.phantom.random_fields import (
    FloatArray,
    along_axis,
    blurred,
    gaussian_matrix,
    linear_matrix,
    smooth_noise,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AcquisitionRanges:
    """Ranges of everything between the tissue and the file; one draw a modality.

    Attributes:
        blur_mm: Standard deviation of the blur in all directions.
        thick: Probability of thick slices.
        thickness_mm: Range of slice thickness, where thick.
        shift_mm: Standard deviation of the misregistration between modalities, an axis.
        bias: Range of the standard deviation of the logarithm of the bias field.
        noise: Range of the noise's standard deviation, white matter = 1.
        log_gamma: Standard deviation of the logarithm of the exponent of the contrast curve.
        ringing: Most share of a ripple parallel to sharp edges.
    """

    blur_mm: tuple[float, float] = (0.4, 0.95)
    thick: float = 0.5
    thickness_mm: tuple[float, float] = (1.5, 6.0)
    shift_mm: float = 0.35
    bias: tuple[float, float] = (0.02, 0.13)
    noise: tuple[float, float] = (0.006, 0.06)
    log_gamma: float = 0.12
    ringing: float = 0.25


def acquire(rng: np.random.Generator, image: FloatArray, ranges: AcquisitionRanges) -> FloatArray:
    """One modality as a scanner would give it, resampled to 1 mm: (i, j, k) float32, never negative."""
    shift = np.clip(rng.normal(0, ranges.shift_mm, 3), -1, 1) * rng.choice([0, 1], p=[0.3, 0.7])
    sigma = rng.uniform(*ranges.blur_mm)
    for axis in range(3):
        image = along_axis(_spread(rng, image.shape[axis], sigma, float(shift[axis]), ranges), image, axis)
    bias = np.exp(rng.uniform(*ranges.bias) * smooth_noise(rng, image.shape, rng.uniform(45, 90)))
    image = image * bias
    sigma = float(np.exp(rng.uniform(*np.log(ranges.noise))))
    if rng.random() < ranges.thick:
        image = _sliced(rng, image, sigma, ranges)
    else:
        image = np.abs(image + _noise(rng, image.shape, sigma))
    return _curve(rng, image, ranges)


def _spread(rng: np.random.Generator, size: int, sigma: float, shift: float, ranges: AcquisitionRanges) -> FloatArray:
    matrix = gaussian_matrix(size, sigma, shift)
    if rng.random() < 0.3:
        # Gibbs ringing: what a cut-off in frequency does, as a sharpening with ripples.
        offsets = np.arange(size)[None, :] - np.arange(size)[:, None] - shift
        ripple = np.sinc(offsets / 1.6) * np.exp(-0.5 * (offsets / 5.0) ** 2)
        ripple /= ripple.sum(1, keepdims=True)
        matrix = matrix + np.float32(rng.uniform(0, ranges.ringing)) * (ripple.astype(np.float32) - matrix)
    return matrix


def _sliced(rng: np.random.Generator, image: FloatArray, noise: float, ranges: AcquisitionRanges) -> FloatArray:
    """Thick slices along one axis, with noise in each, interpolated back to 1 mm."""
    axis = int(rng.choice([2, 0, 1], p=[0.76, 0.14, 0.1]))
    size = image.shape[axis]
    thickness = float(np.exp(rng.uniform(*np.log(ranges.thickness_mm))))
    spacing = thickness * rng.uniform(1.0, 1.25)
    centres = np.arange(rng.uniform(0, spacing), size, spacing)
    offsets = np.abs(np.arange(size)[None, :] - centres[:, None])
    profile = np.clip((thickness / 2 - offsets) + 0.5, 0, 1) + 1e-6
    profile = (profile / profile.sum(1, keepdims=True)).astype(np.float32)
    slices = along_axis(profile, image, axis)
    slices = np.abs(slices + _noise(rng, slices.shape, noise))
    return along_axis(linear_matrix((np.arange(size) - centres[0]) / spacing, len(centres)), slices, axis)


def _noise(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> FloatArray:
    white = rng.standard_normal(shape, dtype=np.float32)
    # Interpolation to the common grid correlates neighbours.
    width = rng.uniform(0.0, 0.7)
    if width > 0.3:
        white = blurred(white, width)
        white /= white.std()
    return np.float32(sigma) * white


def _curve(rng: np.random.Generator, image: FloatArray, ranges: AcquisitionRanges) -> FloatArray:
    """A monotone change of contrast that leaves white matter near 1."""
    exponent = np.exp(rng.normal(0, ranges.log_gamma))
    image = np.maximum(image, 0) ** np.float32(exponent)
    if rng.random() < 0.15:
        # Some archives clip the brightest voxels.
        image = np.minimum(image, np.float32(np.quantile(image[image > 0.3][::37], 0.999)))
    return image
