"""Owns bringing the modalities of one patient onto the grid of the first; it trusts their affines and moves nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.events import Message
from napari_ossnet.engine.geometry import Orientation, voxel_to_world, world_to_voxel
from napari_ossnet.engine.scans.foreground import background_level, find_foreground
from napari_ossnet.engine.scans.scan_checks import refuse_unusable_values
from napari_ossnet.engine.task_definition import Task
from napari_ossnet.engine.volume import Volume

#: Grids whose corners lie closer than this, in voxels, are the same: headers round.
_SAME_VOXELS = 0.05
#: Share of the first image's foreground that another must cover: below the first it is refused, below the second said.
_LEAST_COVER = 0.8
_FULL_COVER = 0.98
#: Samples along each axis by which that share is estimated.
_COVER_SAMPLES = 24


def align(task: Task, volumes: list[Volume]) -> tuple[Volume, list[Message]]:
    """One scan of single-channel volumes in the task's order, and messages about what was done to them.

    A volume whose voxels lie on those of the first is taken as it is, in whatever axis order it is stored; any other
    is resampled trilinearly.

    Raises:
        InputError: A volume covers too little of the first one's foreground, nothing says where it lies, or the first
            has no foreground to be covered.
    """
    first = volumes[0]
    channels, messages = [first.data[0]], []
    for modality, volume in zip(task.modalities[1:], volumes[1:], strict=True):
        channel, texts = _on_grid_of(first, volume, task.modalities[0].title, modality.title)
        channels.append(channel)
        messages += [Message(text=text, level="warning") for text in texts]
    scan = replace(
        first,
        # One modality needs no second copy.
        data=first.data if len(channels) == 1 else np.stack(channels),
        channel_names=task.modality_names,
        sources=tuple(dict.fromkeys(source for volume in volumes for source in volume.sources)),
    )
    return scan, messages


def _on_grid_of(first: Volume, volume: Volume, first_title: str, title: str) -> tuple[np.ndarray, list[str]]:
    """The volume's channel on the voxels of ``first``, and what there is to say about it."""
    if (0, 0) in (first.affine_codes, volume.affine_codes) and first.affine_codes != volume.affine_codes:
        return _without_place(first, volume, first_title, title)
    reordered = _reordered(first, volume)
    if reordered is not None:
        return reordered, []
    refuse_unusable_values(first_title, first.data[0])
    cover = _cover(first, volume)
    if cover < _LEAST_COVER:
        raise InputError(
            f"The {title} image covers {cover:.0%} of what the {first_title} image shows, {_LEAST_COVER:.0%} are "
            "needed; check that both are of one patient and registered to each other."
        )
    resampled = f"The {title} image ({_described(volume)}) was resampled to the grid of the {first_title} image"
    texts = [f"{resampled} ({_described(first)})."]
    if cover < _FULL_COVER:
        texts.append(f"The {title} image covers {cover:.0%} of what the {first_title} image shows; the rest is blank.")
    return _resampled(first, volume), texts


def _without_place(first: Volume, volume: Volume, first_title: str, title: str) -> tuple[np.ndarray, list[str]]:
    """For a pair of which one file doesn't say where it lies: voxel on voxel if the shapes allow it."""
    lost = title if volume.affine_codes == (0, 0) else first_title
    if first.shape != volume.shape:
        raise InputError(
            f"The file of the {lost} image does not say where it lies, and {title} has another shape than "
            f"{first_title} ({volume.shape}, {first.shape}); save it with its orientation."
        )
    return volume.data[0], [
        f"The file of the {lost} image does not say where it lies; {title} is laid on {first_title} voxel by voxel."
    ]


def _reordered(first: Volume, volume: Volume) -> np.ndarray | None:
    """The volume's channel in the axis order of ``first`` if their voxels are the same, else None."""
    to_volume = np.linalg.inv(volume.affine) @ first.affine
    axes = np.abs(to_volume[:3, :3]).argmax(axis=0)
    if sorted(axes) != [0, 1, 2]:
        return None
    flips = [bool(to_volume[axis, task_axis] < 0) for task_axis, axis in enumerate(axes)]
    orientation = Orientation(
        scan_axes=(int(axes[0]), int(axes[1]), int(axes[2])),
        flips=(flips[0], flips[1], flips[2]),
        scan_shape=volume.shape,
    )
    if orientation.task_shape != first.shape:
        return None
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(first.shape) - 1)
    moved = voxel_to_world(to_volume, corners) - voxel_to_world(orientation.scan_from_task, corners)
    return orientation.to_task(volume.data[0]) if np.abs(moved).max() < _SAME_VOXELS else None


def _cover(first: Volume, volume: Volume) -> float:
    """Share of the first volume's foreground box that lies within the other's field of view."""
    foreground = find_foreground(first.data)
    ticks = [
        np.linspace(start - 0.5, stop - 0.5, 2 * _COVER_SAMPLES + 1)[1::2]
        for start, stop in zip(foreground.start, foreground.stop, strict=True)
    ]
    samples = np.stack(np.meshgrid(*ticks, indexing="ij"), axis=-1).reshape(-1, 3)
    located = world_to_voxel(volume.affine, voxel_to_world(first.affine, samples))
    return float(((located >= -0.5) & (located <= np.array(volume.shape) - 0.5)).all(axis=1).mean())


def _resampled(first: Volume, volume: Volume) -> np.ndarray:
    """The volume's channel at the voxels of ``first``, trilinear, its background's value outside of it."""
    from scipy import ndimage

    to_volume = np.linalg.inv(volume.affine) @ first.affine
    resampled = ndimage.affine_transform(
        volume.data[0],
        to_volume[:3, :3],
        to_volume[:3, 3],
        output_shape=first.shape,
        output=np.float32,
        order=1,
        mode="grid-constant",
        cval=background_level(volume.data[0]),
    )
    return np.asarray(resampled)


def _described(volume: Volume) -> str:
    size = " x ".join(str(length) for length in volume.shape)
    spacing = " x ".join(f"{length:.3g}" for length in volume.spacing_mm)
    return f"{size} voxels of {spacing} mm"
