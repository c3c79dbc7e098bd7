"""Surfaces lie on the level set, are closed, and look outwards, however the scan is oriented."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import trimesh

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.surfaces.surface import extract_surface


def as_trimesh(mesh):
    return trimesh.Trimesh(vertices=mesh.vertices_world, faces=mesh.faces, process=False)


def test_vertices_of_a_ball_lie_on_its_sphere(a_ball, a_ball_centre):
    mesh = extract_surface(a_ball)

    distances = np.linalg.norm(mesh.vertices_world - a_ball_centre, axis=1)
    # The logit is linear along rays, not along voxel edges: a chord of 1.7 mm sags by 1.7^2 / (8 * 17) mm.
    assert np.abs(distances - 17.0).max() < 0.03
    assert np.allclose(mesh.vertices_world.mean(axis=0), a_ball_centre, atol=0.1)


def test_the_mesh_is_closed_and_its_normals_point_outwards(a_ball, a_ball_centre):
    mesh = extract_surface(a_ball)

    body = as_trimesh(mesh)
    assert body.is_watertight
    assert body.is_winding_consistent
    outwards = ((body.triangles_center - a_ball_centre) * body.face_normals).sum(axis=1)
    assert (outwards > 0).mean() > 0.999


def test_area_and_volume_are_those_of_the_sphere(a_ball):
    mesh = extract_surface(a_ball)

    assert mesh.area_mm2 == pytest.approx(4 * np.pi * 17**2, rel=0.005)
    assert mesh.volume_mm3 == pytest.approx(4 / 3 * np.pi * 17**3, rel=0.005)


def test_an_object_cut_by_the_scans_end_is_closed_half_a_sample_beyond(shapes):
    snapshot = shapes.snapshot(shapes.ball(np.array([0.0, 19.0, 10.0]), 8.0), (20, 20, 20), np.eye(4))

    mesh = extract_surface(snapshot)

    body = as_trimesh(mesh)
    assert body.is_watertight
    assert body.volume > 0
    assert mesh.vertices_world.min(axis=0)[0] == pytest.approx(-0.5)
    assert mesh.vertices_world.max(axis=0)[1] == pytest.approx(19.5)


@pytest.mark.parametrize("step", [2, 3, 4])
def test_at_coarse_steps_an_object_that_fills_the_scan_ends_where_the_scan_does(shapes, step):
    scan_shape, affine = np.array([22, 20, 24]), np.diag([step, step, step, 1.0])
    i, j, k = (scan_shape - 1) // step + 1
    snapshot = shapes.snapshot(lambda points: np.ones(len(points)), (i, j, k), affine)
    low, high = np.full(3, -0.5), scan_shape - 0.5
    snapshot = replace(snapshot, bounds=(tuple(low / step), tuple(high / step)))

    mesh = extract_surface(snapshot)

    assert as_trimesh(mesh).is_watertight
    assert mesh.vertices_world.min(axis=0) == pytest.approx(low, abs=1e-4)
    assert mesh.vertices_world.max(axis=0) == pytest.approx(high, abs=1e-4)


def test_blocks_are_welded_without_a_trace(shapes):
    snapshot = shapes.snapshot(shapes.ball(np.array([66.3, 64.2, 63.0]), 30.0), (140, 130, 128), np.eye(4))

    mesh = extract_surface(snapshot)

    body = as_trimesh(mesh)
    assert body.is_watertight
    assert body.euler_number == 2
    assert len(np.unique(mesh.vertices_world.round(6), axis=0)) == len(mesh.vertices_world)
    assert mesh.volume_mm3 == pytest.approx(4 / 3 * np.pi * 30**3, rel=0.002)


def test_a_surface_through_the_samples_themselves_stays_closed(shapes):
    snapshot = shapes.snapshot(lambda points: 10.0 - np.abs(points - 16.0).max(axis=1), (33, 33, 33), np.eye(4))

    mesh = extract_surface(snapshot)

    assert as_trimesh(mesh).is_watertight
    # Marching cubes bevels the edges.
    assert mesh.volume_mm3 == pytest.approx(20.0**3, rel=0.02)


def test_noise_gives_a_closed_surface_too(shapes):
    rng = np.random.default_rng(1)
    snapshot = shapes.snapshot(lambda points: rng.normal(size=len(points)), (70, 20, 20), np.eye(4))

    body = as_trimesh(extract_surface(snapshot))

    # Where two sheets touch in an edge, four faces meet there; every edge still has as many faces one way as the other.
    edges = np.sort(body.edges, axis=1)
    _, count = np.unique(edges, axis=0, return_counts=True)
    assert (count % 2 == 0).all()


def test_each_class_has_a_surface_of_its_own(shapes):
    first, second = shapes.ball(np.array([20.0, 20.0, 20.0]), 10.0), shapes.ball(np.array([42.0, 20.0, 20.0]), 8.0)
    snapshot = shapes.snapshot(
        lambda points: np.stack([np.zeros(len(points)), first(points), second(points)], axis=1), (60, 40, 40), np.eye(4)
    )

    volumes = [extract_surface(snapshot, label).volume_mm3 for label in (1, 2, None)]

    assert volumes[0] == pytest.approx(4 / 3 * np.pi * 10**3, rel=0.01)
    assert volumes[1] == pytest.approx(4 / 3 * np.pi * 8**3, rel=0.01)
    assert volumes[2] == pytest.approx(volumes[0] + volumes[1], rel=0.01)


def test_the_threshold_moves_the_surface(shapes):
    field = shapes.ball(np.array([20.0, 20.0, 20.0]), 10.0)
    snapshot = shapes.snapshot(field, (40, 40, 40), np.eye(4), threshold=0.9)

    mesh = extract_surface(snapshot)

    distances = np.linalg.norm(mesh.vertices_world - 20.0, axis=1)
    assert distances.mean() == pytest.approx(10.0 - np.log(9), abs=0.02)


def test_an_empty_mask_has_an_empty_surface(shapes):
    mesh = extract_surface(shapes.snapshot(lambda points: -np.ones(len(points)), (9, 9, 9), np.eye(4)))

    assert mesh.is_empty
    assert mesh.area_mm2 == mesh.volume_mm3 == 0


def test_an_unknown_label_is_refused(a_ball):
    with pytest.raises(InputError, match="no label 7"):
        extract_surface(a_ball, 7)
