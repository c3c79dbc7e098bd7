"""Owns the border between napari's layers and the engine's values; no other file knows in which order layers lie.

One convention for everything that we put into napari:

- A layer's axes are (z, y, x): the scan's own axes, permuted and flipped but never resampled, so that axis 0 grows
  towards superior, axis 1 towards posterior and axis 2 towards the left, as nearly as the scan allows.
- napari's world is (z, y, x) in millimetres along the same three directions, hence (S, -A, -R) of the engine's RAS+
  world. So the first view is an axial slice, front up, the patient's left on the right, as radiologists read it, and
  scans of any orientation, oblique ones included, overlay.

Layers that others made are taken at their word: their data axes are the scan's axes, their world is (z, y, x) too.
Every result is placed through the layer that it was computed from, so it follows that layer wherever it lies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ossnet.engine.geometry import Orientation, voxel_to_world
from napari_ossnet.engine.shapes import Affine, LabelMap, VerticesWorld
from napari_ossnet.engine.volume import Volume

if TYPE_CHECKING:
    from napari.layers import Layer

#: Where a layer keeps the placement of the scan that it was read from.
METADATA_KEY = "ossnet_placement"
#: The directions in which our layers' axes grow.
LAYER_AXES = "SPL"
AXIS_LABELS = ("z", "y", "x")
#: World position (R, A, S) to napari's (z, y, x) = (S, -A, -R); its own inverse up to the order of axes.
_NAPARI_FROM_RAS = np.array([[0, 0, 1, 0], [0, -1, 0, 0], [-1, 0, 0, 0], [0, 0, 0, 1]], dtype=np.float64)
_RAS_FROM_NAPARI = np.linalg.inv(_NAPARI_FROM_RAS)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Placement:
    """Where a scan lies, in the world and in napari.

    Attributes:
        scan_affine: Scan voxel (i, j, k) to RAS+ mm.
        orientation: How the scan's axes became the layer's.
        napari_from_layer: Layer index (z, y, x) to napari's world, in the layer's own units.
        units: The units of the layer's axes, as napari names them.
        axis_labels: The names of the layer's axes.
        affine_codes: qform and sform codes of the file, which masks keep.
        place_gap_mm: How far apart the two forms lie, as in ``Volume``.
        sources: The files that the scan came from.
    """

    scan_affine: Affine
    orientation: Orientation
    napari_from_layer: Affine
    units: tuple[str, ...] = ("mm", "mm", "mm")
    axis_labels: tuple[str, ...] = AXIS_LABELS
    affine_codes: tuple[int, int] = (0, 1)
    place_gap_mm: float = 0.0
    sources: tuple[Path, ...] = ()

    @property
    def napari_from_ras(self) -> Affine:
        """RAS+ mm to napari's world by way of this scan, wherever its layer lies now."""
        return self.napari_from_layer @ self.layer_from_scan @ np.linalg.inv(self.scan_affine)

    @property
    def layer_from_scan(self) -> Affine:
        """Scan voxel to layer index."""
        return np.linalg.inv(self.orientation.scan_from_task)

    def to_layer(self, array: np.ndarray) -> np.ndarray:
        """A view of an array (i, j, k), of this scan or of any grid along its axes, in the layer's axis order."""
        return self.orientation.to_task(array)

    def to_scan(self, array: np.ndarray) -> np.ndarray:
        """A view of a layer's array (z, y, x) in the scan's axis order."""
        return self.orientation.to_scan(array)

    def grid_to_napari(self, shape: tuple[int, int, int], affine: Affine) -> Affine:
        """Index of a layer made by ``to_layer`` from a grid of this shape and affine, to napari's world."""
        turned = replace(self.orientation, scan_shape=shape)
        return self.napari_from_ras @ affine @ turned.scan_from_task


def placement_of_scan(volume: Volume) -> Placement:
    """Where a scan that was read from a file is put: its world becomes napari's."""
    orientation = Orientation.between(volume.affine, volume.shape, LAYER_AXES)
    return Placement(
        scan_affine=volume.affine,
        orientation=orientation,
        napari_from_layer=_NAPARI_FROM_RAS @ volume.affine @ orientation.scan_from_task,
        affine_codes=volume.affine_codes,
        place_gap_mm=volume.place_gap_mm,
        sources=volume.sources,
    )


def placement_of_layer(layer: Layer) -> Placement:
    """Where the scan of an image or labels layer lies.

    A layer that we read keeps its file's affine, digit for digit; if somebody has moved it since, the scan has moved
    with it. Any other layer's transform is read as (z, y, x) in its own units (units that are no lengths count as mm).
    """
    napari_from_layer = _last_three_axes(layer)
    remembered = layer.metadata.get(METADATA_KEY)
    if not isinstance(remembered, Placement):
        return _placement_of_foreign_layer(layer, napari_from_layer)
    if _shape_of(layer) != remembered.orientation.task_shape:
        return _placement_on_another_grid(layer, napari_from_layer, remembered)
    if np.allclose(napari_from_layer, remembered.napari_from_layer, rtol=1e-6, atol=1e-6):
        return remembered
    movement = napari_from_layer @ np.linalg.inv(remembered.napari_from_layer)
    return replace(
        remembered,
        scan_affine=_RAS_FROM_NAPARI @ movement @ _NAPARI_FROM_RAS @ remembered.scan_affine,
        napari_from_layer=napari_from_layer,
    )


def is_spacing_known(layer: Layer) -> bool:
    """Whether the layer's units are lengths, so that its voxel size needs no guess."""
    return _mm_per_unit(layer) is not None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LayerSource:
    """One channel of an image layer, taken down so that a worker thread can make a scan of it.

    Attributes:
        name: What the user calls it: the layer's name, with the channel where there are several.
        array: The layer's data (z, y, x), not copied; numpy or any lazy array that numpy understands.
        placement: Where it lies.
        is_spacing_known: False where the layer's units are not lengths.
    """

    name: str
    array: Any
    placement: Placement
    is_spacing_known: bool
    #: The layer, its whole data and the channel taken from it: what tells two sources apart.
    layer_id: str
    data: Any
    channel: int

    def is_same_scan(self, other: LayerSource) -> bool:
        """Whether this is the same channel of the same array at the same place."""
        return (
            self.data is other.data
            and self.channel == other.channel
            and np.array_equal(self.placement.scan_affine, other.placement.scan_affine)
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along the scan's i, j, k."""
        return self.placement.orientation.scan_shape

    def to_volume(self) -> Volume:
        """The channel as a scan in its file's axis order; copies and converts, so it belongs into the worker."""
        data = self.placement.to_scan(np.asarray(self.array, dtype=np.float32))
        return Volume(
            data=data[np.newaxis],
            affine=self.placement.scan_affine,
            channel_names=(self.name,),
            sources=self.placement.sources,
            affine_codes=self.placement.affine_codes,
            place_gap_mm=self.placement.place_gap_mm,
        )


def channel_count(layer: Layer) -> int:
    """How many three-dimensional channels a layer offers: 1, the length of a fourth axis, or 0 if it is no volume."""
    if layer.ndim not in (3, 4) or getattr(layer, "rgb", False):
        return 0
    return 1 if layer.ndim == 3 else int(_full_data(layer).shape[0])


def source_of_layer(layer: Layer, channel: int) -> LayerSource:
    """One channel of an image layer."""
    data = _full_data(layer)
    count = channel_count(layer)
    return LayerSource(
        name=layer.name if count == 1 else f"{layer.name} [{channel + 1}]",
        array=data if layer.ndim == 3 else data[channel],
        placement=placement_of_layer(layer),
        is_spacing_known=is_spacing_known(layer),
        layer_id=str(layer.unique_id),
        data=layer.data,
        channel=channel,
    )


def transform_of(napari_from_index: Affine, placement: Placement) -> dict[str, Any]:
    """The keyword arguments that place a layer: scale and translate alone where the axes are napari's own.

    Oblique grids keep their voxel sizes as ``scale`` and put the rotation and the offset into ``affine``.
    """
    linear, offset = napari_from_index[:3, :3], napari_from_index[:3, 3]
    scale = np.linalg.norm(linear, axis=0)
    rotation = np.eye(4)
    translate = offset
    if not np.allclose(linear / scale, np.eye(3), atol=1e-6):
        rotation[:3, :3] = linear / scale
        rotation[:3, 3] = offset
        translate = np.zeros(3)
    return {
        "scale": scale,
        "translate": translate,
        "affine": rotation,
        "units": placement.units,
        "axis_labels": placement.axis_labels,
    }


def mask_to_layer(labels: LabelMap, affine: Affine, placement: Placement) -> tuple[np.ndarray, dict[str, Any]]:
    """Labels (i, j, k) on any grid along the scan's axes, contiguous in layer order, with their transform."""
    i, j, k = labels.shape
    transform = transform_of(placement.grid_to_napari((i, j, k), affine), placement)
    # A copy always: labels are painted on, and the engine's result must stay what it was.
    return np.array(placement.to_layer(labels), order="C"), transform


def slices_to_layer(
    labels: LabelMap, affine: Affine, placement: Placement, axis: int
) -> tuple[np.ndarray, dict[str, Any]]:
    """Labels (i, j, k) on a finer grid as one plane a slice of the scan, fine only within the slices.

    A layer with finer slices would have napari's slider step through those. Of every slice the plane next to its
    middle is taken, half a fine voxel away, and put there.

    Args:
        labels: On a grid along the scan's axes.
        affine: Its place.
        placement: The scan's.
        axis: The layer's axis across the slices.
    """
    i, j, k = labels.shape
    napari_from_index = placement.grid_to_napari((i, j, k), affine)
    slice_mm, plane_mm = (np.linalg.norm(grid[:3, axis]) for grid in (placement.napari_from_layer, napari_from_index))
    count = max(1, round(float(slice_mm / plane_mm)))
    in_order = placement.to_layer(labels)
    planes = in_order.take(np.arange(count // 2, in_order.shape[axis], count), axis)
    to_plane = np.eye(4)
    to_plane[axis, axis], to_plane[axis, 3] = count, (count - 1) / 2
    return np.ascontiguousarray(planes), transform_of(napari_from_index @ to_plane, placement)


def mesh_to_layer(vertices_world: VerticesWorld, placement: Placement) -> tuple[np.ndarray, dict[str, Any]]:
    """Vertices (v, 3), RAS mm, in the scan layer's index frame, float32, with that layer's transform.

    In the index frame, because napari cuts surfaces in 2D by slabs one *data* unit thick: so the slab is one voxel.
    """
    layer_from_ras = placement.layer_from_scan @ np.linalg.inv(placement.scan_affine)
    vertices = voxel_to_world(layer_from_ras, vertices_world).astype(np.float32)
    return vertices, transform_of(placement.napari_from_layer, placement)


def vertices_to_world(vertices: np.ndarray, layer: Layer) -> VerticesWorld:
    """Vertices (v, 3) of a surface layer as RAS+ mm, for export."""
    ras_from_layer = _RAS_FROM_NAPARI @ _scaled(_last_three_axes(layer), _mm_per_unit(layer) or 1.0)
    remembered = layer.metadata.get(METADATA_KEY)
    if isinstance(remembered, Placement):
        ras_from_layer = np.linalg.inv(remembered.napari_from_ras) @ _last_three_axes(layer)
    return voxel_to_world(ras_from_layer, np.asarray(vertices, dtype=np.float64)[:, -3:])


def box_in_scan(corners_napari: np.ndarray, placement: Placement) -> tuple[np.ndarray, np.ndarray]:
    """The scan voxels, half-open, that a cloud of napari world points (n, 3) spans, clamped to the scan.

    Returns:
        First voxel and one past the last voxel, integers (3,); at least one voxel on each axis.
    """
    scan_from_napari = placement.orientation.scan_from_task @ np.linalg.inv(placement.napari_from_layer)
    corners = voxel_to_world(scan_from_napari, corners_napari)
    shape = np.array(placement.orientation.scan_shape)
    start = np.clip(np.floor(corners.min(axis=0) + 0.5).astype(int), 0, shape - 1)
    stop = np.clip(np.ceil(corners.max(axis=0) + 0.5).astype(int), start + 1, shape)
    return start, stop


def layer_from_volume(volume: Volume, names: Sequence[str]) -> list[tuple[np.ndarray, dict[str, Any]]]:
    """One image layer a channel: the array (z, y, x) and the keyword arguments that place it."""
    placement = placement_of_scan(volume)
    transform = transform_of(placement.napari_from_layer, placement)
    metadata = {METADATA_KEY: placement}
    return [
        (np.ascontiguousarray(placement.to_layer(channel)), {"name": name, "metadata": metadata, **transform})
        for channel, name in zip(volume.data, names, strict=True)
    ]


def image_to_layer(volume: Volume, placement: Placement) -> tuple[np.ndarray, dict[str, Any]]:
    """A volume of one channel that was made from a scan, on a grid of its own in the scan's world: array and transform.

    It lies where the scan's layer lies now.
    """
    orientation = Orientation.between(volume.affine, volume.shape, LAYER_AXES)
    napari_from_index = placement.napari_from_ras @ volume.affine @ orientation.scan_from_task
    return np.ascontiguousarray(orientation.to_task(volume.data[0])), transform_of(napari_from_index, placement)


def multichannel_layer_from_volume(volume: Volume, name: str) -> tuple[np.ndarray, dict[str, Any]]:
    """One image layer (channel, z, y, x) of all channels and the keyword arguments that place it."""
    placement = placement_of_scan(volume)
    spatial = transform_of(placement.napari_from_layer, placement)
    affine = np.eye(5)
    affine[1:, 1:] = spatial["affine"]
    transform = {
        "scale": (1.0, *spatial["scale"]),
        "translate": (0.0, *spatial["translate"]),
        "affine": affine,
        "units": ("pixel", *spatial["units"]),
        "axis_labels": ("channel", *spatial["axis_labels"]),
    }
    data = np.ascontiguousarray(placement.to_layer(volume.data))
    return data, {"name": name, "metadata": {METADATA_KEY: placement}, **transform}


def _placement_of_foreign_layer(layer: Layer, napari_from_layer: Affine) -> Placement:
    shape = _shape_of(layer)
    return Placement(
        scan_affine=_RAS_FROM_NAPARI @ _scaled(napari_from_layer, _mm_per_unit(layer) or 1.0),
        orientation=Orientation(scan_axes=(0, 1, 2), flips=(False, False, False), scan_shape=shape),
        napari_from_layer=napari_from_layer,
        units=tuple(str(unit) for unit in layer.units[-3:]),
        axis_labels=tuple(layer.axis_labels[-3:]),
    )


def _placement_on_another_grid(layer: Layer, napari_from_layer: Affine, scan: Placement) -> Placement:
    """Labels of a coarse step or of a refined region: the scan's axes and world, their own voxels."""
    turned = scan.orientation.to_scan(np.empty(_shape_of(layer), dtype=bool)).shape
    orientation = replace(scan.orientation, scan_shape=(turned[0], turned[1], turned[2]))
    scan_from_layer = np.linalg.inv(orientation.scan_from_task)
    return replace(
        scan,
        scan_affine=np.linalg.inv(scan.napari_from_ras) @ napari_from_layer @ scan_from_layer,
        orientation=orientation,
        napari_from_layer=napari_from_layer,
    )


def _scaled(affine: Affine, factor: float) -> Affine:
    return np.diag([factor, factor, factor, 1.0]) @ affine


def _last_three_axes(layer: Layer) -> Affine:
    """Index to napari's world for the last three axes of a layer, by mapping the origin and the unit steps."""
    corners = np.zeros((4, layer.ndim))
    corners[1:, -3:] = np.eye(3)
    mapped = np.array([layer.data_to_world(corner) for corner in corners], dtype=np.float64)[:, -3:]
    affine = np.eye(4)
    affine[:3, :3] = (mapped[1:] - mapped[0]).T
    affine[:3, 3] = mapped[0]
    return affine


def _mm_per_unit(layer: Layer) -> float | None:
    """Millimetres in one unit of the layer's last axis; None where that unit is no length (napari's pixel)."""
    unit = layer.units[-1]
    return float((1 * unit).to("mm").magnitude) if unit.is_compatible_with("mm") else None


def _full_data(layer: Layer) -> Any:
    return layer.data[0] if getattr(layer, "multiscale", False) else layer.data


def _shape_of(layer: Layer) -> tuple[int, int, int]:
    i, j, k = (int(size) for size in _full_data(layer).shape[-3:])
    return i, j, k
