"""The surface of a picture: rays through the smoothed mask, shaded, with the anatomy around it as if made of glass.

Rays and not a mesh renderer: this needs no OpenGL, no screen and no triangles, and its cost does not grow with them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_ossnet.engine.geometry import spacing_of
from napari_ossnet.engine.shapes import Affine

#: From the patient to the viewer: in front of the patient, to the right of them, above.
_TO_VIEWER = np.array([0.52, 0.78, 0.34])
_TO_LIGHT = np.array([0.75, 0.45, 0.75])
#: Rays along a side of the picture, and those for the glass.
RAYS = 440
#: Voxels; takes the staircase off a mask without moving its surface.
_SMOOTHING = 0.9
_GLASS_RAYS = 220
#: Voxels between two samples on a ray; the crossing is interpolated between them.
_SAMPLE_STEP = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendering:
    """A picture (rows, columns, red green blue alpha), 0 to 1, and the size of its pixels."""

    rgba: np.ndarray
    pixel_mm: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Camera:
    """An orthographic view: rows go down, columns right, samples away from the viewer; all in mm of the world."""

    center: np.ndarray
    right: np.ndarray
    up: np.ndarray
    toward: np.ndarray
    half_extent_mm: float

    @classmethod
    def around(cls, corners_world: np.ndarray) -> _Camera:
        toward = _TO_VIEWER / np.linalg.norm(_TO_VIEWER)
        right = np.cross(-toward, [0.0, 0.0, 1.0])
        right /= np.linalg.norm(right)
        up = np.cross(right, -toward)
        center = (corners_world.min(axis=0) + corners_world.max(axis=0)) / 2
        seen = (corners_world - center) @ np.stack([right, up, toward]).T
        return cls(center=center, right=right, up=up, toward=toward, half_extent_mm=float(np.abs(seen).max()) * 1.02)

    def affine(self, rays: int, samples: int) -> Affine:
        """From (row, column, sample) to world."""
        affine = np.eye(4)
        step, depth_step = 2 * self.half_extent_mm / rays, 2 * self.half_extent_mm / samples
        affine[:3, 0], affine[:3, 1], affine[:3, 2] = -self.up * step, self.right * step, -self.toward * depth_step
        first = self.half_extent_mm - step / 2
        affine[:3, 3] = (
            self.center + self.up * first - self.right * first + self.toward * (self.half_extent_mm - depth_step / 2)
        )
        return affine


def render_surfaces(
    masks: list[np.ndarray],
    colors: list[tuple[float, float, float]],
    affine: Affine,
    anatomy: np.ndarray | None = None,
    anatomy_affine: Affine | None = None,
) -> Rendering:
    """The surfaces of masks in the world, the nearer in front of the farther.

    Args:
        masks: One mask (i, j, k) a surface, at least one of them not empty.
        colors: Red, green, blue from 0 to 1, one a mask.
        affine: Voxel of the masks to RAS+ mm.
        anatomy: What lies around, as a mask (i, j, k), shown as glass; None shows the surfaces alone.
        anatomy_affine: Voxel of the anatomy to RAS+ mm.
    """
    corners = [_corners(mask, affine) for mask in masks if mask.any()]
    if anatomy is not None and anatomy_affine is not None:
        corners.append(_corners(anatomy, anatomy_affine))
    camera = _Camera.around(np.concatenate(corners))
    picture = np.zeros((RAYS, RAYS, 4))
    nearest = np.full((RAYS, RAYS), np.inf)
    for mask, color in zip(masks, colors, strict=True):
        if mask.any():
            _draw(picture, nearest, _smoothed(mask, affine), color, camera)
    if anatomy is not None and anatomy_affine is not None:
        _draw_glass(picture, _smoothed(anatomy, anatomy_affine), camera)
    return Rendering(rgba=_cut_to_square(np.clip(picture, 0.0, 1.0)), pixel_mm=2 * camera.half_extent_mm / RAYS)


def _cut_to_square(picture: np.ndarray) -> np.ndarray:
    """The smallest square around what is drawn, with a margin."""
    rows = np.flatnonzero(picture[..., 3].any(axis=1))
    columns = np.flatnonzero(picture[..., 3].any(axis=0))
    side = min(RAYS, int(1.08 * max(rows[-1] - rows[0], columns[-1] - columns[0])) + 4)
    starts = [int(np.clip((line[0] + line[-1] - side) // 2, 0, RAYS - side)) for line in (rows, columns)]
    return picture[starts[0] : starts[0] + side, starts[1] : starts[1] + side]


def _corners(mask: np.ndarray, affine: Affine) -> np.ndarray:
    """World positions of the corners of the box around a mask's voxels."""
    bounds = []
    for axis in range(3):
        occupied = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
        bounds.append((occupied[0] - 0.5, occupied[-1] + 0.5))
    corners = np.array(np.meshgrid(*bounds, indexing="ij"), dtype=np.float64).reshape(3, -1).T
    return corners @ affine[:3, :3].T + affine[:3, 3]


def _smoothed(mask: np.ndarray, affine: Affine) -> tuple[np.ndarray, Affine]:
    """A smooth field around the mask's box, 0.5 at its surface, and the box's affine.

    A mask that is a voxel or two thick smooths to less than 0.5 everywhere; it is raised, so that it is seen.
    """
    from scipy.ndimage import find_objects, gaussian_filter

    box = find_objects(mask.astype(np.uint8))[0]
    padded = np.pad(mask[box].astype(np.float32), 3)
    moved = affine.copy()
    moved[:3, 3] = affine[:3, :3] @ np.array([part.start - 3 for part in box], dtype=np.float64) + affine[:3, 3]
    # The same smoothing in mm along each axis, so that thick slices are not smeared.
    spacing = np.array(spacing_of(affine))
    smooth = gaussian_filter(padded, _SMOOTHING * spacing.min() / spacing)
    highest = float(smooth.max())
    return (smooth if highest > 0.5 else smooth / highest), moved


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rays:
    """The field on the rays that can meet it.

    Attributes:
        first: Row, column and distance from the viewer (mm) of the first sample of the first ray.
        values: The field (rows, columns, samples).
        sample_mm: Distance of two samples.
        to_voxel: From (row, column, sample) in ``values`` to voxels of the field.
    """

    first: tuple[int, int, float]
    values: np.ndarray
    sample_mm: float
    to_voxel: Affine

    @property
    def window(self) -> tuple[slice, slice]:
        """Where the rays belong in the picture."""
        rows, columns, _ = self.values.shape
        return slice(self.first[0], self.first[0] + rows), slice(self.first[1], self.first[1] + columns)


def _cast(field: np.ndarray, field_affine: Affine, camera: _Camera, rays: int) -> _Rays:
    """The field along the rays that pass its box; for a small object in a large head these are few."""
    from scipy.ndimage import affine_transform

    samples = max(2, round(2 * camera.half_extent_mm / (_SAMPLE_STEP * min(spacing_of(field_affine)))))
    view = camera.affine(rays, samples)
    corners = _corners(np.ones(field.shape, dtype=bool), field_affine)
    seen = np.linalg.inv(view)[:3] @ np.concatenate([corners.T, np.ones((1, len(corners)))])
    limits = np.array([rays, rays, samples])
    first = np.clip(np.floor(seen.min(axis=1)), 0, limits - 2).astype(int)
    stop = np.clip(np.ceil(seen.max(axis=1)) + 1, first + 2, limits).astype(int)
    moved = view.copy()
    moved[:3, 3] += view[:3, :3] @ first
    to_voxel = np.linalg.inv(field_affine) @ moved
    shape = tuple(int(size) for size in stop - first)
    values = affine_transform(field, to_voxel[:3, :3], to_voxel[:3, 3], output_shape=shape, order=1)
    sample_mm = 2 * camera.half_extent_mm / samples
    return _Rays(
        first=(int(first[0]), int(first[1]), float(first[2]) * sample_mm),
        values=np.asarray(values),
        sample_mm=sample_mm,
        to_voxel=to_voxel,
    )


def _first_hits(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each ray first meets the level 0.5, in samples and interpolated, and whether it does."""
    inside = values > 0.5
    is_hit = np.asarray(inside.any(axis=2))
    after = np.maximum(inside.argmax(axis=2), 1)[..., None]
    there = np.take_along_axis(values, after, axis=2)[..., 0]
    before = np.take_along_axis(values, after - 1, axis=2)[..., 0]
    share = np.clip((0.5 - before) / np.where(there > before, there - before, 1.0), 0.0, 1.0)
    return np.where(is_hit, after[..., 0] - 1 + share, np.inf), is_hit


def _normals(field: np.ndarray, field_affine: Affine, rays: _Rays, depth: np.ndarray) -> np.ndarray:
    """Outward unit normals (n, 3) in the world at the hits."""
    from scipy.ndimage import map_coordinates

    rows, columns = np.nonzero(np.isfinite(depth))
    hits = np.stack([rows, columns, depth[rows, columns]]).astype(np.float64)
    locations = rays.to_voxel[:3, :3] @ hits + rays.to_voxel[:3, 3:]
    slopes = np.stack([map_coordinates(slope, locations, order=1, mode="nearest") for slope in np.gradient(field)])
    # A gradient turns with the inverse transposed of what turns locations.
    normals = -(np.linalg.inv(field_affine)[:3, :3].T @ slopes).T
    return np.asarray(normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9))


def _draw(
    picture: np.ndarray,
    nearest: np.ndarray,
    smooth: tuple[np.ndarray, Affine],
    color: tuple[float, float, float],
    camera: _Camera,
) -> None:
    field, field_affine = smooth
    rays = _cast(field, field_affine, camera, RAYS)
    depth, is_hit = _first_hits(rays.values)
    shade = _shade(_normals(field, field_affine, rays, depth), camera)
    near, pixels = nearest[rays.window], picture[rays.window]
    depth_mm = rays.first[2] + depth * rays.sample_mm
    is_front = depth_mm[is_hit] < near[is_hit]
    rows, columns = (index[is_front] for index in np.nonzero(is_hit))
    pixels[rows, columns, :3] = np.clip(np.array(color) * shade[is_front, :1] + shade[is_front, 1:], 0.0, 1.0)
    pixels[rows, columns, 3] = 1.0
    near[rows, columns] = depth_mm[rows, columns]


def _shade(normals: np.ndarray, camera: _Camera) -> np.ndarray:
    """Diffuse and specular brightness (n, 2) by Blinn and Phong."""
    light = _TO_LIGHT / np.linalg.norm(_TO_LIGHT)
    halfway = light + camera.toward
    halfway /= np.linalg.norm(halfway)
    facing = np.clip(normals @ camera.toward, 0.0, 1.0)
    diffuse = 0.24 + 0.30 * facing + 0.62 * np.clip(normals @ light, 0.0, 1.0)
    specular = 0.22 * np.clip(normals @ halfway, 0.0, 1.0) ** 28
    return np.stack([diffuse, specular], axis=1)


def _draw_glass(picture: np.ndarray, smooth: tuple[np.ndarray, Affine], camera: _Camera) -> None:
    """Lays the anatomy over the picture: nearly clear where it faces the viewer, bright at its rim."""
    from scipy.ndimage import gaussian_filter, zoom

    field, field_affine = smooth
    rays = _cast(field, field_affine, camera, _GLASS_RAYS)
    depth, is_hit = _first_hits(rays.values)
    normals = _normals(field, field_affine, rays, depth)
    rim = np.zeros((_GLASS_RAYS, _GLASS_RAYS))
    rim[rays.window][is_hit] = 0.05 + 0.5 * (1.0 - np.clip(normals @ camera.toward, 0.0, 1.0)) ** 2.2
    veil = np.clip(zoom(gaussian_filter(rim, 0.7), RAYS / _GLASS_RAYS, order=1), 0.0, 1.0)[..., None]
    glass = np.array([0.62, 0.74, 0.86])
    alpha = picture[..., 3:]
    out_alpha = veil + alpha * (1 - veil)
    picture[..., :3] = (glass * veil + picture[..., :3] * alpha * (1 - veil)) / np.maximum(out_alpha, 1e-6)
    picture[..., 3:] = out_alpha
