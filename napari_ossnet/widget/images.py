"""Owns which layers are offered as images, which modality each is taken for, and what is said about the choice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from napari_ossnet.engine.geometry import axis_codes_of, spacing_of
from napari_ossnet.engine.scans.assignment import guess_modality
from napari_ossnet.engine.task_definition import Modality, Task
from napari_ossnet.widget.layers import LayerSource, channel_count, source_of_layer
from napari_ossnet.widget.result_layers import RESULT_KEY
from napari_ossnet.widget.state import ImageChoice, ModalityRow

if TYPE_CHECKING:
    from napari.layers import Layer

#: A fourth axis longer than this is time, not modalities.
MOST_CHANNELS = 16

Assignment = dict[str, ImageChoice | None]


def image_choices(layers: Iterable[Layer]) -> tuple[ImageChoice, ...]:
    """Every channel of every image layer with three axes, or four with channels first."""
    from napari.layers import Image

    choices = []
    for layer in layers:
        if not isinstance(layer, Image) or RESULT_KEY in layer.metadata:
            continue
        count = channel_count(layer)
        if count > MOST_CHANNELS:
            continue
        names = [layer.name] if count == 1 else [f"{layer.name} [{channel + 1}]" for channel in range(count)]
        choices += [
            ImageChoice(layer_id=str(layer.unique_id), channel=channel, title=title)
            for channel, title in enumerate(names)
        ]
    return tuple(choices)


def assign(task: Task, choices: tuple[ImageChoice, ...], picked: Mapping[str, ImageChoice | None]) -> Assignment:
    """An image for each modality: what the user picked, else by name, else by the order of a layer's channels.

    Args:
        task: Its modalities are to be filled.
        choices: What there is.
        picked: What the user has chosen by hand; None is a choice too. Entries that are gone are ignored.
    """
    by_key = {(choice.layer_id, choice.channel): choice for choice in choices}
    assigned: Assignment = dict.fromkeys(task.modality_names)
    fixed = set()
    for name, choice in picked.items():
        if name in assigned and (choice is None or (choice.layer_id, choice.channel) in by_key):
            assigned[name] = None if choice is None else by_key[choice.layer_id, choice.channel]
            fixed.add(name)
    counts = Counter(choice.layer_id for choice in choices)
    for choice in reversed(choices):
        if task.channels > 1 and counts[choice.layer_id] > 1:
            # The channels of one layer share its name, which tells nothing about them; their order does, below.
            continue
        guessed = guess_modality(task, choice.title)
        if guessed is not None and guessed not in fixed and assigned[guessed] is None:
            assigned[guessed] = choice
    if not any(assigned.values()):
        assigned.update(_by_order(task, choices, fixed))
    return assigned


def modality_rows(
    task: Task, assigned: Mapping[str, ImageChoice | None], sources: Mapping[str, LayerSource]
) -> tuple[ModalityRow, ...]:
    """A line a modality: shape and spacing of what was chosen and how it fits, or that something is missing.

    Args:
        task: Its modalities, in order.
        assigned: The choice for each.
        sources: The chosen channels, by modality.
    """
    reference = next((sources[name] for name in task.modality_names if name in sources), None)
    return tuple(_row(task, modality, assigned[modality.name], sources, reference) for modality in task.modalities)


def image_problems(task: Task, rows: tuple[ModalityRow, ...], *, has_images: bool) -> tuple[str, ...]:
    """Why these images can't be segmented, in sentences.

    Args:
        task: The chosen one.
        rows: Its modalities with what was chosen for them.
        has_images: Whether there is anything to choose from.
    """
    missing = [row.title for row in rows if row.choice is None]
    problems = []
    if len(missing) == len(rows):
        needed = ", ".join(row.title for row in rows)
        todo = "Choose images, or another task" if has_images else "Open a scan first"
        problems.append(f"{todo}: '{task.title}' needs {needed}.")
    elif missing:
        problems.append(f"Choose an image for {' and '.join(missing)}.")
    chosen: dict[ImageChoice, list[str]] = {}
    for row in rows:
        if row.choice is not None:
            chosen.setdefault(row.choice, []).append(row.title)
    for choice, titles in chosen.items():
        if len(titles) > 1:
            problems.append(f"'{choice.title}' is chosen for {' and '.join(titles)}; choose another image for one.")
    return tuple(problems)


def sources_of(assigned: Mapping[str, ImageChoice | None], layers: Iterable[Layer]) -> dict[str, LayerSource]:
    """The chosen channels of the layers that are still there, by modality."""
    by_id = {str(layer.unique_id): layer for layer in layers}
    return {
        name: source_of_layer(by_id[choice.layer_id], choice.channel)
        for name, choice in assigned.items()
        if choice is not None and choice.layer_id in by_id
    }


def _by_order(task: Task, choices: tuple[ImageChoice, ...], fixed: set[str]) -> Assignment:
    """The channels of the newest layer that has as many as the task has modalities."""
    for layer_id in reversed(list(dict.fromkeys(choice.layer_id for choice in choices))):
        channels = [choice for choice in choices if choice.layer_id == layer_id]
        if len(channels) == task.channels:
            pairs = zip(task.modality_names, channels, strict=True)
            return {name: choice for name, choice in pairs if name not in fixed}
    return {}


def _row(
    task: Task,
    modality: Modality,
    choice: ImageChoice | None,
    sources: Mapping[str, LayerSource],
    reference: LayerSource | None,
) -> ModalityRow:
    source = sources.get(modality.name)
    if choice is None or source is None or reference is None:
        return ModalityRow(name=modality.name, title=modality.title, note="No image chosen", is_problem=True)
    spacing = spacing_of(source.placement.scan_affine)
    size = "×".join(str(count) for count in source.shape)
    lengths = [f"{length:.3g}" for length in spacing]
    note = f"{size} · {lengths[0] if len(set(lengths)) == 1 else '×'.join(lengths)} mm"
    return ModalityRow(
        name=modality.name,
        title=modality.title,
        choice=choice,
        note=f"{note} · {_fit(task, source, reference)}",
        is_problem=not source.is_spacing_known,
    )


def _fit(task: Task, source: LayerSource, reference: LayerSource) -> str:
    if not source.is_spacing_known:
        return "no unit, taken for mm"
    if source is not reference and not _is_on_same_grid(source, reference):
        return f"resampled to {reference.name}"
    affine = source.placement.scan_affine
    is_native = source.shape == task.box_shape and np.allclose(spacing_of(affine), task.spacing_mm or np.inf, atol=1e-3)
    if is_native and axis_codes_of(affine) == task.axes:
        return "fits as it is"
    return "fits, resized" if task.spacing_mm is None else "fits, resampled"


def _is_on_same_grid(source: LayerSource, reference: LayerSource) -> bool:
    return source.shape == reference.shape and bool(
        np.allclose(source.placement.scan_affine, reference.placement.scan_affine, atol=1e-3)
    )
