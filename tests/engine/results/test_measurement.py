"""Numbers against shapes whose numbers are known."""

from __future__ import annotations

import numpy as np
import pytest

from napari_ossnet.engine.results.measurement import count_voxels, max_diameter_mm, voxel_volume_ml


def a_rotation(seed: int) -> np.ndarray:
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q


@pytest.mark.parametrize("count", [3, 50, 1999])
def test_the_diameter_of_a_few_points_is_the_longest_of_all_pairs(count):
    points = np.random.default_rng(count).normal(size=(count, 3))

    pairs = np.linalg.norm(points[:, None] - points[None], axis=2)

    assert max_diameter_mm(points) == pytest.approx(pairs.max())


@pytest.mark.parametrize("seed", range(4))
def test_the_diameter_of_many_points_does_not_depend_on_how_they_are_turned(seed):
    points = np.random.default_rng(0).normal(size=(30000, 3))
    points = points / np.linalg.norm(points, axis=1, keepdims=True) * [31.0, 12.0, 9.0]
    ends = np.array([[31.0, 0, 0], [-31.0, 0, 0]])

    turned = np.concatenate([points, ends]) @ a_rotation(seed) + [100.0, -30.0, 8.0]

    assert max_diameter_mm(turned) == pytest.approx(62.0, rel=1e-6)


def test_no_points_and_one_point_have_no_diameter():
    assert max_diameter_mm(np.empty((0, 3))) == 0
    assert max_diameter_mm(np.ones((1, 3))) == 0


def test_points_that_are_all_the_same_have_no_diameter():
    assert max_diameter_mm(np.ones((5000, 3))) == 0


def test_a_voxels_volume_is_that_of_its_parallelepiped():
    affine = np.eye(4)
    affine[:3, :3] = a_rotation(2) @ np.diag([0.5, 2.0, 3.0])

    assert voxel_volume_ml(affine) == pytest.approx(0.003)


def test_voxels_are_counted_by_label_and_together():
    labels = np.zeros((4, 4, 4), dtype=np.uint8)
    labels[0, 0, :3] = 2
    labels[1, 1, 1] = 5

    assert [count_voxels(labels, label) for label in (None, 2, 5, 1)] == [4, 3, 1, 0]
