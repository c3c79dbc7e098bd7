"""The voxels that an abdomen made by code is painted on: a body's measures, a field of view, organs put in place.

Coordinates are mm from the middle of the cavity at the height of the kidneys: x to the left, y to the back,
z to the top.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from napari_ossnet.engine.phantom.random_fields import FloatArray, smooth_noise
from napari_ossnet.engine.phantom.solids import Point

SHAPE = (128, 128, 128)


class Organ(IntEnum):
    """What a voxel is made of."""

    AIR = 0
    SKIN = 1
    FAT = 2
    MUSCLE = 3
    BONE = 4
    MARROW = 5
    DISC = 6
    LUNG = 7
    HEART = 8
    VEIN = 9
    ARTERY = 10
    LIVER = 11
    LIVER_VEIN = 12
    LESION = 13
    GALLBLADDER = 14
    SPLEEN = 15
    KIDNEY = 16
    PANCREAS = 17
    GUT_WALL = 18
    GUT_FLUID = 19
    STOOL = 20
    GAS = 21
    BLADDER = 22
    COUCH = 23


#: All of these are liver in the label, as in LiTS: its tumours and the vessels inside it count.
LIVER_PARTS = (Organ.LIVER, Organ.LIVER_VEIN, Organ.LESION)


@dataclass(frozen=True, slots=True, kw_only=True)
class Abdomen:
    """Organs on the voxels of a scan.

    Attributes:
        organs: (i, j, k) uint8 of `Organ`, axes to the left, back and top.
        spacing_mm: Size of a voxel.
    """

    organs: NDArray[np.uint8]
    spacing_mm: tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """One person's measures, in mm."""

    half_width: float
    half_depth: float
    wall: float
    fat: float
    #: Height of the right dome of the diaphragm.
    dome: float
    #: How far the edge of the lungs lies below the dome.
    recess: float
    #: Size of the liver relative to the middle one.
    liver: float


def draw_warp(rng: np.random.Generator, spacing_mm: float) -> FloatArray:
    """Displacements in mm along one axis: no two bodies are put together alike."""
    coarse, fine = rng.uniform(2, 7), rng.uniform(0.5, 2)
    return coarse * smooth_noise(rng, SHAPE, 60 / spacing_mm) + fine * smooth_noise(rng, SHAPE, 20 / spacing_mm)


def draw_build(rng: np.random.Generator) -> Build:
    """Random measures."""
    size = rng.uniform(0.86, 1.14)
    return Build(
        half_width=size * rng.uniform(118, 140),
        half_depth=size * rng.uniform(74, 100),
        wall=rng.uniform(9, 18),
        fat=float(np.exp(rng.uniform(np.log(4), np.log(45)))),
        dome=size * rng.uniform(95, 135),
        recess=rng.uniform(60, 120),
        liver=size * rng.uniform(0.8, 1.12),
    )


def field_of_view(rng: np.random.Generator, build: Build) -> tuple[list[FloatArray], tuple[float, float, float]]:
    """Positions of the voxels along each axis, and their size: the liver alone, the abdomen or the whole trunk."""
    half = build.half_width + build.wall + build.fat
    depth = build.half_depth + build.wall + build.fat + 25
    margin = rng.uniform(-10, 15) if rng.random() < 0.5 else rng.uniform(0, 90)
    width = 2 * (half + margin)
    # A square picture, as scanners make it, or one that is cropped to the body.
    height = width if rng.random() < 0.6 else 2 * (depth + rng.uniform(-10, 40))
    kind = rng.random()
    if kind < 0.35:
        bottom, top = build.dome - rng.uniform(150, 240), build.dome + rng.uniform(-5, 70)
    elif kind < 0.65:
        bottom, top = -rng.uniform(190, 340), build.dome + rng.uniform(-110, 40)
    else:
        bottom, top = -rng.uniform(60, 340), build.dome + rng.uniform(0, 260)
    middle = (rng.normal(0, 8), 12 + rng.normal(0, 8), (bottom + top) / 2)
    extent = (width, height, top - bottom)
    spacing = tuple(float(e) / n for e, n in zip(extent, SHAPE, strict=True))
    axes = [
        (m + (np.arange(n, dtype=np.float32) - (n - 1) / 2) * s).astype(np.float32)
        for m, n, s in zip(middle, SHAPE, spacing, strict=True)
    ]
    return axes, (spacing[0], spacing[1], spacing[2])


class Canvas:
    """Organs painted one after the other; what comes later covers what came before, where it may.

    Args of the constructor:
        rng: Source of randomness.
        where: Positions of the voxels in the body, three arrays of `SHAPE`.
        spacing_mm: Size of a voxel.
        build: The body's measures.
    """

    def __init__(
        self, rng: np.random.Generator, where: list[FloatArray], spacing_mm: tuple[float, float, float], build: Build
    ) -> None:
        self.rng, self.where, self.spacing_mm, self.build = rng, where, spacing_mm, build
        self.organs = np.full(SHAPE, Organ.AIR, dtype=np.uint8)
        x, y, z = where
        p = rng.uniform(2.1, 2.8)
        # The cavity narrows a little towards the pelvis and the chest's top.
        taper = 1 - 0.12 * np.clip((-z - 60) / 200, 0, 1) ** 2 - 0.2 * np.clip((z - build.dome - 40) / 200, 0, 1) ** 2
        self.radius = (
            np.abs(x / (build.half_width * taper)) ** p + np.abs(y / (build.half_depth * taper)) ** p
        ) ** np.float32(1 / p)
        self.cavity = (self.radius - 1) * np.float32(np.sqrt(build.half_width * build.half_depth))
        side = np.tanh(x / 40)
        heart = 14 * np.exp(-((x - 15) ** 2 + (y + 20) ** 2) / 50**2)
        self.dome = build.dome - 9 * (side + 1) - heart - build.recess * np.clip(self.radius, 0, 1.1) ** 4

    def noise(self, scale_mm: float) -> FloatArray:
        """A smooth random field of standard deviation 1."""
        return smooth_noise(self.rng, SHAPE, scale_mm / float(np.mean(self.spacing_mm)))

    def jitter(self, point: Point, spread: float = 5.0) -> Point:
        """A point moved at random."""
        i, j, k = np.add(point, self.rng.normal(0, spread, 3))
        return float(i), float(j), float(k)

    def put(self, inside: NDArray[np.bool_], organ: Organ, over: tuple[Organ, ...] = ()) -> None:
        """Paint an organ, over these alone where they are named."""
        if over:
            inside = inside & np.isin(self.organs, over)
        self.organs[inside] = organ

    def plane(self, normal: Point, point: Point) -> FloatArray:
        """Signed distance from a plane, positive where the normal points, with waves in it."""
        n = np.divide(normal, np.linalg.norm(normal))
        flat = sum((w - p) * a for w, p, a in zip(self.where, point, n, strict=True))
        return (flat + 6 * self.noise(32.0)).astype(np.float32)
