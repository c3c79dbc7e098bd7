"""Owns the frames: affines, how a scan's axes map to a task's axes, and the lattice at which a mask is asked for.

Frames as in ``shapes.py``. Voxel indices name voxel *centres*: voxel (0, 0, 0) spans -0.5 to 0.5 on each axis.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.shapes import Affine

if TYPE_CHECKING:
    from torch import Tensor

    from napari_ossnet.engine.tensors import Locations

#: The world axis and the sign along it that each letter names, in RAS+ coordinates.
_LETTERS = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
#: Decimals at which two axis assignments count as equally good, so that float noise never decides.
_TIE_DECIMALS = 5


def spacing_of(affine: Affine) -> tuple[float, float, float]:
    """Voxel size in mm along each of the three voxel axes: the lengths of the affine's columns."""
    lengths = np.sqrt((np.asarray(affine, dtype=np.float64)[:3, :3] ** 2).sum(axis=0))
    return float(lengths[0]), float(lengths[1]), float(lengths[2])


def axis_codes_of(affine: Affine) -> str:
    """Where each voxel axis points, as three letters: ``LPS`` means i grows to the left, j to the back, k upwards."""
    world_axes = _closest_world_axes(affine)
    letters = ("RL", "AP", "SI")
    return "".join(letters[axis][int(affine[axis, i] < 0)] for i, axis in enumerate(world_axes))


def is_sheared(affine: Affine, tolerance: float = 1e-3) -> bool:
    """Whether the voxel axes are not at right angles; ``tolerance`` is the largest cosine between two of them."""
    directions = np.asarray(affine)[:3, :3] / spacing_of(affine)
    return bool(np.abs(directions.T @ directions - np.eye(3)).max() > tolerance)


def refuse_unusable_affine(affine: np.ndarray) -> None:
    """Let an affine pass that places voxels in the world.

    Raises:
        InputError: It is not 4 x 4, holds NaN or infinity, or can't be inverted: two axes point the same way.
    """
    matrix = np.asarray(affine)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise InputError("The scan's affine is not a 4 x 4 matrix of finite numbers; repair the header's orientation.")
    lengths = np.array(spacing_of(matrix))
    # The volume of a unit voxel with these axis directions: 1 at right angles, 0 where it is flat.
    if lengths.min() <= 0 or abs(np.linalg.det(matrix[:3, :3] / lengths)) < 1e-3:
        raise InputError("The scan's affine can't be inverted, so its voxels have no place; repair the header.")


def voxel_to_world(affine: Affine, locations_voxel: np.ndarray) -> np.ndarray:
    """World positions (n, 3), RAS mm, float64, of voxel locations (n, 3)."""
    affine = np.asarray(affine, dtype=np.float64)
    return np.asarray(np.asarray(locations_voxel, dtype=np.float64) @ affine[:3, :3].T + affine[:3, 3])


def world_to_voxel(affine: Affine, locations_world: np.ndarray) -> np.ndarray:
    """Voxel locations (n, 3), float64, of world positions (n, 3) in RAS mm."""
    return voxel_to_world(np.linalg.inv(np.asarray(affine, dtype=np.float64)), locations_world)


def scaling_affine(scale: tuple[float, float, float], offset: tuple[float, float, float]) -> Affine:
    """The affine that maps index a of each axis to ``scale * a + offset``."""
    affine = np.diag([*scale, 1.0]).astype(np.float64)
    affine[:3, 3] = offset
    return affine


@dataclass(frozen=True, slots=True, kw_only=True)
class Orientation:
    """How the axes of a scan are permuted and flipped into the axis order of a task; nothing is rotated or resampled.

    Attributes:
        scan_axes: For each task axis, the scan axis that it is.
        flips: For each task axis, whether it runs against that scan axis.
        scan_shape: Voxels of the scan along i, j, k.
    """

    scan_axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    scan_shape: tuple[int, int, int]

    @classmethod
    def between(cls, affine: Affine, scan_shape: tuple[int, int, int], axes: str) -> Orientation:
        """The orientation that takes a scan with this affine into the axis order ``axes`` (letters as in ``LPS``)."""
        world_axes = _closest_world_axes(affine)
        scan_axes = [world_axes.index(_LETTERS[letter][0]) for letter in axes]
        flips = [
            bool(affine[world_axes[scan_axis], scan_axis] * _LETTERS[letter][1] < 0)
            for scan_axis, letter in zip(scan_axes, axes, strict=True)
        ]
        return cls(
            scan_axes=(scan_axes[0], scan_axes[1], scan_axes[2]),
            flips=(flips[0], flips[1], flips[2]),
            scan_shape=scan_shape,
        )

    @property
    def task_shape(self) -> tuple[int, int, int]:
        """Voxels of the scan along the task's axes."""
        i, j, k = self.scan_axes
        return self.scan_shape[i], self.scan_shape[j], self.scan_shape[k]

    @property
    def scan_from_task(self) -> Affine:
        """The affine from voxel indices in task order to voxel indices of the scan."""
        affine = np.zeros((4, 4))
        affine[3, 3] = 1.0
        for task_axis, (scan_axis, flip) in enumerate(zip(self.scan_axes, self.flips, strict=True)):
            affine[scan_axis, task_axis] = -1.0 if flip else 1.0
            affine[scan_axis, 3] = self.scan_shape[scan_axis] - 1 if flip else 0
        return affine

    def to_task(self, array: np.ndarray) -> np.ndarray:
        """A view of ``array`` (..., i, j, k) whose last three axes are in task order."""
        lead = array.ndim - 3
        turned = array.transpose([*range(lead), *(lead + axis for axis in self.scan_axes)])
        return turned[(..., *self._steps())]

    def to_scan(self, array: np.ndarray) -> np.ndarray:
        """A view of ``array``, whose last three axes are in task order, in the scan's order (..., i, j, k)."""
        lead = array.ndim - 3
        turned = array[(..., *self._steps())]
        return turned.transpose([*range(lead), *(lead + int(axis) for axis in np.argsort(self.scan_axes))])

    def scan_indices(self, indices_task: np.ndarray) -> np.ndarray:
        """Voxel indices (n, 3) of the scan for voxel indices in task order; integers stay integers."""
        turned = [
            (self.scan_shape[scan_axis] - 1) - indices_task[:, task_axis] if flip else indices_task[:, task_axis]
            for task_axis, (scan_axis, flip) in enumerate(zip(self.scan_axes, self.flips, strict=True))
        ]
        return np.stack([turned[self.scan_axes.index(axis)] for axis in range(3)], axis=1)

    def task_indices(self, indices_scan: np.ndarray) -> np.ndarray:
        """Voxel indices (n, 3) in task order for voxel indices of the scan; integers stay integers."""
        return np.stack(
            [
                (self.scan_shape[axis] - 1) - indices_scan[:, axis] if flip else indices_scan[:, axis]
                for axis, flip in zip(self.scan_axes, self.flips, strict=True)
            ],
            axis=1,
        )

    def _steps(self) -> tuple[slice, slice, slice]:
        i, j, k = (slice(None, None, -1) if flip else slice(None) for flip in self.flips)
        return i, j, k


@dataclass(frozen=True, kw_only=True)
class Lattice:
    """The points at which a mask is asked for, in the task's axis order.

    Attributes:
        shape: Points along each axis.
        to_grid: Lattice index to location in the network's grid, in grid voxels.
        affine: Lattice index to world position, RAS mm.
    """

    shape: tuple[int, int, int]
    to_grid: Affine
    affine: Affine

    def locations(self, indices: Tensor) -> Locations:
        """Grid locations (n, 3), float32, of lattice indices (n, 3), on the device of the indices.

        Elementwise on purpose: a matrix product may run in TF32 on a GPU, which is off by a tenth of a voxel at 512.
        """
        import torch

        to_grid = torch.as_tensor(self.to_grid, dtype=torch.float32, device=indices.device)
        points = indices.to(torch.float32)
        located = points[:, 0:1] * to_grid[:3, 0] + to_grid[:3, 3]
        located = located + points[:, 1:2] * to_grid[:3, 1]
        return located + points[:, 2:3] * to_grid[:3, 2]

    def region(self, start: tuple[int, int, int], stop: tuple[int, int, int], factor: float) -> Lattice:
        """The lattice of the voxels from ``start`` up to, not including, ``stop``, divided ``factor`` times finer.

        The fine voxels tile the box exactly, outer face to outer face. Where ``factor`` does not divide an axis into
        whole voxels, their number is rounded on that axis (a half rounds up), so that the voxels are a little larger
        or smaller than asked for.

        Raises:
            InputError: The box is empty or leaves the lattice, or the factor is below 1.
        """
        lengths = self._checked_lengths(start, stop, factor)
        counts = [max(1, int(np.floor(length * factor + 0.5))) for length in lengths]
        scale = [length / count for length, count in zip(lengths, counts, strict=True)]
        # Cell-centred: the first fine voxel's lower face is the box's lower face, start - 0.5.
        offset = [first - 0.5 + 0.5 * step for first, step in zip(start, scale, strict=True)]
        from_fine = scaling_affine((scale[0], scale[1], scale[2]), (offset[0], offset[1], offset[2]))
        return Lattice(
            shape=(counts[0], counts[1], counts[2]), to_grid=self.to_grid @ from_fine, affine=self.affine @ from_fine
        )

    def _checked_lengths(
        self, start: tuple[int, int, int], stop: tuple[int, int, int], factor: float
    ) -> tuple[int, int, int]:
        if not (np.isfinite(factor) and factor >= 1):
            raise InputError(f"A region can be refined by a factor of 1 or more, not by {factor:g}; give a larger one.")
        if any(not 0 <= a < b <= size for a, b, size in zip(start, stop, self.shape, strict=True)):
            raise InputError(
                f"The region {tuple(start)} to {tuple(stop)} is empty or leaves the scan of {self.shape} voxels; "
                "choose a box inside the scan."
            )
        return stop[0] - start[0], stop[1] - start[1], stop[2] - start[2]


def _closest_world_axes(affine: Affine) -> tuple[int, int, int]:
    """For each voxel axis the world axis that it runs along most closely, each world axis taken once.

    The best of the six assignments by the sum of cosines. Ties (a scan turned by 45 degrees) are broken by the
    directions as world axes see them, so that the answer never depends on the order in which the axes are stored.
    """
    directions = np.asarray(affine, dtype=np.float64)[:3, :3] / spacing_of(affine)

    def key(world_axes: tuple[int, ...]) -> tuple[float, ...]:
        by_world_axis = directions[:, np.argsort(world_axes)]
        aligned = by_world_axis * np.where(np.diag(by_world_axis) < 0, -1.0, 1.0)
        return float(np.trace(aligned).round(_TIE_DECIMALS)), *aligned.round(_TIE_DECIMALS).ravel().tolist()

    i, j, k = max(permutations(range(3)), key=key)
    return i, j, k
