"""A head made by code alone: level sets of simple solids, folded into gyri by the zero surfaces of noise.

No anatomy in the strict sense, but what a network has to know is there: a cortical ribbon along sulci, white matter,
deep grey matter, ventricles, cisterns, cerebellum with folia, brain stem, corpus callosum, skull.
Coordinates are mm from the middle: x to the left, y to the back, z to the top.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from napari_ossnet.engine.phantom.anatomy import Head
from napari_ossnet.engine.phantom.random_fields import FloatArray, linear_matrix, separable, smooth_noise
from napari_ossnet.engine.phantom.solids import ellipsoid, tube, union
from napari_ossnet.engine.phantom.tissues import Tissue

SHAPE = (160, 200, 160)
HALF = (80, 100, 80)
_MIDDLE = np.array([80.0, 100.0, 78.0], dtype=np.float32)
_SIDES = (-1.0, 1.0)


def make_head(seed: int) -> Head:
    """A random head; equal seeds give equal heads.

    Args:
        seed: Any integer from 0 up.

    Returns:
        A head of `SHAPE` voxels at 1 mm.
    """
    from scipy.ndimage import distance_transform_edt

    rng = np.random.default_rng([seed, 1])
    where = _coordinates()
    cerebrum = _cerebrum(where, rng)
    cerebellum = ellipsoid(where, (0, 50, -34), (52, 36, 26)) - 1.5 * smooth_noise(rng, HALF, 7.0)
    stem = np.minimum(
        tube(where, [(0, 14, -8), (0, 22, -36), (0, 32, -74)], [12, 12, 8]),
        ellipsoid(where, (0, 15, -29), (17, 12, 13)),
    )
    tissues = np.full(SHAPE, Tissue.OUTSIDE, dtype=np.uint8)
    _wrap(rng, tissues, np.minimum(np.minimum(cerebrum, cerebellum), stem), where)
    fine = _upsampled(cerebrum)
    solid = (fine < 0) & ~_sulci(rng, fine)
    depth = distance_transform_edt(solid).astype(np.float32)
    ribbon = np.float32(rng.uniform(2.4, 3.2)) + 0.3 * smooth_noise(rng, SHAPE, 12.0)
    tissues[solid] = np.where(depth[solid] < ribbon[solid], Tissue.CORTEX, Tissue.WHITE)
    _paint_cerebellum(rng, tissues, _upsampled(cerebellum))
    tissues[_upsampled(np.maximum(stem, -25 - cerebrum)) < 0] = Tissue.BRAIN_STEM
    _paint_deep(rng, tissues, where, cerebrum + 4)
    return Head(name=f"made_{seed}", tissues=tissues)


def _coordinates(stride: int = 2) -> list[FloatArray]:
    axes = [np.arange(0, n, stride, dtype=np.float32) - m for n, m in zip(SHAPE, _MIDDLE, strict=True)]
    return list(np.meshgrid(*axes, indexing="ij", sparse=True))


def _upsampled(values: FloatArray) -> FloatArray:
    """A level set known at every second voxel, at all voxels."""
    matrices = [linear_matrix(np.arange(n) / 2, m) for n, m in zip(SHAPE, HALF, strict=True)]
    return separable(matrices, values.astype(np.float32))


def _cerebrum(where: list[FloatArray], rng: np.random.Generator) -> FloatArray:
    width, height = rng.uniform(0.95, 1.06), rng.uniform(0.95, 1.06)
    bodies = []
    for side in _SIDES:
        bodies.append(ellipsoid(where, (side * 26, 0, 18), (41 * width, 83, 52 * height)))
        bodies.append(ellipsoid(where, (side * 24, -34, 4), (33 * width, 45, 34)))
        bodies.append(ellipsoid(where, (side * 46, -6, -20), (20, 40, 19)))
        bodies.append(ellipsoid(where, (side * 25, 50, 4), (34 * width, 38, 28)))
    envelope = union(bodies, 10.0)
    cut = np.minimum(-(where[2] + 6 - 0.18 * where[1]), 24 - np.abs(where[0]))
    tent = np.minimum(where[1] - 16, -(where[2] + 18 - 0.25 * where[1]))
    return np.maximum(np.maximum(envelope, cut), tent).astype(np.float32)


def _sulci(rng: np.random.Generator, cerebrum: FloatArray) -> NDArray[np.bool_]:
    """Where the cerebrum's envelope is fluid: sheets that reach in from the surface, fissures."""
    sheets = np.zeros(SHAPE, dtype=bool)
    atrophy = np.float32(rng.uniform(0.6, 1.5))
    for scale, reach in ((15.0, 22.0), (10.0, 14.0)):
        noise = smooth_noise(rng, SHAPE, scale)
        steps = np.gradient(noise[::2, ::2, ::2])
        slope = _upsampled(np.sqrt(steps[0] ** 2 + steps[1] ** 2 + steps[2] ** 2) / 2)
        width = atrophy * np.sqrt(np.clip(1 + cerebrum / reach, 0, 1))
        sheets |= np.abs(noise) < width * np.maximum(slope, 0.02)
    x, y, z = _coordinates(1)
    callosum = 31 - 0.0075 * y * y
    fissure = (np.abs(x) < atrophy * 0.9) & ((z > callosum) | (np.abs(y) > 52) | (z < -4))
    wave = 4 * smooth_noise(rng, SHAPE, 20.0)
    sylvian = (np.abs(z + 4 - 0.25 * (y + 10) - wave) < 1.6 * atrophy) & (np.abs(x) > 36) & (y > -38) & (y < 34)
    return sheets | fissure | sylvian


def _wrap(rng: np.random.Generator, tissues: NDArray[np.uint8], brain: FloatArray, where: list[FloatArray]) -> None:
    gap = np.float32(rng.uniform(1.5, 4.0)) + smooth_noise(rng, HALF, 13.0)
    shell = _upsampled(brain - gap)
    tissues[shell < 14] = Tissue.SOFT_TISSUE
    tissues[shell < 9] = Tissue.BONE
    tissues[shell < 2] = Tissue.SOFT_TISSUE
    tissues[shell < 0] = Tissue.CSF
    cistern = _upsampled(ellipsoid(where, (0, -2, -14), (26, 26, 14)))
    tissues[(cistern < 0) & (tissues != Tissue.OUTSIDE)] = Tissue.CSF
    eyes = [ellipsoid(where, (side * 30, -72, -30), (12, 12, 12)) for side in _SIDES]
    tissues[_upsampled(np.minimum(*eyes)) < 0] = Tissue.EYE


def _paint_cerebellum(rng: np.random.Generator, tissues: NDArray[np.uint8], cerebellum: FloatArray) -> None:
    inside = (cerebellum < 0) & np.isin(tissues, (Tissue.CSF, Tissue.BONE, Tissue.SOFT_TISSUE))
    x, y, z = _coordinates(1)
    leaves = np.sin((z * 0.8 - y * 0.5) * 0.75 + 3 * smooth_noise(rng, SHAPE, 12.0))
    white = (cerebellum < -7 + 3 * leaves) & (np.abs(x) > 3)
    tissues[inside] = np.where(white[inside], Tissue.CEREBELLUM_WHITE, Tissue.CEREBELLUM_CORTEX)
    tissues[inside & (leaves > 0.93) & (cerebellum > -9)] = Tissue.CSF


def _paint_deep(
    rng: np.random.Generator, tissues: NDArray[np.uint8], where: list[FloatArray], within: FloatArray
) -> None:
    """Deep grey matter and ventricles (in place), where the level set ``within`` is negative."""
    wave = smooth_noise(rng, HALF, 6.0)
    for tissue, solid in _deep_solids(where):
        tissues[_upsampled(np.maximum(solid - 0.6 * wave, within)) < 0] = tissue
    size = rng.uniform(0.75, 1.7)
    third = tube(where, [(0, -10, 2), (0, 4, 8), (0, 14, 0)], [2 * size, 2 * size, 1.5 * size])
    lateral = union(_lateral_ventricles(where, size), 2.0)
    fourth = ellipsoid(where, (0, 34, -32), (8 * size, 5, 11))
    chambers = np.minimum(union([third, lateral], 2.0) - 0.4 * wave, fourth)
    inside = _upsampled(chambers) < 0
    tissues[inside & (tissues > Tissue.CSF) & (tissues < Tissue.VESSEL)] = Tissue.VENTRICLE
    plexus = (lateral < -1.5 * size) & (where[1] > 5)
    tufts = _upsampled(np.where(plexus, 0.0, 4.0)) + 0.3 < smooth_noise(rng, SHAPE, 4.0)
    tissues[tufts & (tissues == Tissue.VENTRICLE)] = Tissue.CHOROID


def _deep_solids(where: list[FloatArray]) -> Iterator[tuple[Tissue, FloatArray]]:
    for side in _SIDES:
        yield Tissue.STRIATUM, ellipsoid(where, (side * 26, -8, 5), (6, 17, 10))
        yield Tissue.PALLIDUM, ellipsoid(where, (side * 19, -2, 3), (5, 9, 7))
        yield Tissue.THALAMUS, ellipsoid(where, (side * 10, 9, 8), (9, 15, 10))
        yield Tissue.STRIATUM, tube(where, [(side * 13, -34, 13), (side * 18, 0, 26), (side * 24, 20, 22)], [6, 4, 2])
        yield Tissue.LIMBIC, tube(where, [(side * 24, -10, -16), (side * 30, 8, -13), (side * 24, 24, 0)], [7, 5, 3])


def _lateral_ventricles(where: list[FloatArray], size: float) -> Iterator[FloatArray]:
    for side in _SIDES:
        body = [(side * 9, -38, 12), (side * 9, -22, 19), (side * 11, 6, 25), (side * 22, 30, 14), (side * 32, 8, -11)]
        yield tube(where, body, [4 * size, 4 * size, 4 * size, 5.5 * size, 1.6 * size])
        yield tube(where, [(side * 22, 32, 14), (side * 20, 54, 9)], [4.5 * size, 2 * size])
