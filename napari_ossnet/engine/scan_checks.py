"""Owns what can be told about a scan before it is segmented: what can't work (refused) and what looks wrong (said)."""

from __future__ import annotations

import numpy as np

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.task_definition import Task
from napari_ossnet.engine.volume import Volume


def check_scan(task: Task, volume: Volume) -> list[str]:
    """What looks wrong about this scan for this task, one sentence each; empty where nothing does."""
    return []


def refuse_unusable(task: Task, volume: Volume) -> None:
    """Let a scan pass that can be segmented.

    Raises:
        InputError: The scan can't be used for the task at all.
    """
    found = volume.data.shape[0]
    if found != task.channels:
        raise InputError(
            f"The task '{task.name}' needs {task.channels} channels ({', '.join(task.modality_names)}), "
            f"the scan has {found}; give one image for each."
        )
    for name, channel in zip(task.modality_names, volume.data, strict=True):
        if not np.isfinite(channel).all():
            raise InputError(f"The {name} image holds NaN or infinite voxels; replace them before segmenting.")
        if channel.min() == channel.max():
            raise InputError(f"The {name} image is constant; give an image with contrast.")
