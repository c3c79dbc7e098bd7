"""What is bright and no tumour: vessels, meninges, ventricle rims, spots in white matter, moving fluid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_ossnet.engine.phantom.random_fields import FloatArray, linear_matrix, separable, smooth_noise
from napari_ossnet.engine.phantom.tissues import PARENCHYMA, Tissue, member_table

_STRIDE = 2
_SOLID = member_table(*[t for t in PARENCHYMA if t != Tissue.VENTRICLE])
FLAIR, T1, T1CE, T2 = range(4)


@dataclass(frozen=True, slots=True, kw_only=True)
class DistractorRanges:
    """How common and how strong things are that look like tumour; amounts are relative to white matter.

    Attributes:
        spots: Most spots in white matter (half of the scans have next to none).
        spot_mm: Range of their radii.
        caps: Most brightness of the rims of the ventricles in FLAIR.
        flow: Probability of fluid that is not dark in FLAIR.
    """

    spots: int = 60
    spot_mm: tuple[float, float] = (0.8, 4.5)
    caps: float = 0.8
    flow: float = 0.6


def flow_field(rng: np.random.Generator, shape: tuple[int, ...], ranges: DistractorRanges) -> FloatArray:
    """0 to about 1: where fluid moves and is bright in FLAIR, more at the base of the brain."""
    if rng.random() > ranges.flow:
        return np.zeros(shape, dtype=np.float32)
    height = np.linspace(1.0, -1.2, shape[2], dtype=np.float32)
    level = rng.uniform(-0.2, 1.4)
    return np.clip(smooth_noise(rng, shape, 14.0) + height[None, None, :] - np.float32(level), 0, 1)


def add_vessels(rng: np.random.Generator, tissues: NDArray[np.uint8]) -> None:
    """Turn (in place) tubes in the fluid, and the great sinuses above and behind, into vessel."""
    a, b = smooth_noise(rng, tissues.shape, 11.0), smooth_noise(rng, tissues.shape, 11.0)
    tubes = a * a + b * b < rng.uniform(0.004, 0.02)
    tissues[tubes & (tissues == Tissue.CSF)] = Tissue.VESSEL
    if rng.random() < 0.7:
        a, b = smooth_noise(rng, tissues.shape, 16.0), smooth_noise(rng, tissues.shape, 16.0)
        thin = a * a + b * b < rng.uniform(0.001, 0.004)
        tissues[thin & np.isin(tissues, (Tissue.CORTEX, Tissue.WHITE))] = Tissue.VESSEL


def add_spots(
    rng: np.random.Generator, image: FloatArray, tissues: NDArray[np.uint8], ranges: DistractorRanges
) -> None:
    """Bright spots of old age or inflammation in white matter, brightest in FLAIR (in place)."""
    count = int(rng.integers(0, 4)) if rng.random() < 0.45 else int(rng.integers(4, ranges.spots))
    places = np.argwhere(tissues[::3, ::3, ::3] == Tissue.WHITE) * 3
    if count == 0 or len(places) == 0:
        return
    near = _ventricle_distance(tissues)
    weights = np.exp(-near[tuple(places.T)] / rng.uniform(5, 30))
    strength = rng.uniform(0.15, 1.1)
    for index in rng.choice(len(places), size=count, p=weights / weights.sum()):
        _add_spot(rng, image, tissues, places[index] + rng.uniform(-1.5, 1.5, 3), strength, ranges)


def _add_spot(
    rng: np.random.Generator,
    image: FloatArray,
    tissues: NDArray[np.uint8],
    centre: NDArray[np.float64],
    strength: float,
    ranges: DistractorRanges,
) -> None:
    radius = float(np.exp(rng.uniform(*np.log(ranges.spot_mm))))
    reach = int(radius * 2.5) + 2
    low = np.maximum(np.rint(centre).astype(int) - reach, 0)
    i, j, k = (slice(int(a), int(a) + 2 * reach + 1) for a in low)
    local, local_image = tissues[i, j, k], image[:, i, j, k]
    axes = [np.arange(n, dtype=np.float32) + a - c for n, a, c in zip(local.shape, low, centre, strict=True)]
    stretch = np.exp(rng.uniform(-0.5, 0.5, 3))
    square = sum(
        g * g for g in np.meshgrid(*[(x * s) for x, s in zip(axes, stretch, strict=True)], indexing="ij", sparse=True)
    )
    share = np.clip((radius - np.sqrt(square)) / rng.uniform(0.8, 2.5) + 0.5, 0, 1) * _SOLID[local]
    gain = strength * rng.uniform(0.5, 1.2)
    lacune = radius < 3 and rng.random() < 0.1
    local_image[FLAIR] += share * np.float32(-0.4 if lacune else gain)
    local_image[T2] += share * np.float32(1.2 if lacune else gain * rng.uniform(0.6, 1.5))
    dark = np.float32(-0.5 * min(gain, 0.9) * rng.uniform(0.2, 1.0))
    local_image[T1] += share * dark
    active = rng.uniform(0.4, 1.2) if rng.random() < 0.05 else 0.0
    local_image[T1CE] += share * np.float32(dark + active)


def add_caps(rng: np.random.Generator, image: FloatArray, tissues: NDArray[np.uint8], ranges: DistractorRanges) -> None:
    """Bright rims and caps of the ventricles in FLAIR and, less so, T2 (in place)."""
    distance = _ventricle_distance(tissues)
    extent = np.exp(0.6 * smooth_noise(rng, tissues.shape, 16.0)) * np.float32(rng.uniform(1.0, 5.0))
    share = np.exp(-((distance / extent) ** 2)) * _SOLID[tissues]
    strength = ranges.caps * rng.uniform(0, 1) ** 1.5
    image[FLAIR] += np.float32(strength) * share
    image[T2] += np.float32(strength * rng.uniform(0.3, 1.0)) * share
    image[T1] -= np.float32(strength * rng.uniform(0.0, 0.3)) * share
    image[T1CE] -= np.float32(strength * rng.uniform(0.0, 0.3)) * share


def add_meninges(rng: np.random.Generator, image: FloatArray, depth: FloatArray) -> None:
    """Enhancing meninges: patches of the outermost millimetres in T1ce (in place).

    Args:
        rng: Source of randomness.
        image: The four channels.
        depth: Distance from the mask's surface in mm, positive inside.
    """
    patches = np.clip(smooth_noise(rng, depth.shape, 14.0) - np.float32(rng.uniform(-0.6, 1.2)), 0, 1)
    shell = np.clip(np.float32(rng.uniform(0.8, 2.5)) - depth, 0, 1) * patches
    image[T1CE] += shell * np.float32(rng.uniform(0.3, 1.6))
    image[FLAIR] += shell * np.float32(rng.uniform(-0.3, 0.5))


def _ventricle_distance(tissues: NDArray[np.uint8]) -> FloatArray:
    """Distance in mm from the ventricles."""
    from scipy.ndimage import distance_transform_edt

    coarse = tissues[::_STRIDE, ::_STRIDE, ::_STRIDE] == Tissue.VENTRICLE
    distance = np.full(coarse.shape, 60.0) if not coarse.any() else distance_transform_edt(~coarse) * _STRIDE
    matrices = [linear_matrix(np.arange(n) / _STRIDE, m) for n, m in zip(tissues.shape, distance.shape, strict=True)]
    return np.maximum(separable(matrices, distance.astype(np.float32)) - 0.5 * _STRIDE, 0)
