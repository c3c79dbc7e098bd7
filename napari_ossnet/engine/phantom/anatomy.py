"""A head (tissues, perhaps images) and a random pose of it in the grid of the BraTS scans."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_ossnet.engine.phantom.random_fields import FloatArray, knot_count, separable, smooth_noise, spline_matrix
from napari_ossnet.engine.phantom.tissues import Tissue

SCAN_SHAPE = (240, 240, 155)
"""The grid of a BraTS scan: 1 mm; the index grows towards left, back, top."""
KNOT_SPACING = 5.0
_KNOTS = tuple(knot_count(size, KNOT_SPACING) for size in SCAN_SHAPE)

Box = tuple[slice, slice, slice]
FULL_BOX: Box = (slice(0, SCAN_SHAPE[0]), slice(0, SCAN_SHAPE[1]), slice(0, SCAN_SHAPE[2]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Where scans come from: a map of tissues, 1 mm, its axes towards left, back, top.

    Attributes:
        name: For the records.
        tissues: (i, j, k) uint8, see `Tissue`.
        images: (channels, i, j, k) float32 of a real scan (FLAIR, T1, T1ce, T2), its white matter at 1 in every
            channel, or None where contrasts are made up.
        brain: The mask of the real scan, or None.
    """

    name: str
    tissues: NDArray[np.uint8]
    images: FloatArray | None = None
    brain: NDArray[np.bool_] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PoseRanges:
    """How far a head is turned, scaled, moved and bent.

    Attributes:
        rotation_degrees: Standard deviation about each axis.
        brain_ml: Mean and standard deviation of the volume that the brain (without CSF) is scaled to.
        log_stretch: Standard deviation of the logarithm of the scale an axis besides.
        shift_mm: Standard deviation of the position of the brain's centre an axis.
        bends: {knot distance in mm: standard deviation of the displacement in mm}, each drawn up to that.
        mirror: Probability of swapping left and right.
    """

    rotation_degrees: float = 5.0
    brain_ml: tuple[float, float] = (1180.0, 95.0)
    log_stretch: float = 0.025
    shift_mm: float = 4.0
    bends: tuple[tuple[float, float], ...] = ((45.0, 5.0), (22.0, 2.5), (11.0, 0.8))
    mirror: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A posed head on voxels: tissues, and images and brain mask where the head has them."""

    tissues: NDArray[np.uint8]
    images: FloatArray | None
    brain: NDArray[np.bool_] | None


class Pose:
    """A head placed in the scan's grid: the map from scan voxels to the head's voxels, on spline knots."""

    def __init__(self, head: Head, knots: FloatArray) -> None:
        self.head = head
        self.knots = knots

    @classmethod
    def draw(cls, rng: np.random.Generator, head: Head, ranges: PoseRanges) -> Pose:
        """A random pose with the brain about in the middle of the grid."""
        inside = _brain_points(head)
        linear = _random_linear(rng, ranges, len(inside) * 0.064)
        low, high = inside.min(0), inside.max(0)
        centre = (low + high) / 2.0
        target = np.array([119.5, 119.5, 77.0]) + rng.normal(0, ranges.shift_mm, 3) * (1, 1, 0.6)
        grid = knot_positions()
        bends = np.stack([_bend(rng, ranges.bends) for _ in range(3)])
        moved = grid - target[:, None, None, None] + bends
        return cls(head, (np.tensordot(linear, moved, 1) + centre[:, None, None, None]).astype(np.float32))

    def pushed(self, push: FloatArray) -> Pose:
        """The pose with the content moved: what was at ``x + push(x)`` comes to lie at ``x``.

        Args:
            push: (3, knots) displacement in voxels at the knots.
        """
        from scipy.ndimage import map_coordinates

        where = (knot_positions() + push) / KNOT_SPACING + 1.0
        knots = [map_coordinates(k, where, order=1, mode="nearest") for k in self.knots]
        # Beyond the lattice's border the map is held, so the push must vanish there; it does, tumours lie inside.
        return Pose(self.head, np.stack(knots).astype(np.float32))

    def coordinates(self, box: Box, stride: int = 1) -> FloatArray:
        """(3, i, j, k): where in the head the box's voxels (every ``stride``-th) lie."""
        matrices = [
            spline_matrix(np.arange(part.start, part.stop, stride, dtype=np.float64), KNOT_SPACING, count)
            for part, count in zip(box, _KNOTS, strict=True)
        ]
        return np.stack([separable(matrices, k) for k in self.knots])

    def render(self, box: Box = FULL_BOX, stride: int = 1, *, with_images: bool = True) -> Rendered:
        """The head on the box's voxels."""
        from scipy.ndimage import map_coordinates

        where = self.coordinates(box, stride)
        tissues = nearest(self.head.tissues, where)
        brain = None if self.head.brain is None else nearest(self.head.brain, where)
        images = None
        if with_images and self.head.images is not None:
            images = np.stack([map_coordinates(i, where, order=1, output=np.float32) for i in self.head.images])
        return Rendered(tissues=tissues, images=images, brain=brain)


def nearest(volume: NDArray, where: FloatArray) -> NDArray:
    """The volume's values at the voxels nearest to (3, ...) locations; 0 outside."""
    index = np.rint(where).astype(np.int32)
    inside = np.ones(index.shape[1:], dtype=bool)
    for axis, size in enumerate(volume.shape):
        inside &= (index[axis] >= 0) & (index[axis] < size)
        np.clip(index[axis], 0, size - 1, out=index[axis])
    flat = (index[0] * volume.shape[1] + index[1]) * volume.shape[2] + index[2]
    values = volume.reshape(-1)[flat]
    values[~inside] = 0
    return values


def knot_positions() -> FloatArray:
    """(3, knots): the voxels at which the knots of the scan's grid lie."""
    axes = [(np.arange(count) - 1) * KNOT_SPACING for count in _KNOTS]
    return np.stack(np.meshgrid(*axes, indexing="ij")).astype(np.float32)


def knots_from_grid(values: FloatArray, box: Box, stride: int) -> FloatArray:
    """A field known on every ``stride``-th voxel of a box, linearly at the knots of the whole grid; 0 outside."""
    from scipy.ndimage import map_coordinates

    start = np.array([part.start for part in box], dtype=np.float32)[:, None, None, None]
    return map_coordinates(values, (knot_positions() - start) / stride, order=1, mode="constant", output=np.float32)


def brain_box(tissues: NDArray[np.uint8], stride: int, margin: int) -> Box:
    """The box around the brain of a whole-grid tissue map at every ``stride``-th voxel, with a margin in voxels."""
    inside = (tissues > Tissue.CSF) & (tissues < Tissue.VESSEL)
    parts = []
    for axis, size in enumerate(SCAN_SHAPE):
        hit = np.flatnonzero(inside.any(axis=tuple(a for a in range(3) if a != axis))) * stride
        parts.append(slice(max(int(hit[0]) - margin, 0), min(int(hit[-1]) + margin + 1, size)))
    return (parts[0], parts[1], parts[2])


def _brain_points(head: Head) -> NDArray[np.int64]:
    coarse = head.tissues[::4, ::4, ::4]
    return np.argwhere((coarse > Tissue.CSF) & (coarse < Tissue.VESSEL)) * 4


def _bend(rng: np.random.Generator, bends: tuple[tuple[float, float], ...]) -> FloatArray:
    total = np.zeros(_KNOTS, dtype=np.float32)
    for scale, amplitude in bends:
        total += np.float32(rng.uniform(0.2, 1.0) * amplitude) * smooth_noise(rng, _KNOTS, scale / KNOT_SPACING)
    return total


def _random_linear(rng: np.random.Generator, ranges: PoseRanges, head_ml: float) -> NDArray[np.float64]:
    """The linear part of the map from scan to head, for a head whose brain has ``head_ml``."""
    angles = np.deg2rad(rng.normal(0, ranges.rotation_degrees, 3))
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        turn = np.eye(3)
        a, b = (axis + 1) % 3, (axis + 2) % 3
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    mean, spread = ranges.brain_ml
    wanted_ml = mean + spread * float(np.clip(rng.normal(), -2.2, 2.2))
    scale = (head_ml / wanted_ml) ** (1 / 3) * np.exp(rng.normal(0, ranges.log_stretch, 3))
    matrix = matrix @ np.diag(scale)
    if rng.random() < ranges.mirror:
        matrix = np.diag([-1.0, 1.0, 1.0]) @ matrix
    return matrix
