"""Vertices on the level set: as near as the published refinement brings them, for a small part of its questions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh

from napari_ossnet.engine.events import Progress
from napari_ossnet.engine.geometry import voxel_to_world, world_to_voxel
from napari_ossnet.engine.refining.decision import Decision
from napari_ossnet.engine.surfaces.published_mesh_refinement import level_set_distance, refine_as_published
from napari_ossnet.engine.surfaces.surface import extract_surface
from napari_ossnet.engine.surfaces.surface_projection import SurfaceProjection


class CurvedField:
    """A torus whose logits bend: linear interpolation between samples is off by up to a fifth of a voxel."""

    device = torch.device("cpu")
    class_count = 1
    bytes_per_location = 64

    def __init__(self, grid_affine, centre) -> None:
        self.centre = torch.as_tensor(world_to_voxel(grid_affine, centre[None])[0], dtype=torch.float32)
        self.asked = 0

    def query(self, locations):
        self.asked += len(locations)
        x, y, z = (locations - self.centre).unbind(1)
        inside = 4.3 - torch.hypot(torch.hypot(x, y) - 11.0, z)
        return (6 * torch.tanh(0.7 * inside) + 1.5 * inside.clamp(max=0) + 0.1 * torch.sin(2 * x))[:, None]

    def prior(self, locations):
        return None


def run(steps):
    events = []
    while True:
        try:
            events.append(next(steps))
        except StopIteration as stop:
            return events, stop.value


@pytest.fixture
def a_grid_affine(an_oblique_affine):
    """The grid's voxels lie between the scan's, and are isotropic."""
    affine = an_oblique_affine.copy()
    affine[:3, :3] /= np.linalg.norm(affine[:3, :3], axis=0)
    affine[:3, 3] += [0.3, -0.2, 0.4]
    return affine


@pytest.fixture
def a_field(a_grid_affine, an_oblique_affine):
    return CurvedField(a_grid_affine, voxel_to_world(an_oblique_affine, np.array([[20.3, 17.6, 9.2]]))[0])


@pytest.fixture
def a_mesh(shapes, a_field, a_grid_affine, an_oblique_affine):
    def formula(points):
        locations = torch.as_tensor(world_to_voxel(a_grid_affine, points), dtype=torch.float32)
        return a_field.query(locations)[:, 0].numpy()

    return extract_surface(shapes.snapshot(formula, (42, 36, 20), an_oblique_affine))


@pytest.fixture
def a_projection(a_field, a_grid_affine):
    return SurfaceProjection(a_field, a_grid_affine, Decision(0.5), chunk_size=1000)


def test_vertices_end_on_the_level_set(a_projection, a_mesh, a_field, a_grid_affine):
    _, projected = run(a_projection.project(a_mesh))

    before = level_set_distance(a_field, a_mesh, a_grid_affine, 0.5)
    after = level_set_distance(a_field, projected, a_grid_affine, 0.5)
    assert before.max() > 0.1
    assert after.max() < 0.002


def test_it_is_as_near_as_the_published_refinement_and_asks_for_a_tenth_at_most(
    a_projection, a_mesh, a_field, a_grid_affine
):
    a_field.asked = 0
    _, projected = run(a_projection.project(a_mesh))
    asked, a_field.asked = a_field.asked, 0
    published = refine_as_published(a_field, a_mesh, a_grid_affine, 0.5)
    asked_as_published = a_field.asked

    ours = level_set_distance(a_field, projected, a_grid_affine, 0.5)
    theirs = level_set_distance(a_field, published, a_grid_affine, 0.5)
    original = level_set_distance(a_field, a_mesh, a_grid_affine, 0.5)
    assert theirs.mean() < original.mean()
    assert ours.mean() <= theirs.mean()
    assert ours.max() <= theirs.max()
    assert asked < 0.1 * asked_as_published


def test_a_closed_surface_stays_closed_and_keeps_its_faces(a_projection, a_mesh):
    _, projected = run(a_projection.project(a_mesh))

    body = trimesh.Trimesh(vertices=projected.vertices_world, faces=projected.faces, process=False)
    assert body.is_watertight
    assert projected.volume_mm3 > 0
    assert np.array_equal(projected.faces, a_mesh.faces)
    assert np.abs(projected.vertices_world - a_mesh.vertices_world).max() < 2.0


def test_vertices_that_are_held_stay(a_projection, a_mesh):
    is_free = np.zeros(len(a_mesh.vertices_world), dtype=bool)
    is_free[::2] = True

    _, projected = run(a_projection.project(a_mesh, is_free=is_free))

    has_moved = np.linalg.norm(projected.vertices_world - a_mesh.vertices_world, axis=1) > 1e-3
    assert not has_moved[1::2].any()
    assert has_moved[::2].any()


def test_progress_counts_the_locations(a_projection, a_mesh):
    events, _ = run(a_projection.project(a_mesh))

    assert all(isinstance(event, Progress) and event.stage == "surface" for event in events)
    assert events[-1].points_done >= 4 * len(a_mesh.vertices_world)
    assert max(np.diff([event.points_done for event in events])) <= 1000
