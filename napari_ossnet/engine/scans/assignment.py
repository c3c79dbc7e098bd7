"""Owns which image is which modality, told by the words in file names, and how several images become one scan."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.events import Message
from napari_ossnet.engine.scans.alignment import align
from napari_ossnet.engine.task_definition import Task
from napari_ossnet.engine.volume import Volume, read_volume, stem_of

_SEPARATORS = re.compile(r"[_\-.\s]+")
#: Words of names that speak of a label map; whole words, either case.
_LABEL_WORDS = {
    "seg", "segmentation", "mask", "masks", "label", "labels", "gt", "truth", "parcellation", "aseg", "roi",
}  # fmt: skip


def is_named_as_labels(name: str) -> bool:
    """Whether a file's name says that it holds labels and no scan."""
    return bool(_LABEL_WORDS.intersection(re.split(r"[\W_]+", stem_of(name).lower())))


def guess_modality(task: Task, name: str) -> str | None:
    """The modality that a file's, layer's or node's name speaks of; None where it speaks of none, or of several.

    Words are whole (between ``_ - .``, spaces and the ends) and in either case. A modality's word may be several in a
    row (``t2 flair``); the longest that is found wins, so that ``case_T2_FLAIR`` is FLAIR and ``t1-gd`` is T1 with
    contrast. A task of one modality takes any name.
    """
    if task.channels == 1:
        return task.modalities[0].name
    words = _SEPARATORS.split(stem_of(name).lower())
    found = {
        modality.name: length
        for modality in task.modalities
        if (length := max((_words_found(words, wanted) for wanted in modality.words), default=0))
    }
    # Two may be one phrase (T2 FLAIR), three are a list of what a file with several channels holds.
    if not found or len(found) > 2:
        return None
    best = [modality for modality, length in found.items() if length == max(found.values())]
    return best[0] if len(best) == 1 else None


def split_image(image: str) -> tuple[str | None, Path]:
    """The modality that ``MODALITY=PATH`` says and its path; None for a plain path, even one with ``=`` in it."""
    said, equals, rest = image.partition("=")
    whole = Path(image).expanduser()
    return (said, Path(rest).expanduser()) if equals and not whole.exists() else (None, whole)


def assign_images(task: Task, images: Sequence[str]) -> dict[str, Path]:
    """Which file holds which modality, in the task's order.

    Args:
        task: Its modalities give the words.
        images: Paths, or ``MODALITY=PATH``. A single path that names no modality stands for all of them: one file
            with its channels in the task's order.

    Raises:
        InputError: A modality is missing or given twice, or a file can't be assigned.
    """
    if not images:
        raise InputError(f"No image given, '{task.name}' needs {_listed(task)}; name one file for each.")
    named = [_named(task, image) for image in images]
    if len(named) == 1 and named[0][0] is None:
        return dict.fromkeys(task.modality_names, named[0][1])
    assigned: dict[str, Path] = {}
    for modality, path in named:
        if modality is None:
            raise InputError(
                f"Can't tell which modality {path.name} is, one of {', '.join(task.modality_names)} is needed; "
                f"say it: {task.modalities[0].name}={path.name}."
            )
        if modality in assigned:
            raise InputError(
                f"Two images for {modality}, {assigned[modality].name} and {path.name}, one is needed; "
                f"leave one out or say what the other is: MODALITY={path.name}."
            )
        assigned[modality] = path
    missing = [name for name in task.modality_names if name not in assigned]
    if missing:
        raise InputError(
            f"No image for {', '.join(missing)}: '{task.name}' needs {_listed(task)}, given are "
            f"{_shown(assigned)}; add the missing one, or say {missing[0]}=FILE."
        )
    return {name: assigned[name] for name in task.modality_names}


def load_scan(task: Task, assignment: dict[str, Path]) -> tuple[Volume, list[Message]]:
    """The scan in the assigned files, channels in the task's order, all on the grid of the first.

    Returns:
        The scan, and messages: which file is which modality, then what was resampled.

    Raises:
        InputError: A file can't be read, has the wrong number of channels, or does not lie where the first one does.
    """
    read = {path: read_volume(path) for path in dict.fromkeys(assignment.values())}
    volume, messages = stack_volumes(task, {name: read[path] for name, path in assignment.items()})
    return volume, [Message(text=f"{_shown(assignment)}."), *messages]


def stack_volumes(task: Task, volumes: dict[str, Volume]) -> tuple[Volume, list[Message]]:
    """One scan of several, channels in the task's order, all on the grid of the task's first modality.

    Args:
        task: Its modalities are the keys.
        volumes: A volume of one channel for each modality, or for all of them the same one with all channels.

    Returns:
        The scan, and messages about what was resampled.

    Raises:
        InputError: A modality is missing, a volume has the wrong number of channels, or one does not lie where the
            first one does.
    """
    missing = [name for name in task.modality_names if name not in volumes]
    if missing:
        raise InputError(
            f"No image for {', '.join(missing)}: '{task.name}' needs {_listed(task)}; choose one for each."
        )
    chosen = [volumes[name] for name in task.modality_names]
    if task.channels > 1 and all(volume is chosen[0] for volume in chosen):
        return _with_all_channels(task, chosen[0]), []
    for name, volume in zip(task.modality_names, chosen, strict=True):
        if volume.data.shape[0] != 1:
            raise InputError(
                f"The image for {name} ({_source(volume)}) has {volume.data.shape[0]} channels, one is needed; "
                "give a 3D image."
            )
    return align(task, chosen)


def _words_found(words: list[str], wanted: str) -> int:
    """How many words long ``wanted`` is if it occurs among ``words``, in a row; else 0."""
    parts = wanted.split()
    starts = range(len(words) - len(parts) + 1)
    return len(parts) if any(words[start : start + len(parts)] == parts for start in starts) else 0


def _named(task: Task, image: str) -> tuple[str | None, Path]:
    """The modality of one argument, if it names one, and its path."""
    said, path = split_image(image)
    if said is None:
        return guess_modality(task, path.name), path
    by_word = {word: modality.name for modality in task.modalities for word in (modality.name, *modality.words)}
    if said.lower() not in by_word:
        raise InputError(
            f"'{task.name}' has no modality '{said}' (in {image}), only {', '.join(task.modality_names)}; use one."
        )
    return by_word[said.lower()], path


def _with_all_channels(task: Task, volume: Volume) -> Volume:
    """The one volume that holds all modalities, its channels named."""
    count = volume.data.shape[0]
    if count != task.channels:
        found = "1 channel" if count == 1 else f"{count} channels"
        raise InputError(
            f"{_source(volume)} has {found}, '{task.name}' needs {task.channels} {task.kind} images ({_listed(task)}); "
            "give one image for each, or one file with these channels as its last axis."
        )
    return replace(volume, channel_names=task.modality_names)


def _source(volume: Volume) -> str:
    return ", ".join(path.name for path in volume.sources) or ", ".join(volume.channel_names)


def _listed(task: Task) -> str:
    return ", ".join(task.modality_names)


def _shown(assignment: dict[str, Path]) -> str:
    return ", ".join(f"{name}: {path.name}" for name, path in assignment.items())
