"""The slices of a picture: three planes through the object, turned as radiologists look at them, cut with the mask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_ossnet.engine.geometry import Orientation, spacing_of, world_to_voxel
from napari_ossnet.engine.results.picture_outlines import FieldOutlines

if TYPE_CHECKING:
    from napari_ossnet.engine.results.segmentation import Segmentation
    from napari_ossnet.engine.shapes import Affine
    from napari_ossnet.engine.volume import Volume

#: Soft tissue on CT: level 50, width 400 Hounsfield units, the usual abdominal window.
_CT_WINDOW = (-150.0, 250.0)
#: Percentiles of what is no background that become black and white.
_MR_PERCENTILES = (1.0, 99.5)
#: Grey values up to this are air.
_BLACK = 0.06
_STRAY_SHARE = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceView:
    """One slice, rows from top to bottom and columns from left to right as it is shown.

    Attributes:
        title: Name of the plane.
        image: Grey values from 0 to 1 (rows, columns).
        labels: The mask's labels there (rows, columns).
        pixel_mm: Height and width of a pixel.
        heights: For each label in the mask there, how far each pixel is above the decision: the outline is where it
            is 0, between the pixels' centres (rows, columns).
        letters: Where left, right, top and bottom of the slice point to in the patient.
        number: Index of the slice along its axis, counted from 0 in the scan's own order; for a refined region, too.
    """

    title: str
    image: np.ndarray
    labels: np.ndarray
    heights: dict[int, np.ndarray]
    pixel_mm: tuple[float, float]
    letters: tuple[str, str, str, str]
    number: int


def slice_views(volume: Volume, segmentation: Segmentation) -> tuple[SliceView, SliceView, SliceView]:
    """Axial, coronal and sagittal slices where the object is largest; the middle ones where there is none.

    Args:
        volume: Its first channel is shown, wherever its grid lies relative to the mask's.
        segmentation: Its mask, on any grid.
    """
    shape = segmentation.labels.shape
    orientation = Orientation.between(segmentation.affine, (shape[0], shape[1], shape[2]), "RAS")
    turned = _Turned(
        labels=orientation.to_task(segmentation.labels),
        affine=segmentation.affine @ orientation.scan_from_task,
        orientation=orientation,
        outlines=FieldOutlines.of(segmentation, orientation),
        slice_of_scan=segmentation.slice_of_scan,
    )
    window = _window(volume, segmentation.task.kind)
    sagittal, coronal, axial = (_view(volume, turned, axis, window) for axis in range(3))
    return axial, coronal, sagittal


@dataclass(frozen=True, slots=True, kw_only=True)
class _Turned:
    """The mask with its axes to the right, front and head."""

    labels: np.ndarray
    affine: Affine
    orientation: Orientation
    outlines: FieldOutlines
    slice_of_scan: Callable[[int, int], int]

    def scan_number(self, axis: int, number: int) -> int:
        """The index of a slice in the scan's own order."""
        corner = np.zeros((1, 3), dtype=np.int64)
        corner[0, axis] = number
        own_axis = self.orientation.scan_axes[axis]
        return self.slice_of_scan(own_axis, int(self.orientation.scan_indices(corner)[0, own_axis]))


#: For each RAS axis that is cut: the plane's name, the axis that runs to the right and the one that runs up, whether
#: the first is turned round (the patient's right is at the left of the picture), and what the four sides are.
_PLANES = (
    ("sagittal", 1, 2, True, ("A", "P", "S", "I")),
    ("coronal", 0, 2, True, ("R", "L", "S", "I")),
    ("axial", 0, 1, True, ("R", "L", "A", "P")),
)


def _view(volume: Volume, turned: _Turned, axis: int, window: tuple[float, float]) -> SliceView:
    title, across, upward, is_mirrored, letters = _PLANES[axis]
    areas = np.count_nonzero(turned.labels, axis=(across, upward))
    number = int(areas.argmax()) if areas.any() else turned.labels.shape[axis] // 2
    image = _sampled(volume, turned.affine, turned.labels.shape, axis, number)
    low, high = window
    grey = np.clip((image - low) / max(high - low, 1e-6), 0.0, 1.0)
    spacing = spacing_of(turned.affine)
    cut = np.take(turned.labels, number, axis=axis)
    box = _box_without_air(grey, cut)
    heights = turned.outlines.heights_on(cut, axis, number)
    return SliceView(
        title=title,
        image=_as_shown(grey[box], is_mirrored),
        labels=_as_shown(cut[box], is_mirrored),
        heights={label: _as_shown(plane[box], is_mirrored) for label, plane in heights.items()},
        pixel_mm=(spacing[upward], spacing[across]),
        letters=letters,
        number=turned.scan_number(axis, number),
    )


def _box_without_air(grey: np.ndarray, cut: np.ndarray) -> tuple[slice, slice]:
    """The part of a plane that is not black, with a margin."""
    shown = (grey > _BLACK) | (cut > 0)
    parts = []
    for axis in (0, 1):
        # A few bright pixels are noise, not anatomy.
        filled = np.flatnonzero(shown.sum(axis=1 - axis) > _STRAY_SHARE * shown.shape[1 - axis])
        margin = max(2, shown.shape[axis] // 30)
        first, last = (filled[0], filled[-1]) if filled.size else (0, shown.shape[axis] - 1)
        parts.append(slice(max(0, int(first) - margin), int(last) + margin + 1))
    return parts[0], parts[1]


def _as_shown(plane: np.ndarray, is_mirrored: bool) -> np.ndarray:
    """A plane (across, upward) as rows from the top and columns from the left."""
    turned = plane.T[::-1]
    return turned[:, ::-1] if is_mirrored else turned


def _sampled(volume: Volume, affine: Affine, shape: tuple[int, ...], axis: int, number: int) -> np.ndarray:
    """The scan's first channel on one plane of the mask's grid; the two grids may differ (a refined region)."""
    from scipy.ndimage import map_coordinates

    sizes = [1 if other == axis else size for other, size in enumerate(shape)]
    indices = np.stack(np.meshgrid(*(np.arange(size, dtype=np.float64) for size in sizes), indexing="ij"))
    indices[axis] = number
    world = indices.reshape(3, -1).T @ affine[:3, :3].T + affine[:3, 3]
    locations = world_to_voxel(volume.affine, world)
    values = map_coordinates(volume.data[0], locations.T, order=1, mode="nearest")
    return np.asarray(values.reshape(sizes).squeeze(axis=axis))


def _window(volume: Volume, kind: str) -> tuple[float, float]:
    if kind == "CT":
        return _CT_WINDOW
    channel = volume.data[0]
    inside = channel[channel != channel.flat[0]]
    low, high = np.percentile(inside if inside.size else channel, _MR_PERCENTILES)
    # The background stays black, also where it is not the smallest value.
    return min(float(low), float(channel.flat[0])), float(high)
