"""The bridge between MRML and the engine, on volumes of every direction."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import slicer
import vtk
from OSSNetLib import nodes

CENTRE = np.array([12.0, -20.0, 31.0])
RADIUS_MM = 9.0
SHAPE = (30, 36, 28)


def affines() -> list[np.ndarray]:
    """Four sign patterns, an axis permutation, an oblique and an anisotropic one, each with the ball well inside."""
    found = [np.diag([*signs, 1.0]) for signs in itertools.product((1.0, -1.0), repeat=3)]
    permuted = np.eye(4)[[2, 0, 1, 3]]
    angle = np.radians(27)
    oblique = np.eye(4)
    oblique[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    found += [permuted, oblique, oblique @ np.diag([0.9, 0.8, 1.3, 1.0])]
    for affine in found:
        affine[:3, 3] = CENTRE - affine[:3, :3] @ ((np.array(SHAPE) - 1) / 2 + 0.3)
    return found


def ball(affine: np.ndarray) -> np.ndarray:
    indices = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1)
    world = indices @ affine[:3, :3].T + affine[:3, 3]
    return (np.linalg.norm(world - CENTRE, axis=-1) <= RADIUS_MM).astype(np.uint8)


@pytest.fixture
def classes() -> list[SimpleNamespace]:
    terms = SimpleNamespace(category=("SCT", "123037004", "Anatomical Structure"), type=("SCT", "10200004", "Liver"))
    terms.region = None
    return [SimpleNamespace(name="ball", title="Ball", label=1, color=(200, 100, 50), terminology=terms)]


@pytest.mark.parametrize("affine", affines())
def test_a_volume_node_goes_to_the_engine_and_back(a_volume_node: Callable[..., object], affine: np.ndarray) -> None:
    node = a_volume_node(shape=SHAPE, affine=affine)
    data = nodes.volume_to_array(node)
    assert data.shape == (1, *SHAPE)
    again = nodes.array_to_volume("again", data[0], nodes.volume_to_affine(node))
    assert np.array_equal(slicer.util.arrayFromVolume(again), slicer.util.arrayFromVolume(node))
    assert np.allclose(nodes.volume_to_affine(again), affine)


@pytest.mark.parametrize("affine", affines())
def test_labels_lie_where_the_scan_says_in_the_world(
    a_volume_node: Callable[..., object], classes: list[SimpleNamespace], affine: np.ndarray
) -> None:
    volume = a_volume_node(shape=SHAPE, affine=affine)
    labels = ball(affine)
    segmentation = nodes.make_segmentation("result", volume)
    nodes.write_labels(segmentation, classes, labels, volume)
    assert np.array_equal(nodes.read_labels(segmentation, classes, volume), labels)
    segmentation.CreateClosedSurfaceRepresentation()
    surface = vtk.vtkPolyData()
    assert segmentation.GetClosedSurfaceRepresentation("ossnet_ball", surface)
    bounds = np.array(surface.GetBounds()).reshape(3, 2)
    assert np.allclose(bounds.mean(axis=1), CENTRE, atol=0.7)
    assert np.allclose(bounds[:, 1] - bounds[:, 0], 2 * RADIUS_MM, atol=2.5)


def test_a_refined_region_keeps_its_own_geometry(
    a_volume_node: Callable[..., object], classes: list[SimpleNamespace]
) -> None:
    affine = affines()[-1]
    fine = affine @ np.diag([0.25, 0.25, 0.25, 1.0])
    labels = np.zeros((40, 32, 24), dtype=np.uint8)
    labels[8:32, 8:24, 6:18] = 1
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "fine")
    nodes.add_refined_segments(node, classes, labels, fine)
    segment = node.GetSegmentation().GetNthSegment(0)
    image = segment.GetRepresentation(slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName())
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    assert np.allclose(slicer.util.arrayFromVTKMatrix(matrix), fine)
    assert vtk.util.numpy_support.vtk_to_numpy(image.GetPointData().GetScalars()).sum() == labels.sum()


def test_a_segment_says_what_it_is(a_volume_node: Callable[..., object], classes: list[SimpleNamespace]) -> None:
    segmentation = nodes.make_segmentation("result", a_volume_node(shape=SHAPE))
    identifier = nodes.segment_of(segmentation, classes[0])
    segment = segmentation.GetSegmentation().GetSegment(identifier)
    value = vtk.reference("")
    assert segment.GetTag(segment.GetTerminologyEntryTagName(), value)
    assert len(value.get().split("~")) == 7
    assert "SCT^10200004^Liver" in value.get()
    assert np.allclose(segment.GetColor(), (200 / 255, 100 / 255, 50 / 255))


def test_a_mesh_becomes_the_closed_surface_where_it_lies(
    a_volume_node: Callable[..., object], classes: list[SimpleNamespace]
) -> None:
    volume = a_volume_node(shape=SHAPE)
    segmentation = nodes.make_segmentation("result", volume)
    nodes.write_labels(segmentation, classes, ball(nodes.volume_to_affine(volume)), volume)
    vertices = np.array([[0, 0, 0], [10, 0, 0], [0, 10, 0], [0, 0, 10]], dtype=np.float32)
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    nodes.set_closed_surface(segmentation, "ossnet_ball", vertices, faces)
    surface = vtk.vtkPolyData()
    assert segmentation.GetClosedSurfaceRepresentation("ossnet_ball", surface)
    assert surface.GetBounds() == (0, 10, 0, 10, 0, 10)
    mass = vtk.vtkMassProperties()
    mass.SetInputData(surface)
    assert mass.GetVolume() == pytest.approx(1000 / 6, rel=1e-5)


def test_a_region_node_covers_the_voxels_that_it_touches(a_volume_node: Callable[..., object]) -> None:
    volume = a_volume_node(shape=SHAPE, affine=np.diag([-2.0, 2.0, 1.0, 1.0]))
    region = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    region.SetCenter(-20.0, 30.0, 10.0)
    region.SetSize(8.0, 8.0, 4.0)
    start, stop = nodes.region_to_box(region, volume)
    assert start == [8, 13, 8]
    assert stop == [13, 18, 13]
    region.SetCenter(500.0, 0.0, 0.0)
    assert nodes.region_to_box(region, volume) is None


@pytest.mark.parametrize("suffix", ["seg.nrrd", "mrb"])
def test_a_result_survives_saving_and_loading(
    a_volume_node: Callable[..., object],
    classes: list[SimpleNamespace],
    tmp_path: Path,
    suffix: str,
) -> None:
    affine = affines()[9]
    volume = a_volume_node(shape=SHAPE, affine=affine)
    segmentation = nodes.make_segmentation("result", volume)
    labels = ball(affine)
    nodes.write_labels(segmentation, classes, labels, volume)
    path = tmp_path / f"saved.{suffix}"
    if suffix == "mrb":
        assert slicer.mrmlScene.WriteToMRB(str(path))
        slicer.mrmlScene.Clear()
        slicer.mrmlScene.ReadFromMRB(str(path), True)
    else:
        storage = slicer.vtkMRMLSegmentationStorageNode()
        slicer.mrmlScene.AddNode(storage)
        storage.SetFileName(str(path))
        assert storage.WriteData(segmentation)
        slicer.mrmlScene.RemoveNode(segmentation)
        loaded = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "result")
        assert storage.ReadData(loaded)
    loaded = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")[0]
    volume = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
    assert np.array_equal(nodes.read_labels(loaded, classes, volume), labels)
