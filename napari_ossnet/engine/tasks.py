"""Owns the tasks that the program knows by name, and is the door to what is done with a task and a scan."""

from __future__ import annotations

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.scans.preparation import PreparedVolume, prepare
from napari_ossnet.engine.scans.scan_checks import check_scan
from napari_ossnet.engine.task_definition import Modality, SegmentClass, Task, Terminology

__all__ = [
    "TASKS",
    "Modality",
    "PreparedVolume",
    "SegmentClass",
    "Task",
    "Terminology",
    "check_scan",
    "get_task",
    "prepare",
]

_ANATOMY = ("SCT", "123037004", "Anatomical Structure")
_ABNORMAL = ("SCT", "49755003", "Morphologically Abnormal Structure")
_BRAIN = ("SCT", "12738006", "Brain")
_HIPPOCAMPUS = ("SCT", "5366008", "Hippocampus")

#: How people and the BraTS and BIDS conventions mark a T1 after gadolinium; several words stand in a row.
_CONTRAST_WORDS = (
    *("t1ce", "t1c", "t1gd", "t1wce", "t1post", "t1contrast", "t1gad", "t1km", "ce gadolinium", "ce gd", "ce gad"),
    *(
        f"{t1} {mark}"
        for t1 in ("t1", "t1w")
        for mark in ("ce", "c", "gd", "gad", "gadolinium", "post", "contrast", "km")
    ),
)

#: Grids, axes and channel order: spec sections 2 and 3; BraTS: Menze et al. 2015; LiTS: Bilic et al. 2023.
_BRATS = Task(
    name="brats",
    title="Brain tumour (BraTS)",
    description="Whole glioma, oedema included, in a skull-stripped brain: FLAIR, T1, contrast-enhanced T1 and T2.",
    kind="MR",
    modalities=(
        Modality(name="flair", title="FLAIR", words=("flair", "t2f", "fla", "t2 flair", "t2w flair")),
        Modality(name="t1", title="T1", words=("t1", "t1n", "t1w", "t1 pre", "t1w pre")),
        Modality(name="t1ce", title="T1 with contrast", words=_CONTRAST_WORDS),
        Modality(name="t2", title="T2", words=("t2", "t2w")),
    ),
    axes="LPS",
    grid_shape=(256, 256, 160),
    spacing_mm=(1.0, 1.0, 1.0),
    scan_shape=(240, 240, 155),
    placement="foreground",
    classes=(
        SegmentClass(
            name="whole_tumour",
            title="Whole tumour",
            label=1,
            color=(230, 90, 60),
            terminology=Terminology(category=_ABNORMAL, type=("SCT", "4147007", "Mass"), region=_BRAIN),
        ),
    ),
    latent_grid=(8, 8, 5),
    # From a child's brain to the largest intracranial volumes; a head with its skull and skin has 3 litres and more.
    foreground_ml=(500.0, 2100.0),
    foreground_hint="check that it is a whole brain without skull and skin",
)

_LITS = Task(
    name="lits",
    title="Liver (LiTS)",
    description="Liver, tumours included, in an abdominal CT.",
    kind="CT",
    modalities=(Modality(name="ct", title="CT", words=("ct",)),),
    axes="RAS",
    grid_shape=(512, 512, 512),
    spacing_mm=None,
    scan_shape=None,
    placement="resize",
    classes=(
        SegmentClass(
            name="liver",
            title="Liver",
            label=1,
            color=(221, 130, 101),
            terminology=Terminology(category=_ANATOMY, type=("SCT", "10200004", "Liver")),
        ),
    ),
    latent_grid=(8, 8, 8),
)

_HIPPOCAMPUS_TASK = Task(
    name="hippocampus",
    title="Hippocampus",
    description="Anterior and posterior hippocampus in a small MR volume cropped around it.",
    kind="MR",
    modalities=(Modality(name="mr", title="MR", words=("mr", "mri", "t1", "t1w")),),
    axes="RAS",
    grid_shape=(48, 64, 48),
    spacing_mm=(1.0, 1.0, 1.0),
    scan_shape=None,
    placement="centre",
    classes=(
        SegmentClass(
            name="anterior",
            title="Anterior hippocampus",
            label=1,
            color=(120, 180, 240),
            terminology=Terminology(category=_ANATOMY, type=_HIPPOCAMPUS, region=_BRAIN),
        ),
        SegmentClass(
            name="posterior",
            title="Posterior hippocampus",
            label=2,
            color=(240, 200, 80),
            terminology=Terminology(category=_ANATOMY, type=_HIPPOCAMPUS, region=_BRAIN),
        ),
    ),
    latent_grid=(6, 8, 6),
)

TASKS: dict[str, Task] = {task.name: task for task in (_BRATS, _LITS, _HIPPOCAMPUS_TASK)}


def get_task(name: str) -> Task:
    """The task of this name.

    Raises:
        InputError: There is no such task; the sentence lists those that there are.
    """
    if name not in TASKS:
        raise InputError(f"There is no task '{name}'; choose one of {', '.join(TASKS)}.")
    return TASKS[name]
