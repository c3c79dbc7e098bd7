"""Owns the nodes that a run fills: one segmentation, a model a class while it runs, a table of numbers at the end."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk

from OSSNetLib import nodes

Meshes = dict[int, tuple[np.ndarray, np.ndarray]]

#: Columns of the table: key in the engine's report, title with its unit.
COLUMNS = (
    ("volume_ml", "Volume (mL)"),
    ("surface_area_cm2", "Surface (cm2)"),
    ("max_diameter_mm", "Diameter (mm)"),
)


class NodeDeletedError(Exception):
    """A node that the run needs was deleted; the sentence says which."""


class RunResult:
    """Where the snapshots and the result of one run go.

    Args:
        volume_node: The scan (its first modality).
        task: The engine's task.
        segmentation_node: Its segments of the task's classes are replaced; None makes a new node.
    """

    def __init__(self, volume_node: Any, task: Any, segmentation_node: Any = None) -> None:
        self.volume_node = volume_node
        self.task = task
        name = f"{volume_node.GetName()} {task.title}"
        self.segmentation_node = segmentation_node or nodes.make_segmentation(name, volume_node)
        nodes.refer_to(self.segmentation_node, volume_node)
        if not self.segmentation_node.GetSegmentation().GetNumberOfSegments():
            nodes.place_beside(self.segmentation_node, volume_node)
        self.table_node: Any = None
        self._models: dict[int, Any] = {}
        self._shown: Meshes = {}

    def check(self) -> None:
        """Raise NodeDeletedError if the user has deleted what the run writes to or comes from."""
        for node, what in ((self.volume_node, "scan"), (self.segmentation_node, "output segmentation")):
            if not nodes.is_in_scene(node):
                raise NodeDeletedError(f"The {what} was deleted from the scene; press Segment to make the result anew.")

    def show(self, labels: np.ndarray, meshes: Meshes) -> None:
        """A snapshot: labels (i, j, k) on the scan's voxels, and vertices (RAS mm) and faces by label."""
        self.check()
        nodes.write_labels(self.segmentation_node, self.task.classes, labels, self.volume_node)
        for segment_class in self.task.classes:
            model = self._models.get(segment_class.label)
            if not nodes.is_in_scene(model):
                model = nodes.make_model(f"{segment_class.title} preview", segment_class, self.volume_node)
                self._models[segment_class.label] = model
            model.SetAndObservePolyData(nodes.make_polydata(*meshes[segment_class.label]))
        self._shown = meshes

    def finish(self, labels: np.ndarray, meshes: Meshes, report: dict[str, Any]) -> None:
        """The end of a run: final labels, the meshes as the segments' closed surfaces, the numbers."""
        self.check()
        nodes.write_labels(self.segmentation_node, self.task.classes, labels, self.volume_node)
        self._shown = meshes
        self.settle()
        self._fill_table(report)

    def add_region(self, labels: np.ndarray, meshes: Meshes, affine: np.ndarray, factor: float) -> Any:
        """A refined region as a segmentation node of its own geometry; gives the node.

        Args:
            labels: (i, j, k) on the fine voxels.
            meshes: Vertices (RAS mm) and faces by label.
            affine: Fine voxel index to RAS mm, (4, 4).
            factor: How many times smaller the voxels are.
        """
        self.check()
        name = f"{self.segmentation_node.GetName()} x{factor:g} (interpolated beyond the scan's resolution)"
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
        node.CreateDefaultDisplayNodes()
        nodes.add_refined_segments(node, self.task.classes, labels, affine)
        for segment_class in self.task.classes:
            identifier = nodes.segment_of(node, segment_class)
            nodes.set_closed_surface(node, identifier, *meshes[segment_class.label])
        nodes.show_surface(node)
        nodes.place_beside(node, self.volume_node)
        return node

    def add_image(self, data: np.ndarray, affine: np.ndarray, name: str) -> Any:
        """An image (i, j, k) that the network has made of the scan, as a volume node of its own; gives the node."""
        self.check()
        node = nodes.array_to_volume(f"{self.volume_node.GetName()} {name}", data, affine)
        nodes.place_beside(node, self.volume_node)
        return node

    def settle(self) -> None:
        """The end of a run, whole or cancelled: the last surface becomes the segments' own, its models go."""
        shown, self._shown = self._shown, {}
        if shown and nodes.is_in_scene(self.segmentation_node):
            for segment_class in self.task.classes:
                identifier = nodes.segment_of(self.segmentation_node, segment_class)
                nodes.set_closed_surface(self.segmentation_node, identifier, *shown[segment_class.label])
            nodes.show_surface(self.segmentation_node)
        for model in self._models.values():
            if nodes.is_in_scene(model):
                slicer.mrmlScene.RemoveNode(model)
        self._models.clear()

    def _fill_table(self, report: dict[str, Any]) -> None:
        if not nodes.is_in_scene(self.table_node):
            name = f"{self.segmentation_node.GetName()} measurements"
            self.table_node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", name)
            nodes.place_beside(self.table_node, self.volume_node)
        parts = _parts(report, self.task)
        self.table_node.RemoveAllColumns()
        names = vtk.vtkStringArray()
        names.SetName("Object")
        for title, _ in parts:
            names.InsertNextValue(title)
        self.table_node.AddColumn(names)
        for key, title in COLUMNS:
            column = vtk.vtkDoubleArray()
            column.SetName(title)
            for _, numbers in parts:
                column.InsertNextValue(float("nan") if numbers[key] is None else numbers[key])
            self.table_node.AddColumn(column)
        self.table_node.Modified()


def output_problem(segmentation_node: Any, volume_node: Any) -> str:
    """Why a segmentation with segments of its own can't take the result of a scan, or an empty string."""
    segmentation, name = segmentation_node.GetSegmentation(), segmentation_node.GetName()
    if not segmentation.GetNumberOfSegments():
        return ""
    source = segmentation.GetSourceRepresentationName()
    if source != slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName():
        return (
            f"The result is voxels, but the segments of {name} are made of another kind ({source}); "
            "choose another segmentation at Output, or None for a new one."
        )
    if segmentation_node.GetTransformNodeID() != volume_node.GetTransformNodeID():
        return (
            f"{name} and the scan {volume_node.GetName()} lie below different transforms; "
            "choose None at Output for a new segmentation, or put both below the same transform."
        )
    return ""


def table_rows(report: dict[str, Any], task: Any) -> list[list[str]]:
    """The rows of the results table as text: the whole object, and each class where there are several."""
    return [[title, *(_text(numbers[key]) for key, _ in COLUMNS)] for title, numbers in _parts(report, task)]


def _parts(report: dict[str, Any], task: Any) -> list[tuple[str, dict[str, Any]]]:
    """What was measured: title and numbers by key."""
    parts = [("Whole", report)]
    if len(task.classes) > 1:
        parts += [(part.title, numbers) for part, numbers in zip(task.classes, report["classes"], strict=True)]
    return parts


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
