"""Pieces of a surface: objects, their cavities, and what is too small to keep."""

from __future__ import annotations

import numpy as np
import pytest

from napari_ossnet.engine.surfaces.surface import extract_surface
from napari_ossnet.engine.surfaces.surface_components import components, drop_small


@pytest.fixture
def a_mesh(shapes):
    """A hollow ball of 12 mm with a cavity of 5 mm, a ball of 6 mm and one of 2 mm."""
    hollow, inner = shapes.ball(np.array([20.0, 20, 20]), 12.0), shapes.ball(np.array([20.0, 20, 20]), 5.0)
    second, speck = shapes.ball(np.array([45.0, 20, 20]), 6.0), shapes.ball(np.array([45.0, 34, 20]), 2.0)

    def field(points):
        return np.maximum.reduce([np.minimum(hollow(points), -inner(points)), second(points), speck(points)])

    return extract_surface(shapes.snapshot(field, (60, 42, 40), np.eye(4)))


def ball_mm3(radius: float) -> float:
    return 4 / 3 * np.pi * radius**3


def test_objects_come_largest_first_with_their_cavities(a_mesh):
    volumes = [piece.volume_mm3 for piece in components(a_mesh)]

    assert volumes == pytest.approx([ball_mm3(12) - ball_mm3(5), ball_mm3(6), ball_mm3(2)], rel=0.02, abs=6)
    assert sum(volumes) == pytest.approx(a_mesh.volume_mm3)


def test_small_pieces_are_dropped_and_said(a_mesh):
    kept = drop_small(a_mesh, 0.1)

    assert kept.dropped_count == 1
    assert kept.dropped_ml == pytest.approx(ball_mm3(2) / 1000, rel=0.2)  # chords of a small ball
    assert kept.sentence.startswith("1 small piece of the surface")
    assert kept.mesh.volume_mm3 == pytest.approx(a_mesh.volume_mm3 - kept.dropped_ml * 1000)


def test_nothing_is_dropped_below_no_limit(a_mesh):
    kept = drop_small(a_mesh, 0.0)

    assert kept.dropped_count == 0
    assert kept.sentence == ""
    assert kept.mesh.area_mm2 == pytest.approx(a_mesh.area_mm2)


def test_everything_may_be_too_small(a_mesh):
    assert drop_small(a_mesh, 100.0).mesh.is_empty
    assert components(drop_small(a_mesh, 100.0).mesh) == []
