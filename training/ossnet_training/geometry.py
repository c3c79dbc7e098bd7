"""A recipe's task and network as its tables ``geometry`` and ``network`` change them, and what is wrong with these."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from napari_ossnet.engine.errors import EngineError, InputError
from napari_ossnet.engine.networks.variants import build_network_from_config, config_for_task
from napari_ossnet.engine.tasks import TASKS, Task, get_task
from ossnet_training.config import Recipe

_GEOMETRY = (
    *("axes", "classes", "description", "grid_shape", "kind", "latent_grid", "modalities", "name", "placement"),
    *("scan_shape", "spacing_mm", "title"),
)
#: Colours of classes that say none (Okabe and Ito's, which colour-blind people can tell apart).
_COLORS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167))


def task_of(recipe: Recipe) -> Task:
    """The recipe's task with its geometry laid over: grid, channels, classes, and what it is called.

    ``classes`` is a list of tables with ``name`` and ``label`` (and perhaps ``title`` and ``color``), ``modalities`` a
    list of names; an empty ``scan_shape`` or ``spacing_mm`` means none. Other classes or modalities than a task of this
    program has make another task, which needs a name of its own: by its name others take it for the one that they know.

    Raises:
        InputError: There is no such task or no such part of its geometry, or the parts don't fit together.
    """
    task = get_task(recipe.task)
    unknown = sorted(set(recipe.geometry) - set(_GEOMETRY))
    if unknown:
        raise InputError(f"geometry has no setting {', '.join(unknown)}; it has {', '.join(_GEOMETRY)}.")
    if not recipe.geometry:
        return task
    record = json.loads(task.to_json())
    changes = dict(recipe.geometry)
    for name in ("scan_shape", "spacing_mm"):
        if name in changes:
            changes[name] = changes[name] or None
    if "classes" in changes:
        changes["classes"] = _class_records(changes["classes"])
    if "modalities" in changes:
        changes["modalities"] = _modality_records(changes["modalities"], record["modalities"])
    changed = Task.from_json(json.dumps(record | changes))
    shapes = (changed.grid_shape, changed.latent_grid, changed.box_shape)
    if any(not _is_shape(shape) for shape in shapes):
        raise InputError("geometry: grid_shape, latent_grid and scan_shape are three whole numbers above 0 each.")
    if any(box > grid for box, grid in zip(changed.box_shape, changed.grid_shape, strict=True)):
        raise InputError(
            f"geometry: a scan_shape of {changed.box_shape} doesn't fit into the grid_shape {changed.grid_shape}; "
            "with scan_shape=[] a scan may fill the whole grid."
        )
    _refuse_borrowed_name(changed)
    return changed


def _refuse_borrowed_name(task: Task) -> None:
    known = TASKS.get(task.name)
    if known is not None and _meaning(task) != _meaning(known):
        raise InputError(
            f"geometry: these classes or modalities are not those of the task {task.name!r}; give yours a name "
            "of their own with geometry.name."
        )


def _meaning(task: Task) -> tuple[tuple[str, ...], list[tuple[str, int]]]:
    """What a mask's labels and the images' order stand for."""
    return task.modality_names, [(entry.name, entry.label) for entry in task.classes]


def _is_shape(shape: Any) -> bool:
    return len(shape) == 3 and all(isinstance(extent, int) and extent > 0 for extent in shape)


def _class_records(given: Any) -> list[dict[str, Any]]:
    if not isinstance(given, Sequence) or not given or not all(_is_class(entry) for entry in given):
        raise InputError(
            f"geometry.classes: expected tables with a name and a label above 0, perhaps a title and a color, such as "
            f'[{{ name = "liver", label = 1 }}], found {given!r}.'
        )
    for key in ("name", "label"):
        values = [entry[key] for entry in given]
        if len(set(values)) < len(values):
            raise InputError(f"geometry.classes: two classes have the same {key}; give each its own.")
    return [
        {
            "title": entry["name"].replace("_", " ").capitalize(),
            "color": _COLORS[number % len(_COLORS)],
            **entry,
        }
        for number, entry in enumerate(given)
    ]


def _is_class(entry: Any) -> bool:
    return (
        isinstance(entry, Mapping)
        and {"name", "label"} <= set(entry) <= {"name", "label", "title", "color"}
        and isinstance(entry["name"], str)
        and isinstance(entry["label"], int)
        and entry["label"] > 0
    )


def _modality_records(given: Any, known: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that the task has keep their titles and words."""
    if not isinstance(given, Sequence) or not given or not all(isinstance(name, str) for name in given):
        raise InputError(f'geometry.modalities: expected a list of names, such as ["flair", "t1"], found {given!r}.')
    if len(set(given)) < len(given):
        raise InputError("geometry.modalities: two have the same name; give each its own.")
    records = {record["name"]: record for record in known}
    return [records.get(name, {"name": name, "title": name.upper(), "words": [name]}) for name in given]


def network_config(recipe: Recipe, task: Task) -> dict[str, Any]:
    """All settings of the recipe's network; a U-Net that trains by boxes is to answer in tiles of their size."""
    settings = config_for_task(recipe.variant, task)
    if recipe.variant == "unet-3d" and recipe.sampling.boxes:
        settings["tile_edge"] = recipe.sampling.box_voxels
    return settings | dict(recipe.network)


def label_map_problems(label_map: Sequence[tuple[int, int]], task: Task) -> list[str]:
    """What is wrong with a map of label numbers to the task's classes, in words; nothing where it holds."""
    last = len(task.classes)
    problems = [
        f"the label {label} is mapped to the class {number}; {task.name} has 0 (background) to {last}"
        for label, number in label_map
        if not 0 <= number <= last
    ]
    labels = [label for label, _ in label_map]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    return problems + [f"the label {label} is mapped twice" for label in twice]


def geometry_problems(recipe: Recipe) -> list[str]:
    """What keeps the recipe's network from being built and its labels from being read, in words."""
    try:
        task = task_of(recipe)
        problems = label_map_problems(recipe.data.label_map, task)
        if problems:
            return [f"data.label_map: {text}" for text in problems]
        settings = config_for_task(recipe.variant, task)
        unknown = sorted(set(recipe.network) - set(settings))
        if unknown:
            names = ", ".join(sorted(settings))
            return [f"network.{name}: no such setting of {recipe.variant}; there are {names}" for name in unknown]
        if recipe.network or recipe.geometry:
            with torch.random.fork_rng(devices=[]):
                build_network_from_config(recipe.variant, settings | dict(recipe.network))
    except EngineError as error:
        return [str(error)]
    except (TypeError, ValueError, RuntimeError) as error:
        return [f"geometry and network settings make no {recipe.variant} network: {error}"]
    return []
