"""Snapshots of shapes with a formula, as a finished step would give them."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest

from napari_ossnet.engine.events import Snapshot
from napari_ossnet.engine.geometry import voxel_to_world

Formula = Callable[[np.ndarray], np.ndarray]


def snapshot_of(formula: Formula, shape: tuple[int, int, int], affine: np.ndarray, threshold: float = 0.5) -> Snapshot:
    """The snapshot of a field of world positions, its band reduced to what the octree would know."""
    indices = np.stack(np.meshgrid(*[np.arange(size) for size in shape], indexing="ij"), axis=-1)
    points = voxel_to_world(affine, indices.reshape(-1, 3))
    logits = formula(points).reshape(*shape, -1).astype(np.float32)
    offset = np.log(threshold / (1 - threshold))
    if logits.shape[-1] == 1:
        labels = (logits[..., 0] > offset).astype(np.uint8)
    else:
        labels = (logits - offset * (np.arange(logits.shape[-1]) > 0)).argmax(axis=-1).astype(np.uint8)
    band = np.argwhere(_is_boundary(labels)).astype(np.int32)
    return Snapshot(
        step=1.0,
        steps=(1.0, 1.0, 1.0),
        labels=labels,
        first_voxel=(0.0, 0.0, 0.0),
        affine=affine,
        bounds=((-0.5, -0.5, -0.5), (shape[0] - 0.5, shape[1] - 0.5, shape[2] - 0.5)),
        band_samples=band,
        band_logits=logits[tuple(band.T)],
        threshold=threshold,
        class_labels=tuple(range(1, max(2, logits.shape[-1]))),
        evaluated_locations=len(band),
        elapsed_s=0.0,
        is_final=True,
    )


def _is_boundary(labels: np.ndarray) -> np.ndarray:
    found = np.zeros(labels.shape, dtype=bool)
    for axis in range(3):
        moved = np.moveaxis(labels, axis, 0)
        differs = moved[1:] != moved[:-1]
        view = np.moveaxis(found, axis, 0)
        view[1:] |= differs
        view[:-1] |= differs
    return found


def ball(centre: np.ndarray, radius: float) -> Formula:
    return lambda points: radius - np.linalg.norm(points - centre, axis=1)


def ellipsoid(centre: np.ndarray, half_axes: np.ndarray, rotation: np.ndarray | None = None) -> Formula:
    turn = np.eye(3) if rotation is None else rotation
    return lambda points: 5 * (1 - np.linalg.norm(((points - centre) @ turn) / half_axes, axis=1))


def rotation(seed: int) -> np.ndarray:
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return turn * np.sign(np.linalg.det(turn))


@pytest.fixture
def shapes() -> SimpleNamespace:
    return SimpleNamespace(snapshot=snapshot_of, ball=ball, ellipsoid=ellipsoid, rotation=rotation)


@pytest.fixture
def an_oblique_affine() -> np.ndarray:
    """Anisotropic, rotated, and left-handed."""
    affine = np.eye(4)
    affine[:3, :3] = rotation(3) @ np.diag([-0.9, 1.1, 1.7])
    affine[:3, 3] = [20.0, -35.0, 12.0]
    return affine


@pytest.fixture
def a_ball(an_oblique_affine: np.ndarray) -> Snapshot:
    """A ball of 17 mm around the middle of the samples."""
    shape = (60, 54, 40)
    centre = voxel_to_world(an_oblique_affine, np.array([[29.3, 26.6, 19.2]]))[0]
    return snapshot_of(ball(centre, 17.0), shape, an_oblique_affine)


@pytest.fixture
def a_ball_centre(an_oblique_affine: np.ndarray) -> np.ndarray:
    return voxel_to_world(an_oblique_affine, np.array([[29.3, 26.6, 19.2]]))[0]
