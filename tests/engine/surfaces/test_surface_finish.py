"""Wishes for a surface, and what the user is told."""

from __future__ import annotations

import numpy as np
import pytest

from napari_ossnet.engine.surfaces.surface import extract_surface
from napari_ossnet.engine.surfaces.surface_finish import SurfaceWishes, finish_surface


@pytest.fixture
def a_mesh(shapes):
    large, speck = shapes.ball(np.array([18.0, 18, 18]), 11.0), shapes.ball(np.array([34.0, 18, 18]), 2.0)
    return extract_surface(
        shapes.snapshot(lambda points: np.maximum(large(points), speck(points)), (40, 36, 36), np.eye(4))
    )


def test_without_wishes_it_stays_as_it_is(a_mesh):
    finished = finish_surface(a_mesh, SurfaceWishes())

    assert finished.mesh is a_mesh
    assert finished.sentences == ()


def test_everything_that_was_done_is_said(a_mesh):
    pytest.importorskip("vtk")

    finished = finish_surface(a_mesh, SurfaceWishes(least_ml=0.1, faces=1000, smoothing=10))

    assert len(finished.mesh.faces) <= 1000
    assert finished.mesh.vertices_world[:, 0].max() < 31
    assert [word in sentence for word, sentence in zip(("left out", "triangles"), finished.sentences, strict=True)] == [
        True,
        True,
    ]
