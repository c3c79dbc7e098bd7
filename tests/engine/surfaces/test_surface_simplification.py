"""Thinner and smoother surfaces, and an honest word on what that cost."""

from __future__ import annotations

import builtins

import numpy as np
import pytest
import trimesh

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.surfaces.surface import Mesh, extract_surface
from napari_ossnet.engine.surfaces.surface_simplification import simplify


@pytest.fixture
def a_mesh(a_ball):
    pytest.importorskip("vtk")
    return extract_surface(a_ball)


def test_thinning_keeps_the_surface_closed_and_reports_the_deviation(a_mesh, a_ball_centre):
    thinned = simplify(a_mesh, faces=1500)

    body = trimesh.Trimesh(vertices=thinned.mesh.vertices_world, faces=thinned.mesh.faces, process=False)
    assert body.is_watertight
    assert len(thinned.mesh.faces) <= 1500
    off = np.abs(np.linalg.norm(thinned.mesh.vertices_world - a_ball_centre, axis=1) - 17.0).max()
    assert off < thinned.largest_deviation_mm + 0.05 < 0.5
    assert f"{thinned.largest_deviation_mm:.2f} mm" in thinned.sentence


def test_smoothing_takes_steps_away_without_shrinking(shapes):
    pytest.importorskip("vtk")
    stairs = extract_surface(
        shapes.snapshot(
            lambda points: np.where(np.linalg.norm(points - 20.0, axis=1) < 12.0, 1.0, -1.0), (41, 41, 41), np.eye(4)
        )
    )

    smoothed = simplify(stairs, smoothing=20)

    def roughness(mesh: Mesh) -> float:
        return float(np.linalg.norm(mesh.vertices_world - 20.0, axis=1).std())

    assert roughness(smoothed.mesh) < 0.7 * roughness(stairs)
    assert smoothed.mesh.volume_mm3 == pytest.approx(stairs.volume_mm3, rel=0.01)
    assert 0 < smoothed.mean_deviation_mm <= smoothed.largest_deviation_mm < 1.0


def test_asking_for_all_faces_changes_nothing(a_mesh):
    same = simplify(a_mesh, faces=10**9)

    assert same.largest_deviation_mm == pytest.approx(0.0, abs=1e-6)
    assert len(same.mesh.faces) == len(a_mesh.faces)


def test_an_empty_surface_stays_empty():
    nothing = Mesh(vertices_world=np.empty((0, 3)), faces=np.empty((0, 3), dtype=np.int64))

    assert simplify(nothing, faces=100).mesh.is_empty


@pytest.mark.parametrize("options", [{"faces": 3}, {"smoothing": -1}])
def test_numbers_that_make_no_sense_are_refused(options, a_mesh):
    with pytest.raises(InputError):
        simplify(a_mesh, **options)


def test_without_vtk_the_user_is_told_what_to_install(a_mesh, monkeypatch):
    original = builtins.__import__

    def without_vtk(name, *arguments, **options):
        if name.startswith("vtkmodules"):
            raise ImportError(name)
        return original(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without_vtk)

    with pytest.raises(InputError, match="pip install"):
        simplify(a_mesh, faces=100)
