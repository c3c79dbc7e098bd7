"""The bridge between MRML and the engine: volume nodes to arrays, labels and surfaces to nodes; only it knows both.

Slicer's arrays are k, j, i; the engine's are i, j, k. Both have RAS millimetres, so matrices go over as they are. All
happens in the frame of the volume: a transform above the volume is put above the results, too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray


def volume_to_array(node: Any) -> np.ndarray:
    """The voxels of a scalar volume node as float32 (1, i, j, k)."""
    return np.ascontiguousarray(slicer.util.arrayFromVolume(node).T[None], dtype=np.float32)


def volume_to_affine(node: Any) -> np.ndarray:
    """Voxel index to RAS mm of a volume node, (4, 4), in the frame below its transform."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def array_to_volume(name: str, data: np.ndarray, affine: np.ndarray) -> Any:
    """A new scalar volume node of an array (i, j, k)."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(data.T))
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(affine))
    node.CreateDefaultDisplayNodes()
    return node


def is_in_scene(node: Any) -> bool:
    """Whether a node is still there: the user may delete it, or close the scene, at any time."""
    return node is not None and bool(slicer.mrmlScene.IsNodePresent(node))


def place_beside(node: Any, volume_node: Any) -> None:
    """Put a result where its volume is: in the subject hierarchy, and below the same transform."""
    if hasattr(node, "SetAndObserveTransformNodeID"):
        node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    items = [hierarchy.GetItemByDataNode(each) if hierarchy is not None else 0 for each in (volume_node, node)]
    # 0 is "no item": hidden nodes have none.
    if all(items):
        hierarchy.SetItemParent(items[1], hierarchy.GetItemParent(items[0]))


def make_segmentation(name: str, volume_node: Any) -> Any:
    """A new segmentation node in the volume's geometry, beside it."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    refer_to(node, volume_node)
    place_beside(node, volume_node)
    return node


def refer_to(segmentation_node: Any, volume_node: Any) -> None:
    """Make the volume's geometry the segmentation's."""
    segmentation_node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
    role = segmentation_node.GetReferenceImageGeometryReferenceRole()
    segmentation_node.SetNodeReferenceID(role, volume_node.GetID())


def segment_of(segmentation_node: Any, segment_class: Any) -> str:
    """The id of the segment of a class of the task, which is made if it is missing."""
    identifier = _identifier_of(segment_class)
    segmentation = segmentation_node.GetSegmentation()
    if segmentation.GetSegment(identifier) is None:
        segmentation.AddEmptySegment(identifier, segment_class.title, _color_of(segment_class))
        describe(segmentation.GetSegment(identifier), segment_class)
    return identifier


def describe(segment: Any, segment_class: Any) -> None:
    """Tag a segment with what it is, in Slicer's terminology entry format: seven fields, code triplets joined by ^."""
    terms = segment_class.terminology
    if terms is None:
        return
    category, kind = "^".join(terms.category), "^".join(terms.type)
    region = "^".join(terms.region) if terms.region else "^^"
    fields = ["Segmentation category and type - 3D Slicer General Anatomy list", category, kind, "^^"]
    fields += ["Anatomic codes - DICOM master list", region, "^^"]
    segment.SetTag(segment.GetTerminologyEntryTagName(), "~".join(fields))


def write_labels(segmentation_node: Any, classes: Any, labels: np.ndarray, volume_node: Any) -> None:
    """Replace the segments of a task's classes by a label map on the volume's voxels.

    Args:
        segmentation_node: Gets one segment a class.
        classes: The task's foreground classes.
        labels: (i, j, k), uint8.
        volume_node: Whose voxels the labels are.
    """
    for segment_class in classes:
        mask = np.ascontiguousarray((labels == segment_class.label).T, dtype=np.uint8)
        identifier = segment_of(segmentation_node, segment_class)
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation_node, identifier, volume_node)


def read_labels(segmentation_node: Any, classes: Any, volume_node: Any) -> np.ndarray:
    """The label map (i, j, k) that the segments of a task's classes make on the volume's voxels."""
    labels = np.zeros(volume_node.GetImageData().GetDimensions(), dtype=np.uint8)
    for segment_class in classes:
        identifier = segment_of(segmentation_node, segment_class)
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation_node, identifier, volume_node)
        if mask is not None:
            labels[mask.T > 0] = segment_class.label
    return labels


def make_oriented_image(labels: np.ndarray, affine: np.ndarray) -> Any:
    """Labels (i, j, k) as an image of their own geometry, RAS."""
    image = slicer.vtkOrientedImageData()
    image.SetDimensions(labels.shape)
    scalars = numpy_to_vtk(np.ascontiguousarray(labels.T, dtype=np.uint8).ravel(), deep=True)
    image.GetPointData().SetScalars(scalars)
    image.SetImageToWorldMatrix(slicer.util.vtkMatrixFromArray(affine))
    return image


def add_refined_segments(segmentation_node: Any, classes: Any, labels: np.ndarray, affine: np.ndarray) -> None:
    """Segments on voxels of their own, finer than the volume's.

    Args:
        segmentation_node: A new node; its geometry becomes that of the labels.
        classes: The task's foreground classes.
        labels: (i, j, k).
        affine: Their voxel index to RAS mm.
    """
    whole = make_oriented_image(labels, affine)
    geometry = slicer.vtkSegmentationConverter.SerializeImageGeometry(whole)
    name = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    segmentation_node.GetSegmentation().SetConversionParameter(name, geometry)
    for segment_class in classes:
        image = make_oriented_image(labels == segment_class.label, affine)
        segmentation_node.AddSegmentFromBinaryLabelmapRepresentation(
            image, segment_class.title, _color_of(segment_class), _identifier_of(segment_class)
        )
        describe(segmentation_node.GetSegmentation().GetSegment(_identifier_of(segment_class)), segment_class)


def make_polydata(vertices: np.ndarray, faces: np.ndarray) -> vtk.vtkPolyData:
    """A mesh of vertices (v, 3) in RAS mm and faces (f, 3)."""
    points = vtk.vtkPoints()
    points.SetData(numpy_to_vtk(np.ascontiguousarray(vertices, dtype=np.float32), deep=True))
    offsets = np.arange(0, 3 * len(faces) + 1, 3, dtype=np.int64)
    cells = vtk.vtkCellArray()
    cells.SetData(
        numpy_to_vtkIdTypeArray(offsets, deep=True),
        numpy_to_vtkIdTypeArray(np.ascontiguousarray(faces, dtype=np.int64).ravel(), deep=True),
    )
    polydata = vtk.vtkPolyData()
    polydata.SetPoints(points)
    polydata.SetPolys(cells)
    return polydata


def set_closed_surface(segmentation_node: Any, identifier: str, vertices: np.ndarray, faces: np.ndarray) -> None:
    """Make a mesh the closed surface of a segment, instead of one that Slicer would derive from the labels.

    Args:
        segmentation_node: Has the segment.
        identifier: The segment's.
        vertices: (v, 3), RAS mm.
        faces: (f, 3), indices of vertices.
    """
    name = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
    segment = segmentation_node.GetSegmentation().GetSegment(identifier)
    segment.RemoveRepresentation(name)
    segment.AddRepresentation(name, make_polydata(vertices, faces))


def show_surface(segmentation_node: Any) -> None:
    """Let the 3D view show the closed surface of a segmentation that has one."""
    name = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
    segmentation_node.GetDisplayNode().SetPreferredDisplayRepresentationName3D(name)


def make_model(name: str, segment_class: Any, volume_node: Any) -> Any:
    """An empty model node for a class, beside its volume."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", name)
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetColor(_color_of(segment_class))
    place_beside(node, volume_node)
    return node


def _identifier_of(segment_class: Any) -> str:
    return f"ossnet_{segment_class.name}"


def _color_of(segment_class: Any) -> tuple[float, float, float]:
    red, green, blue = (value / 255 for value in segment_class.color)
    return red, green, blue


def reference_volume(segmentation_node: Any) -> Any:
    """The volume whose geometry a segmentation has, or None."""
    return segmentation_node.GetNodeReference(segmentation_node.GetReferenceImageGeometryReferenceRole())


def is_empty_region(region_node: Any) -> bool:
    """Whether an ROI node was made but not placed yet."""
    return not np.prod(region_node.GetSize())


def fit_region(region_node: Any, segmentation_node: Any, volume_node: Any) -> None:
    """Put an ROI node around what a segmentation shows, or around the middle of the scan if that is nothing."""
    bounds = np.zeros(6)
    segmentation_node.GetRASBounds(bounds)
    if (bounds[1::2] <= bounds[::2]).any():
        volume_node.GetRASBounds(bounds)
        middle, half = (bounds[1::2] + bounds[::2]) / 2, (bounds[1::2] - bounds[::2]) / 8
        bounds[::2], bounds[1::2] = middle - half, middle + half
    region_node.SetCenter((bounds[1::2] + bounds[::2]) / 2)
    region_node.SetSize(bounds[1::2] - bounds[::2])


def region_to_box(region_node: Any, volume_node: Any) -> tuple[list[int], list[int]] | None:
    """The voxels (first, and one past the last) of a volume that an ROI node touches; None if it touches none."""
    bounds = np.zeros(6)
    region_node.GetRASBounds(bounds)
    to_local = vtk.vtkMatrix4x4()
    slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(None, volume_node.GetParentTransformNode(), to_local)
    voxel_from_world = np.linalg.inv(volume_to_affine(volume_node)) @ slicer.util.arrayFromVTKMatrix(to_local)
    corners = np.array([[bounds[i], bounds[2 + j], bounds[4 + k], 1.0] for i, j, k in np.ndindex(2, 2, 2)])
    voxels = (corners @ voxel_from_world.T)[:, :3]
    shape = np.array(volume_node.GetImageData().GetDimensions())
    start = np.clip(np.rint(voxels.min(axis=0)), 0, shape).astype(int)
    stop = np.clip(np.rint(voxels.max(axis=0)) + 1, 0, shape).astype(int)
    return None if (start >= stop).any() else (start.tolist(), stop.tolist())
