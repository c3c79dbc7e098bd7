"""Bringing a label onto the voxels of its scan; it trusts both affines and moves nothing."""

from __future__ import annotations

import logging

import numpy as np

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.geometry import Orientation, voxel_to_world
from napari_ossnet.engine.volume import Volume

logger = logging.getLogger(__name__)

#: Voxels closer than this, in voxels, are the same, as between the images of a scan: headers round.
_SAME_VOXELS = 0.05
#: The qform and sform codes of a file that says nothing of its place.
_NO_PLACE = (0, 0)


def label_on_scan(label: Volume, scan: Volume) -> np.ndarray:
    """The label's numbers (i, j, k) in the axis order of the scan, in whatever order its file has them.

    Where one of the two files doesn't say where it lies, voxel is laid on voxel, as between the images of a scan.

    Raises:
        InputError: Their voxels aren't the same.
    """
    if _NO_PLACE in (label.affine_codes, scan.affine_codes):
        return _without_place(label, scan)
    orientation = Orientation.between(label.affine, label.shape, scan.axis_codes)
    if orientation.task_shape != scan.shape:
        raise _other_shape(label, scan)
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(scan.shape) - 1)
    placed = voxel_to_world(label.affine @ orientation.scan_from_task, corners)
    apart_mm = float(np.linalg.norm(placed - voxel_to_world(scan.affine, corners), axis=1).max())
    if apart_mm > _SAME_VOXELS * min(scan.spacing_mm):
        raise InputError(
            f"the label's voxels lie up to {apart_mm:.3g} mm from the scan's; correct the header that is wrong, "
            "resample the label to the scan, or leave the case out."
        )
    return np.ascontiguousarray(orientation.to_task(label.data[0]))


def _without_place(label: Volume, scan: Volume) -> np.ndarray:
    if label.shape != scan.shape:
        raise _other_shape(label, scan)
    if label.affine_codes != scan.affine_codes:
        files = [path.name for volume in (label, scan) if volume.affine_codes == _NO_PLACE for path in volume.sources]
        logger.warning("%s does not say where it lies; the label is laid on the scan voxel by voxel", ", ".join(files))
    return label.data[0]


def _other_shape(label: Volume, scan: Volume) -> InputError:
    return InputError(
        f"the label's grid {label.shape} is not the scan's {scan.shape}; resample the label to the scan, or leave the "
        "case out."
    )
