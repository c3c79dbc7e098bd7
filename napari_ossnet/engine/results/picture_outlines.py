"""Owns what the outlines of a picture follow: the field's logits next to the boundary, finer than a voxel's edge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_ossnet.engine.geometry import Orientation
from napari_ossnet.engine.surfaces.surface_field import band_heights

if TYPE_CHECKING:
    from napari_ossnet.engine.results.segmentation import Segmentation


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldOutlines:
    """Heights above the decision near the boundary of a mask whose axes were turned.

    Attributes:
        voxels: Turned voxels (n, 3) whose logits are known; none where the last step was coarser than the mask.
        heights: For each label how far they are above its decision (n,).
    """

    voxels: np.ndarray
    heights: dict[int, np.ndarray]

    @classmethod
    def of(cls, segmentation: Segmentation, orientation: Orientation) -> FieldOutlines:
        """The heights of a result, its voxels in the order of ``orientation``'s task."""
        snapshot = segmentation.snapshot
        to_voxel = np.linalg.inv(segmentation.affine) @ snapshot.affine
        shift = np.round(to_voxel[:3, 3])
        if not np.allclose(to_voxel[:3, :3], np.eye(3), atol=1e-3) or not np.allclose(
            to_voxel[:3, 3], shift, atol=1e-3
        ):
            # Between the samples of a coarser step the mask is interpolated, and its own edge is all there is.
            return cls(voxels=np.empty((0, 3), dtype=np.int64), heights={})
        voxels = orientation.task_indices(snapshot.band_samples + shift.astype(np.int64))
        return cls(voxels=voxels, heights={label: band_heights(snapshot, label) for label in snapshot.class_labels})

    def heights_on(self, cut: np.ndarray, axis: int, number: int) -> dict[int, np.ndarray]:
        """For each label in a plane of the mask the heights of its pixels, float32; mere signs away from the boundary.

        Args:
            cut: Labels of the plane (a, b), in the order of the two other axes.
            axis: Across the plane.
            number: Its index along that axis.
        """
        is_here = self.voxels[:, axis] == number
        a, b = np.delete(self.voxels[is_here], axis, axis=1).T
        planes = {}
        for label in np.unique(cut[cut > 0]):
            known = self.heights[int(label)][is_here] if len(self.voxels) else np.empty(0)
            plane = np.where(cut == label, np.float32(1), np.float32(-1)) * _usual(known)
            plane[a, b] = known
            planes[int(label)] = plane
        return planes


def _usual(heights: np.ndarray) -> np.float32:
    """What stands for a height that is not known; no outline runs beside it."""
    return np.float32(np.median(np.abs(heights))) if len(heights) else np.float32(1)
