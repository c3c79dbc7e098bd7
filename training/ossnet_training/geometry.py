"""A recipe's task and network as its tables ``geometry`` and ``network`` change them, and what is wrong with these."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from napari_ossnet.engine.errors import EngineError, InputError
from napari_ossnet.engine.networks.variants import build_network_from_config, config_for_task
from napari_ossnet.engine.tasks import Task, get_task
from ossnet_training.config import Recipe

_GEOMETRY = ("axes", "grid_shape", "latent_grid", "placement", "scan_shape", "spacing_mm")


def task_of(recipe: Recipe) -> Task:
    """The recipe's task with its geometry laid over.

    Raises:
        InputError: There is no such task or no such part of its geometry.
    """
    task = get_task(recipe.task)
    unknown = sorted(set(recipe.geometry) - set(_GEOMETRY))
    if unknown:
        raise InputError(f"geometry has no setting {', '.join(unknown)}; it has {', '.join(_GEOMETRY)}.")
    changes: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in recipe.geometry.items()}
    return dataclasses.replace(task, **changes)


def network_config(recipe: Recipe, task: Task) -> dict[str, Any]:
    """All settings of the recipe's network."""
    return config_for_task(recipe.variant, task) | dict(recipe.network)


def geometry_problems(recipe: Recipe) -> list[str]:
    """What keeps the recipe's network from being built, in words; nothing where it can be."""
    try:
        task = task_of(recipe)
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
