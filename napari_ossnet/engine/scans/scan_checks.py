"""Owns what can be told about a scan before it is segmented: what can't work (refused) and what looks wrong (said)."""

from __future__ import annotations

import numpy as np

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.geometry import axis_codes_of, is_sheared
from napari_ossnet.engine.scans.channels import for_each_channel
from napari_ossnet.engine.scans.foreground import find_foreground
from napari_ossnet.engine.task_definition import Task
from napari_ossnet.engine.volume import Volume

#: Fewer voxels or millimetres than this along an axis hold no anatomy: the coarsest step of the refinement is 16
#: voxels, a network's patch is 7 or 14, and the smallest scan of the hippocampus data has 24.
_LEAST_VOXELS = 8
_LEAST_MM = 16.0
#: Air is at -1000 HU, fat at -100: values below this exist in a CT and in no ordinary MR image.
_AIR_HU = -200.0
_AIR_SHARE = 0.01
#: Voxels this many times larger than the task's, or than 1.5 mm where the task has no spacing, are coarse.
_COARSE = 3.0
_USUAL_MM = 1.5
#: Two places of one scan that differ by less than this share of a voxel are the same: headers round.
_GAP_VOXELS = 0.1
#: A scan this many times longer than the network's grid is not what the task was made for.
_OVERSIZE = 1.5


def check_scan(task: Task, volume: Volume) -> list[str]:
    """What looks wrong about this scan for this task, one sentence each; empty where nothing does.

    None of it keeps the scan from being segmented, save where ``prepare`` refuses it: then its sentence is the answer.
    """
    try:
        refuse_unusable(task, volume)
        content = _foreground_problems(task, volume)
    except InputError as error:
        return [str(error)]
    return [
        *_orientation_problems(volume),
        *_kind_problems(task, volume),
        *_spacing_problems(task, volume),
        *_length_problems(task, volume),
        *content,
    ]


def refuse_unusable(task: Task, volume: Volume) -> None:
    """Let a scan pass that can be segmented.

    Raises:
        InputError: It is flat or tiny, has the wrong number of channels, holds NaN or infinity, or shows nothing.
    """
    _refuse_size(volume)
    found = volume.data.shape[0]
    if found != task.channels:
        raise InputError(
            f"The task '{task.name}' needs {_counted(task.channels, 'channel')} ({', '.join(task.modality_names)}), "
            f"the scan has {found}; give one image for each."
        )
    titled = [(modality.title, channel) for modality, channel in zip(task.modalities, volume.data, strict=True)]
    for_each_channel(lambda item: refuse_unusable_values(*item), titled)


def _refuse_size(volume: Volume) -> None:
    size = " x ".join(str(length) for length in volume.shape)
    if 1 in volume.shape:
        raise InputError(f"The scan is a single slice ({size} voxels), a 3D scan is needed; give the whole series.")
    lengths_mm = [length * spacing for length, spacing in zip(volume.shape, volume.spacing_mm, strict=True)]
    if min(volume.shape) < _LEAST_VOXELS or min(lengths_mm) < _LEAST_MM:
        size_mm = " x ".join(f"{length:.3g}" for length in lengths_mm)
        raise InputError(
            f"The scan is too small ({size} voxels, {size_mm} mm): {_LEAST_VOXELS} voxels and {_LEAST_MM:g} mm along "
            "each axis are the least that can show anatomy; give the whole scan."
        )


def refuse_unusable_values(title: str, channel: np.ndarray) -> None:
    """Let a channel (i, j, k) pass that shows something.

    Raises:
        InputError: It holds NaN or infinity, or the same value everywhere.
    """
    # A sum is finite only if every summand is, save where huge values overflow: then each is looked at.
    if not np.isfinite(channel.sum(dtype=np.float64)):
        bad = int(channel.size - np.isfinite(channel).sum())
        if bad:
            raise InputError(
                f"The {title} image holds {_counted(bad, 'NaN or infinite voxel')}, all must be finite; "
                "replace them by the background's value and save the image again."
            )
    lowest, highest = float(channel.min()), float(channel.max())
    if lowest == highest:
        raise InputError(f"The {title} image is constant ({lowest:g} everywhere); give an image that shows anatomy.")


def _orientation_problems(volume: Volume) -> list[str]:
    found = []
    if volume.affine_codes == (0, 0):
        found.append(
            f"The file does not say how the patient lies in it; its axes are taken as {axis_codes_of(volume.affine)}, "
            "so left and right may be swapped."
        )
    if volume.place_gap_mm > _GAP_VOXELS * min(volume.spacing_mm):
        found.append(
            f"The file states two places, qform and sform, that are up to {volume.place_gap_mm:.3g} mm apart: the mask "
            "lies where the sform says, so a program that goes by the qform shows it beside the scan."
        )
    if is_sheared(volume.affine):
        found.append(
            "The scan's axes are not at right angles (a tilted gantry?): the network sees the scan straightened, the "
            "mask keeps the scan's shape."
        )
    return found


def _kind_problems(task: Task, volume: Volume) -> list[str]:
    by_file = volume.modality if volume.modality in ("CT", "MR") else ""
    air = float((volume.data[0] < _AIR_HU).mean())
    if task.kind == "MR" and (by_file == "CT" or (not by_file and air > _AIR_SHARE)):
        why = "its DICOM header says so" if by_file else f"{air:.0%} of it lies below {_AIR_HU:g}, as air does in HU"
        return [f"This looks like a CT scan ({why}), but '{task.name}' was trained on MR; expect a useless mask."]
    if task.kind == "CT" and (by_file == "MR" or (not by_file and air <= _AIR_SHARE)):
        lowest = f"its lowest value is {float(volume.data[0].min()):g}, air is at -1000 HU"
        why = "its DICOM header says MR" if by_file else lowest
        text = (
            f"This does not look like a CT scan ({why}), but '{task.name}' was trained on whole CT scans in HU; "
            "expect a useless mask from MR, a poorer one from a windowed CT."
        )
        return [text]
    return []


def _spacing_problems(task: Task, volume: Volume) -> list[str]:
    usual = task.spacing_mm or (_USUAL_MM,) * 3
    # Axis by axis in the scan's order: a task's spacing is the same along all axes, or the largest counts.
    if max(volume.spacing_mm) <= _COARSE * max(usual):
        return []
    voxel = " x ".join(f"{length:.3g}" for length in volume.spacing_mm)
    text = (
        f"The voxels are large ({voxel} mm, about {max(usual):g} mm is usual for '{task.name}'): "
        "the mask can be no finer than what they show."
    )
    return [text]


def _length_problems(task: Task, volume: Volume) -> list[str]:
    if task.spacing_mm is None or task.placement != "centre":
        return []
    grid_mm = max(size * spacing for size, spacing in zip(task.grid_shape, task.spacing_mm, strict=True))
    scan_mm = max(size * spacing for size, spacing in zip(volume.shape, volume.spacing_mm, strict=True))
    if scan_mm <= _OVERSIZE * grid_mm:
        return []
    text = (
        f"The scan is {scan_mm:.0f} mm long, '{task.name}' sees {grid_mm:.0f} mm around its centre; "
        "crop it around the anatomy."
    )
    return [text]


def _foreground_problems(task: Task, volume: Volume) -> list[str]:
    if task.foreground_ml is None:
        return []
    volume_ml = find_foreground(volume.data).voxels * float(np.prod(volume.spacing_mm)) / 1000
    least, most = task.foreground_ml
    if least <= volume_ml <= most:
        return []
    text = (
        f"The scan shows {volume_ml:.0f} mL of foreground, {least:g} to {most:g} mL are usual for '{task.name}'; "
        f"{task.foreground_hint}."
    )
    return [text]


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
