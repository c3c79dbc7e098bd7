"""Smooths and thins surfaces by VTK, and says by how many millimetres that moved them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.surfaces.surface import Mesh

#: Low-pass of the windowed sinc filter (Taubin et al. 1996): it smooths without shrinking; Slicer's middle setting.
_PASS_BAND = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Simplified:
    """A changed surface and how far it is from the one that it came from."""

    mesh: Mesh
    #: The largest distance from either surface to the other, in mm, over vertices.
    largest_deviation_mm: float
    mean_deviation_mm: float

    @property
    def sentence(self) -> str:
        """What to tell the user."""
        return (
            f"The surface was changed to {len(self.mesh.faces):,} triangles; it lies within "
            f"{self.largest_deviation_mm:.2f} mm of the exact one ({self.mean_deviation_mm:.3f} mm on average)."
        )


def simplify(mesh: Mesh, *, faces: int | None = None, smoothing: int = 0) -> Simplified:
    """The surface with about so many triangles, smoothed before.

    Args:
        mesh: In RAS mm.
        faces: Triangles wanted; None, or more than there are, keeps them all.
        smoothing: Passes of the filter; 0 leaves it out, 20 is usual.

    Raises:
        InputError: VTK is missing, or a number makes no sense.
    """
    if faces is not None and faces < 4:
        raise InputError(f"A closed surface needs at least 4 triangles, got {faces}; ask for more.")
    if smoothing < 0:
        raise InputError(f"Smoothing takes 0 or more passes, got {smoothing}.")
    if mesh.is_empty:
        return Simplified(mesh=mesh, largest_deviation_mm=0.0, mean_deviation_mm=0.0)
    body = _to_vtk(mesh)
    if smoothing:
        body = _smoothed(body, smoothing)
    if faces is not None and faces < len(mesh.faces):
        body = _thinned(body, 1.0 - faces / len(mesh.faces))
    changed = _from_vtk(body)
    distances = _distances(_to_vtk(mesh), _to_vtk(changed))
    return Simplified(
        mesh=changed, largest_deviation_mm=float(distances.max()), mean_deviation_mm=float(distances.mean())
    )


def _smoothed(body: Any, passes: int) -> Any:
    from vtkmodules.vtkFiltersCore import vtkWindowedSincPolyDataFilter

    smoother = vtkWindowedSincPolyDataFilter()
    smoother.SetInputData(body)
    smoother.SetNumberOfIterations(passes)
    smoother.SetPassBand(_PASS_BAND)
    smoother.BoundarySmoothingOff()
    smoother.FeatureEdgeSmoothingOff()
    # Without it coordinates far from the origin lose digits.
    smoother.NormalizeCoordinatesOn()
    smoother.Update()
    return smoother.GetOutput()


def _thinned(body: Any, reduction: float) -> Any:
    from vtkmodules.vtkFiltersCore import vtkQuadricDecimation

    decimation = vtkQuadricDecimation()
    decimation.SetInputData(body)
    decimation.SetTargetReduction(reduction)
    decimation.VolumePreservationOn()
    decimation.Update()
    return decimation.GetOutput()


def _distances(first: Any, second: Any) -> np.ndarray:
    """Distances of the vertices of each surface from the other one, in mm."""
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkFiltersGeneral import vtkDistancePolyDataFilter

    measured = vtkDistancePolyDataFilter()
    measured.SetInputData(0, first)
    measured.SetInputData(1, second)
    measured.SignedDistanceOff()
    measured.Update()
    outputs = measured.GetOutput(), measured.GetSecondDistanceOutput()
    return np.concatenate([vtk_to_numpy(output.GetPointData().GetScalars()) for output in outputs])


def _to_vtk(mesh: Mesh) -> Any:
    try:
        from vtkmodules.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray
        from vtkmodules.vtkCommonCore import vtkPoints
        from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkPolyData
    except ImportError as error:
        msg = 'Changing a surface needs VTK; install it with: pip install "napari-ossnet[napari]".'
        raise InputError(msg) from error
    points = vtkPoints()
    points.SetData(numpy_to_vtk(np.ascontiguousarray(mesh.vertices_world), deep=True))
    cells = vtkCellArray()
    offsets = np.arange(0, 3 * len(mesh.faces) + 1, 3, dtype=np.int64)
    cells.SetData(
        numpy_to_vtkIdTypeArray(offsets, deep=True),
        numpy_to_vtkIdTypeArray(np.ascontiguousarray(mesh.faces, dtype=np.int64).ravel(), deep=True),
    )
    body = vtkPolyData()
    body.SetPoints(points)
    body.SetPolys(cells)
    return body


def _from_vtk(body: Any) -> Mesh:
    from vtkmodules.util.numpy_support import vtk_to_numpy

    faces = vtk_to_numpy(body.GetPolys().GetConnectivityArray()).reshape(-1, 3).astype(np.int64)
    vertices = vtk_to_numpy(body.GetPoints().GetData()).astype(np.float64)
    used, renumbered = np.unique(faces, return_inverse=True)
    return Mesh(vertices_world=vertices[used], faces=renumbered.reshape(-1, 3))
