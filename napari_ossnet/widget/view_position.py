"""Owns which slice the viewer shows: one full of scan when a scan is opened, one with the object once it is found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from napari.layers import Labels, Layer
    from napari.viewer import Viewer

#: Slices with at least this share of the fullest slice's content are all as good; of them the middle one is shown.
_AS_GOOD = 0.97


def show_fullest(viewer: Viewer, layer: Layer) -> None:
    """Goes to the slice on which a scan has most to show, the middle one where all are alike, and shows all of it."""
    viewer.dims.set_point(range(viewer.dims.ndim), [sum(limits[:2]) / 2 for limits in viewer.dims.range])
    axis = _hidden_axis(viewer, layer)
    if axis is not None:
        # Every fourth voxel of a slice tells enough.
        thin = tuple(slice(None) if other == axis else slice(None, None, 4) for other in range(layer.ndim))
        counts = np.count_nonzero(np.asarray(layer.data[thin]), axis=_all_but(axis, layer.ndim))
        good = np.flatnonzero(counts >= _AS_GOOD * counts.max())
        _go_to(viewer, layer, axis, int(good[np.abs(good - (len(counts) - 1) / 2).argmin()]))
    viewer.reset_view()


def go_to_object(viewer: Viewer, labels: Labels) -> bool:
    """Goes to the slice with most of the labels, if the one that is shown has none of them.

    Returns:
        Whether the labels hold anything; as long as they don't, there is nowhere to go.
    """
    data = np.asarray(labels.data)
    axis = _hidden_axis(viewer, labels)
    if axis is None:
        return bool(data.any())
    counts = np.count_nonzero(data, axis=_all_but(axis, labels.ndim))
    if not counts.any():
        return False
    shown = round(float(labels.world_to_data(viewer.dims.point[-labels.ndim :])[axis]))
    if not (0 <= shown < len(counts) and counts[shown]):
        _go_to(viewer, labels, axis, int(counts.argmax()))
    return True


def _hidden_axis(viewer: Viewer, layer: Layer) -> int | None:
    """The layer's axis that a 2D view of a volume steps along; None in 3D."""
    if viewer.dims.ndisplay != 2 or layer.ndim != 3:
        return None
    return next((axis for axis in range(3) if axis + viewer.dims.ndim - 3 in viewer.dims.not_displayed), None)


def _all_but(axis: int, count: int) -> tuple[int, ...]:
    return tuple(other for other in range(count) if other != axis)


def _go_to(viewer: Viewer, layer: Layer, axis: int, index: int) -> None:
    middle = [(size - 1) / 2 for size in layer.data.shape]
    middle[axis] = index
    viewer.dims.set_point(viewer.dims.ndim - 3 + axis, float(layer.data_to_world(middle)[axis]))
