"""Beyond the scan's resolution: errors fall with the factor, nothing is shifted, and nothing shows at a seam."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from napari_ossnet.engine.geometry import voxel_to_world
from napari_ossnet.engine.session import SegmentationSession

START, STOP = (10, 9, 8), (34, 31, 29)
FACTORS = (1, 2, 4, 8)


def a_plane(rng, middle):
    normal = rng.normal(size=3)
    normal /= np.linalg.norm(normal)
    return lambda points: (points - middle) @ normal


def a_ball(rng, middle):
    return lambda points: 7.3 - np.linalg.norm(points - middle, axis=1)


def a_torus(rng, middle):
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]

    def distance(points):
        x, y, z = ((points - middle) @ turn).T
        return 2.7 - np.hypot(np.hypot(x, y) - 6.4, z)

    return distance


@pytest.fixture(params=[a_plane, a_ball, a_torus], ids=["plane", "ball", "torus"])
def a_distance(request, toy):
    """The distance in mm from a surface at a random place, positive inside."""
    rng = np.random.default_rng(11)
    return request.param(rng, toy.centre + rng.uniform(-0.5, 0.5, 3))


@pytest.fixture
def a_shape_session(a_distance, toy):
    """A session whose network's logit levels off away from the surface, as a trained one's does."""
    return SegmentationSession(encode=toy.encoder(formula=lambda points: 4 * np.tanh(a_distance(points) / 1.5)))


def mask_errors_mm(result, distance):
    """Signed distances of the faces between voxels in and out from the true surface."""
    found = []
    for axis in range(3):
        faces = np.argwhere(np.diff((result.labels > 0).astype(np.int8), axis=axis) != 0).astype(float)
        faces[:, axis] += 0.5
        found.append(distance(voxel_to_world(result.affine, faces)))
    return np.concatenate(found)


def surface_errors_mm(mesh, volume, distance):
    """Distances of the faces' middles from the true surface, where the box's end does not cut it."""
    middles = mesh.vertices_world[mesh.faces].mean(axis=1)
    voxels = voxel_to_world(np.linalg.inv(volume.affine), middles)
    is_free = ((voxels > START) & (voxels < np.array(STOP) - 1)).all(axis=1)
    return np.abs(distance(middles[is_free]))


def test_errors_fall_with_the_factor_and_nothing_is_shifted(a_shape_session, a_distance, toy):
    volume = toy.volume((41, 38, 35), (2, 0, 1), (1, -1, -1))
    toy.run(a_shape_session.segment(toy.request(volume)))
    of_masks, of_surfaces = [], []
    for factor in FACTORS:
        _, fine = toy.run(a_shape_session.refine_region(START, STOP, factor))
        signed = mask_errors_mm(fine, a_distance)
        of_masks.append(np.abs(signed).mean())
        # Half a voxel's shift would be 0.5 mm at factor 1 and 0.44 mm at factor 8.
        assert abs(signed.mean()) < 0.04 / factor
        _, mesh = toy.run(a_shape_session.surface(fine))
        of_surfaces.append(surface_errors_mm(mesh, volume, a_distance).mean())

    # Voxels are half as large at each factor; the triangles' chords err by the square of their size.
    assert of_masks[0] < 0.2
    for coarse, fine in pairwise(of_masks):
        assert fine == pytest.approx(coarse / 2, rel=0.1)
    assert of_surfaces[0] < 0.04
    assert of_surfaces[2] < max(0.1 * of_surfaces[0], 0.001)


@pytest.mark.parametrize("factor", [3, 5])
def test_where_fine_and_native_samples_coincide_so_do_the_masks(factor, a_shape_session, toy):
    volume = toy.volume((41, 38, 35), (1, 2, 0), (-1, 1, -1))
    _, native = toy.run(a_shape_session.segment(toy.request(volume)))

    _, fine = toy.run(a_shape_session.refine_region(START, STOP, factor))

    middle = slice(factor // 2, None, factor)
    assert np.array_equal(
        fine.labels[middle, middle, middle],
        native.labels[tuple(slice(a, b) for a, b in zip(START, STOP, strict=True))],
    )


def test_two_regions_side_by_side_are_one(a_shape_session, toy):
    volume = toy.volume((41, 38, 35), (0, 1, 2), (-1, -1, 1))
    toy.run(a_shape_session.segment(toy.request(volume)))
    middle = (21, *STOP[1:]), (21, *START[1:])

    parts = [
        toy.run(a_shape_session.refine_region(start, stop, 4))[1].labels
        for start, stop in ((START, middle[0]), (middle[1], STOP), (START, STOP))
    ]

    assert np.array_equal(np.concatenate(parts[:2]), parts[2])
