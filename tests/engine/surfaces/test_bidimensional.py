"""The bidimensional product on shapes whose diameters are known."""

from __future__ import annotations

import numpy as np
import pytest

from napari_ossnet.engine.results.bidimensional import Bidimensional, axial_axis, bidimensional
from napari_ossnet.engine.surfaces.surface import Mesh, extract_surface


def test_an_ellipsoid_has_the_two_axes_of_its_widest_axial_slice(shapes):
    centre = np.array([24.0, 26.0, 20.0])
    turn = np.array([[np.cos(0.4), -np.sin(0.4), 0], [np.sin(0.4), np.cos(0.4), 0], [0, 0, 1.0]])
    snapshot = shapes.snapshot(shapes.ellipsoid(centre, np.array([18.0, 9.0, 12.0]), turn), (50, 50, 40), np.eye(4))

    found = bidimensional(extract_surface(snapshot), snapshot.affine)

    assert found.longest_mm == pytest.approx(36.0, rel=0.01)
    assert found.across_mm == pytest.approx(18.0, rel=0.01)
    assert found.product_mm2 == pytest.approx(648.0, rel=0.015)
    assert found.slice_index == 20


@pytest.mark.parametrize(("axes", "axis"), [((0, 1, 2), 2), ((2, 0, 1), 0), ((1, 2, 0), 1)])
def test_axial_slices_are_found_whatever_the_axis_order(axes, axis, shapes):
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for voxel_axis, world_axis in enumerate(axes):
        affine[world_axis, voxel_axis] = 1.0
    snapshot = shapes.snapshot(
        shapes.ellipsoid(np.array([20.0, 20, 20]), np.array([8.0, 14, 17])), (41, 41, 41), affine
    )

    found = bidimensional(extract_surface(snapshot), affine)

    assert axial_axis(affine) == axis
    assert (found.longest_mm, found.across_mm) == pytest.approx((28.0, 16.0), rel=0.01)


def test_a_ring_is_measured_from_outer_edge_to_outer_edge(shapes):
    def ring(points):
        x, y, z = (points - 20.0).T
        return 4.0 - np.hypot(np.hypot(x, y) - 12.0, z)

    snapshot = shapes.snapshot(ring, (41, 41, 41), np.eye(4))

    found = bidimensional(extract_surface(snapshot), np.eye(4))

    assert (found.longest_mm, found.across_mm) == pytest.approx((32.0, 32.0), rel=0.01)


def test_nothing_has_no_diameters():
    nothing = Mesh(vertices_world=np.empty((0, 3)), faces=np.empty((0, 3), dtype=np.int64))

    assert bidimensional(nothing, np.eye(4)) == Bidimensional()
    assert Bidimensional().product_mm2 == 0
