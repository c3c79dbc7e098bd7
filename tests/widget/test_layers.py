"""Layers and scans lie in the same place, whichever way the scan is stored."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from napari.layers import Image, Labels, Surface

from napari_ossnet.engine.geometry import voxel_to_world
from napari_ossnet.widget import layers as bridge

ORIENTATIONS = ("RAS", "LPS", "PIR, thick slices", "SAL", "oblique")


@pytest.fixture(params=ORIENTATIONS)
def a_scan(request, sphere):
    return sphere.make_scan(sphere.affines[request.param])


def image_of(volume):
    ((data, keywords),) = bridge.layer_from_volume(volume, ("scan",))
    return Image(data, **keywords)


def napari_of_world(points_world):
    """The convention, written out: (z, y, x) along superior, posterior, left."""
    return np.stack([points_world[:, 2], -points_world[:, 1], -points_world[:, 0]], axis=1)


def layer_world(layer, indices):
    return np.array([layer.data_to_world(index) for index in indices])


def test_every_voxel_of_a_layer_lies_where_the_scan_has_it(a_scan):
    layer = image_of(a_scan)
    corners = np.array([[0, 0, 0], [39, 0, 0], [0, 43, 0], [0, 0, 35], [39, 43, 35], [7, 30, 12]])
    values = a_scan.data[0][tuple(corners.T)]
    world = napari_of_world(voxel_to_world(a_scan.affine, corners))
    indices = np.array([layer.world_to_data(point) for point in world])
    np.testing.assert_allclose(indices, np.round(indices), atol=1e-6)
    np.testing.assert_array_equal(layer.data[tuple(np.round(indices).astype(int).T)], values)


def test_the_first_slice_shown_is_axial_with_the_front_up_and_the_left_on_the_right(a_scan):
    layer = image_of(a_scan)
    step = layer_world(layer, np.eye(3)) - layer_world(layer, np.zeros((1, 3)))
    # Each axis grows along superior, posterior, left more than along any other direction.
    assert (np.argmax(np.abs(step), axis=1) == [0, 1, 2]).all()
    assert (np.diag(step) > 0).all()


def test_a_layer_gives_back_the_scan_that_it_was_made_of(a_scan):
    layer = image_of(a_scan)
    volume = bridge.source_of_layer(layer, 0).to_volume()
    np.testing.assert_array_equal(volume.data, a_scan.data)
    assert np.array_equal(volume.affine, a_scan.affine), "the file's affine, digit for digit"
    assert volume.affine_codes == a_scan.affine_codes


def test_axis_aligned_scans_get_scale_and_translate_alone(sphere):
    layer = image_of(sphere.make_scan(sphere.affines["PIR, thick slices"]))
    np.testing.assert_allclose(layer.affine.affine_matrix, np.eye(4))
    np.testing.assert_allclose(layer.scale, [1.2, 1.0, 1.5])


def test_oblique_scans_keep_their_voxel_size_as_scale(sphere):
    volume = sphere.make_scan(sphere.affines["oblique"])
    layer = image_of(volume)
    assert sorted(np.round(layer.scale, 6)) == sorted(np.round(volume.spacing_mm, 6))
    assert not np.allclose(layer.affine.affine_matrix, np.eye(4))


def test_layers_carry_millimetres_and_axis_names(a_scan):
    layer = image_of(a_scan)
    assert [str(unit) for unit in layer.units] == ["millimeter"] * 3
    assert layer.axis_labels == ("z", "y", "x")


def test_a_moved_layer_moves_its_scan(a_scan):
    layer = image_of(a_scan)
    layer.translate = np.add(layer.translate, (3.0, -2.0, 5.0))
    moved = bridge.placement_of_layer(layer)
    # (z, y, x) = (S, -A, -R)
    shift = voxel_to_world(moved.scan_affine, np.zeros((1, 3))) - voxel_to_world(a_scan.affine, np.zeros((1, 3)))
    if np.allclose(layer.affine.affine_matrix, np.eye(4)):
        np.testing.assert_allclose(shift, [[-5.0, 2.0, 3.0]], atol=1e-9)
    world = napari_of_world(voxel_to_world(moved.scan_affine, np.array([[4, 5, 6]])))
    index = layer.world_to_data(world[0])
    assert layer.data[tuple(np.round(index).astype(int))] == a_scan.data[0, 4, 5, 6]


def test_somebody_elses_layer_is_read_as_z_y_x():
    layer = Image(np.zeros((5, 6, 7), np.uint8), scale=(2.0, 1.0, 0.5), translate=(10, 20, 30), units=("mm",) * 3)
    placement = bridge.placement_of_layer(layer)
    np.testing.assert_allclose(
        voxel_to_world(placement.scan_affine, np.array([[1, 2, 4]])), [[-(30 + 2.0), -(20 + 2.0), 10 + 2.0]]
    )
    assert bridge.is_spacing_known(layer)


def test_micrometres_become_millimetres():
    layer = Image(np.zeros((5, 6, 7), np.uint8), scale=(500, 500, 500), units=("um",) * 3)
    source = bridge.source_of_layer(layer, 0)
    np.testing.assert_allclose(source.to_volume().spacing_mm, [0.5, 0.5, 0.5])


def test_results_of_a_micrometre_layer_lie_on_it():
    layer = Image(np.zeros((5, 6, 7), np.uint8), scale=(500, 400, 300), translate=(7, 8, 9), units=("um",) * 3)
    source = bridge.source_of_layer(layer, 0)
    _, transform = bridge.mask_to_layer(np.zeros((5, 6, 7), np.uint8), source.placement.scan_affine, source.placement)
    np.testing.assert_allclose(transform["scale"], layer.scale)
    np.testing.assert_allclose(transform["translate"], layer.translate, atol=1e-6)
    assert [str(unit) for unit in transform["units"]] == [str(unit) for unit in layer.units]


def test_a_layer_without_units_is_known_to_have_none():
    assert not bridge.is_spacing_known(Image(np.zeros((5, 6, 7))))


@pytest.mark.parametrize("step", [16.0, 8.0, 4.0, 2.0, 1.0, 0.25])
def test_labels_of_any_step_lie_on_their_samples(a_scan, step):
    placement = bridge.placement_of_scan(a_scan)
    shape = tuple(int(np.ceil(size / step)) for size in a_scan.shape)
    labels = np.random.default_rng(0).integers(0, 3, shape).astype(np.uint8)
    affine = a_scan.affine @ np.diag([step, step, step, 1.0])
    data, transform = bridge.mask_to_layer(labels, affine, placement)
    layer = Labels(data, **transform)
    samples = np.array([[0, 0, 0], [size - 1 for size in shape], [shape[0] - 1, 0, shape[2] // 2]])
    indices = np.array([layer.world_to_data(p) for p in napari_of_world(voxel_to_world(affine, samples))])
    np.testing.assert_allclose(indices, np.round(indices), atol=1e-6)
    np.testing.assert_array_equal(data[tuple(np.round(indices).astype(int).T)], labels[tuple(samples.T)])


def test_results_follow_a_layer_that_was_moved(a_scan):
    layer = image_of(a_scan)
    layer.translate = np.add(layer.translate, (3.0, -2.0, 5.0))
    placement = bridge.placement_of_layer(layer)
    data, transform = bridge.mask_to_layer(np.zeros(a_scan.shape, np.uint8), placement.scan_affine, placement)
    labels = Labels(data, **transform)
    corners = np.array([[0, 0, 0], [5, 6, 7]])
    np.testing.assert_allclose(layer_world(labels, corners), layer_world(layer, corners), atol=1e-6)


def test_labels_are_a_copy_that_may_be_painted_on():
    layer = Image(np.zeros((5, 6, 7), np.uint8), units=("mm",) * 3)
    placement = bridge.placement_of_layer(layer)
    labels = np.zeros((5, 6, 7), np.uint8)
    data, _ = bridge.mask_to_layer(labels, placement.scan_affine, placement)
    data[:] = 1
    assert not labels.any()


def test_surfaces_lie_in_the_world_of_the_scan_and_come_back_from_it(a_scan):
    placement = bridge.placement_of_scan(a_scan)
    vertices_world = voxel_to_world(a_scan.affine, np.array([[3.25, 4.5, 5.75], [20, 1, 30], [0, 43, 2]]))
    vertices, transform = bridge.mesh_to_layer(vertices_world, placement)
    layer = Surface((vertices, np.array([[0, 1, 2]])), metadata={bridge.METADATA_KEY: placement}, **transform)
    np.testing.assert_allclose(layer_world(layer, layer.vertices), napari_of_world(vertices_world), atol=1e-4)
    np.testing.assert_allclose(bridge.vertices_to_world(layer.vertices, layer), vertices_world, atol=1e-4)


def test_a_box_is_found_in_scan_voxels(a_scan):
    placement = bridge.placement_of_scan(a_scan)
    inside = voxel_to_world(a_scan.affine, np.array([[4.0, 5.0, 6.0], [9.0, 12.0, 20.0]]))
    start, stop = bridge.box_in_scan(napari_of_world(inside), placement)
    # Corners of an oblique box in napari's world are those of the points, turned back: the points' own.
    assert (start <= [4, 5, 6]).all()
    assert (stop >= [10, 13, 21]).all()
    assert (start >= 0).all()
    assert (stop <= a_scan.shape).all()


def test_labels_on_a_coarser_grid_can_be_saved_in_the_scans_axis_order(a_scan):
    placement = bridge.placement_of_scan(a_scan)
    labels = np.random.default_rng(0).integers(0, 3, (10, 11, 9)).astype(np.uint8)
    affine = a_scan.affine @ np.diag([4.0, 4.0, 4.0, 1.0])
    data, transform = bridge.mask_to_layer(labels, affine, placement)
    layer = Labels(data, metadata={bridge.METADATA_KEY: placement}, **transform)
    found = bridge.placement_of_layer(layer)
    np.testing.assert_array_equal(found.to_scan(data), labels)
    np.testing.assert_allclose(found.scan_affine, affine, atol=1e-6)


def test_a_time_series_is_one_layer_with_a_leading_axis(sphere):
    volume = sphere.make_scan(sphere.affines["SAL"])
    series = replace(volume, data=np.repeat(volume.data, 3, axis=0), channel_names=("a", "b", "c"))
    data, keywords = bridge.multichannel_layer_from_volume(series, "series")
    layer = Image(data, **keywords)
    assert bridge.channel_count(layer) == 3
    second = bridge.source_of_layer(layer, 1)
    np.testing.assert_array_equal(second.to_volume().data, volume.data)
    assert np.array_equal(second.placement.scan_affine, volume.affine)
