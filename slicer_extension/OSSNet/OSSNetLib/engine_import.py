"""The light part of the engine inside Slicer's own process: no torch in it; the work is done by the child."""

from __future__ import annotations

import sys
from typing import Any

from OSSNetLib.engine_process import engine_folder


def import_engine(module: str) -> Any:
    """A module of the engine, e.g. ``tasks``; its packages must be installed.

    Raises:
        ImportError: They are not.
    """
    folder = str(engine_folder())
    if folder not in sys.path:
        # First: another napari_ossnet in Slicer's Python would not be of the child's version.
        sys.path.insert(0, folder)
    return __import__(f"napari_ossnet.engine.{module}", fromlist=[module])


def known_tasks() -> dict[str, Any]:
    """The engine's tasks by name, and those that weights on this machine bring along."""
    catalogue, tasks = import_engine("catalogue"), dict(import_engine("tasks").TASKS)
    for entry in catalogue.list_entries():
        path = catalogue.local_path(entry)
        if entry.task not in tasks and path is not None:
            tasks[entry.task] = import_engine("model_card").read_card(path).task
    return tasks


def task_of_weights(name: str, variant: str | None, weights: str | None) -> Any:
    """The task of a run, as the card of its weights has it, which is what the engine goes by.

    Of weights that are not on this machine, or whose file has no card, nothing but the task's name is known here.

    Args:
        name: Of the task.
        variant: Of the network; None for any.
        weights: A name in the catalogue or a file; None for the best on this machine.
    """
    try:
        path = import_engine("catalogue").find_weights(name, variant, weights)
        return import_engine("model_card").read_card(path).task
    except import_engine("errors").WeightsError:
        return known_tasks().get(name) or import_engine("tasks").get_task(name)
