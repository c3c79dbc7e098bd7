"""Scans of shapes that formulas give, so that the true surface is known at every place and not at voxels alone."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.phantom.random_fields import FloatArray, smooth_noise
from ossnet_training.synthesis.pairs import Pair

#: What scans of shapes are called.
KIND = "shape"
#: Voxels of 1 mm: the grid of the hippocampus recipe.
SHAPE = (48, 64, 48)
#: Voxels are averaged over so many points an axis: partial volume.
_POINTS = 4
_NAME = re.compile(rf"{KIND}_(\d+)_(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalyticShape:
    """A torus about an axis; with a ring of radius 0 it is a ball. All in voxels, which are mm.

    Attributes:
        centre: (3,) grid location.
        axis: (3,) unit vector.
        ring: Radius of the ring.
        thickness: Radius of its cross-section.
    """

    centre: np.ndarray
    axis: np.ndarray
    ring: float
    thickness: float

    def distance(self, places: np.ndarray) -> np.ndarray:
        """Signed distance in mm of (..., 3) grid locations from the surface, negative inside; exact."""
        offset = places - self.centre
        height = offset @ self.axis
        across = np.sqrt(np.maximum((offset**2).sum(-1) - height**2, 0))
        return np.hypot(across - self.ring, height) - self.thickness


def shape_of(name: str) -> AnalyticShape:
    """The shape in the scan of a name.

    Raises:
        InputError: It is no such name.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise InputError(
            f"{name} is no scan of a shape; make some with `ossnet-train synthesise OUT --anatomy shapes`."
        )
    return _draw_shape(_generator(int(match[1]), int(match[2])))


def make_shape_pair(seed: int, number: int) -> Pair:
    """The scan of a shape; equal numbers give equal scans, and `shape_of` its name gives the shape."""
    rng = _generator(seed, number)
    shape = _draw_shape(rng)
    return Pair(image=_image(rng, shape), label=shape.distance(_voxels()) < 0, affine=np.eye(4))


def _generator(seed: int, number: int) -> np.random.Generator:
    return np.random.default_rng([seed, number, 3])


def _draw_shape(rng: np.random.Generator) -> AnalyticShape:
    axis = rng.normal(size=3)
    ring = 0.0 if rng.random() < 0.4 else rng.uniform(7, 12)
    return AnalyticShape(
        centre=(np.array(SHAPE) - 1) / 2 + rng.uniform(-3, 3, 3),
        axis=axis / np.linalg.norm(axis),
        ring=ring,
        thickness=rng.uniform(3, 5.5) if ring else rng.uniform(6, 15),
    )


def _voxels(offset: tuple[float, ...] = (0.0, 0.0, 0.0)) -> np.ndarray:
    axes = [np.arange(n) + o for n, o in zip(SHAPE, offset, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


def _image(rng: np.random.Generator, shape: AnalyticShape) -> FloatArray:
    """A voxel shows its share of the shape, in a random contrast with uneven background and noise."""
    share = np.zeros(SHAPE, dtype=np.float32)
    for corner in np.ndindex(_POINTS, _POINTS, _POINTS):
        share += shape.distance(_voxels(tuple((np.array(corner) + 0.5) / _POINTS - 0.5))) < 0
    contrast = rng.uniform(0.5, 1.5) * rng.choice([-1, 1])
    background = rng.uniform(0.05, 0.2) * smooth_noise(rng, SHAPE, 12.0)
    noise = rng.uniform(0.03, 0.2) * rng.standard_normal(SHAPE, dtype=np.float32)
    return (contrast * share / _POINTS**3 + background + noise).astype(np.float32)
