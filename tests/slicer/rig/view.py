"""Slicer's real 3D view of the scene without a screen; run as a program, since VTK dies where it can't render."""

from __future__ import annotations

import sys
from pathlib import Path

import slicer
import vtk

MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
)


def render(application_logic: object, path: Path, size: int = 400) -> None:
    """Write a picture of what Slicer's 3D view shows of the scene, seen from the front (anterior)."""
    factory = slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance()
    factory.SetMRMLApplicationLogic(application_logic)
    for name in MANAGERS:
        factory.RegisterDisplayableManager(name)
    view = slicer.vtkMRMLViewNode()
    view.SetLayoutName("1")
    slicer.mrmlScene.AddNode(view)
    view.SetBoxVisible(False)
    view.SetAxisLabelsVisible(False)
    renderer, window = vtk.vtkRenderer(), vtk.vtkRenderWindow()
    window.SetOffScreenRendering(1)
    window.SetSize(size, size)
    window.AddRenderer(renderer)
    interactor = vtk.vtkRenderWindowInteractor()
    interactor.SetRenderWindow(window)
    group = factory.InstantiateDisplayableManagers(renderer)
    group.SetMRMLDisplayableNode(view)
    renderer.SetBackground(0.7, 0.75, 0.9)
    camera = renderer.GetActiveCamera()
    camera.SetFocalPoint(0, 0, 0)
    camera.SetPosition(0, 1, 0)
    camera.SetViewUp(0, 0, 1)
    renderer.ResetCamera()
    window.Render()
    grabber = vtk.vtkWindowToImageFilter()
    grabber.SetInput(window)
    writer = vtk.vtkPNGWriter()
    writer.SetFileName(str(path))
    writer.SetInputConnection(grabber.GetOutputPort())
    writer.Write()


def main() -> None:
    """Show a red ball on the patient's right (the left of the picture) and a blue one, smaller, on the left."""
    import numpy as np
    from rig.application import Application, install_python_side

    install_python_side()
    folder, picture = Path(sys.argv[1]), Path(sys.argv[2])
    application = Application(folder)
    application.install()
    sys.path.insert(0, sys.argv[3])
    from types import SimpleNamespace

    from OSSNetLib import nodes

    # i grows to the right (R), so small i is the patient's left.
    shape = (60, 30, 30)
    volume = nodes.array_to_volume("scan", np.zeros(shape, np.float32), np.diag([1.0, 1.0, 1.0, 1.0]))
    indices = np.indices(shape)
    labels = np.zeros(shape, np.uint8)
    for label, (i, radius) in {1: (46, 11), 2: (12, 7)}.items():
        distance = np.linalg.norm(indices - np.array([i, 15, 15]).reshape(3, 1, 1, 1), axis=0)
        labels[distance <= radius] = label
    classes = [
        SimpleNamespace(name="right", title="Right", label=1, color=(255, 0, 0), terminology=None),
        SimpleNamespace(name="left", title="Left", label=2, color=(0, 0, 255), terminology=None),
    ]
    segmentation = nodes.make_segmentation("result", volume)
    nodes.write_labels(segmentation, classes, labels, volume)
    segmentation.CreateClosedSurfaceRepresentation()
    render(application.logic, picture)


if __name__ == "__main__":
    main()
