"""Owns how a user points out a box: a shape drawn on a slice, or what the view shows now, both a few slices deep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ossnet.engine.errors import InputError
from napari_ossnet.widget.layers import Placement, box_in_scan, channel_count, placement_of_layer

if TYPE_CHECKING:
    from napari.layers import Layer, Shapes
    from napari.viewer import Viewer

Triple = tuple[int, int, int]
#: Where the user picks between the view and the layers with shapes, this stands for the view.
CURRENT_VIEW = "Current view"


def box_layer_names(layers: Any) -> tuple[str, ...]:
    """The names of the layers with at least one shape."""
    from napari.layers import Shapes

    return tuple(layer.name for layer in layers if isinstance(layer, Shapes) and layer.nshapes > 0)


def box_of(viewer: Viewer, source: str, depth: int, placement: Placement) -> tuple[Triple, Triple]:
    """The box of scan voxels, half-open, that the user has pointed out.

    Args:
        viewer: Holds the shapes and the view.
        source: ``CURRENT_VIEW`` or the name of a layer with shapes.
        depth: Scan voxels along the axes on which the pointed-out area is flat.
        placement: The scan's.

    Raises:
        InputError: There is nothing in it, or it lies outside the scan.
    """
    if source == CURRENT_VIEW:
        corners = _corners_of_view(viewer, placement)
    elif source in viewer.layers:
        corners = _corners_of_shapes(viewer.layers[source])
    else:
        raise InputError(f"There is no layer '{source}' any more; draw a rectangle in a Shapes layer.")
    start, stop = box_in_scan(corners, placement)
    start, stop = _deepened(start, stop, depth, np.array(placement.orientation.scan_shape))
    _refuse_outside(corners, placement)
    return (int(start[0]), int(start[1]), int(start[2])), (int(stop[0]), int(stop[1]), int(stop[2]))


def _corners_of_shapes(layer: Shapes) -> np.ndarray:
    """World positions (n, 3) of the corners of the selected shapes, of all shapes where none is selected."""
    chosen = sorted(layer.selected_data) or range(layer.nshapes)
    points = [point for index in chosen for point in layer.data[index]]
    if not points:
        raise InputError(f"The layer '{layer.name}' has no shapes; draw a rectangle around what to refine.")
    return np.array([layer.data_to_world(point) for point in points], dtype=np.float64)[:, -3:]


def _corners_of_view(viewer: Viewer, placement: Placement) -> np.ndarray:
    """World positions (2, 3) of the corners of the part of the scan that a 2D view shows, on its slice."""
    if viewer.dims.ndisplay != 2:
        raise InputError("In 3D the view has no depth to go by; switch to 2D, or draw a rectangle in a Shapes layer.")
    layer = next((layer for layer in viewer.layers if _shows(layer, placement)), None)
    if layer is None:
        raise InputError("The scan's layer is gone; open it again, or draw a rectangle in a Shapes layer.")
    corners = np.array(layer.corner_pixels, dtype=np.float64)
    hidden = [axis - (viewer.dims.ndim - layer.ndim) for axis in viewer.dims.not_displayed]
    at_slice = np.asarray(layer.world_to_data(viewer.dims.point))
    for axis in (axis for axis in hidden if axis >= 0):
        corners[:, axis] = at_slice[axis]
    return np.array([layer.data_to_world(corner) for corner in corners], dtype=np.float64)[:, -3:]


def _shows(layer: Layer, placement: Placement) -> bool:
    from napari.layers import Image

    if not isinstance(layer, Image) or not channel_count(layer):
        return False
    return bool(np.allclose(placement_of_layer(layer).napari_from_layer, placement.napari_from_layer))


def _deepened(start: np.ndarray, stop: np.ndarray, depth: int, shape: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A box that is flat on an axis (a shape on one slice) made ``depth`` voxels deep there, inside the scan."""
    start, stop = start.copy(), stop.copy()
    for axis in np.flatnonzero(stop - start <= 1):
        first = max(0, int(start[axis]) - depth // 2)
        start[axis], stop[axis] = first, min(int(shape[axis]), first + depth)
    return start, stop


def _refuse_outside(corners: np.ndarray, placement: Placement) -> None:
    layer_from_napari = np.linalg.inv(placement.napari_from_layer)
    at = corners @ layer_from_napari[:3, :3].T + layer_from_napari[:3, 3]
    shape = np.array(placement.orientation.task_shape)
    if (at.max(axis=0) < -0.5).any() or (at.min(axis=0) > shape - 0.5).any():
        raise InputError("The box lies outside the scan; move it onto the part to refine.")
