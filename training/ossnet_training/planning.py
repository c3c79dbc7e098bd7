"""Before a run starts: its data found and checked, its task made, its folder described."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from napari_ossnet.engine.catalogue import ossnet_home
from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.scans.encoding_window import encoding_window
from napari_ossnet.engine.tasks import Task
from ossnet_training.answering import box_stop
from ossnet_training.cache import cache_cases
from ossnet_training.cases import find_cases
from ossnet_training.channel_order import in_task_order
from ossnet_training.checkpointing import newest_readable
from ossnet_training.config import Recipe
from ossnet_training.data import ReadableCase, Window
from ossnet_training.geometry import task_of
from ossnet_training.pool_cases import find_pool_cases, is_pool
from ossnet_training.processes import Processes
from ossnet_training.run_folder import RunFolder, runs_home
from ossnet_training.splits import Split, make_split, read_split, some_names


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """A run that has been checked and is ready to start."""

    recipe: Recipe
    task: Task
    run: RunFolder
    training: tuple[ReadableCase, ...]
    validation: tuple[ReadableCase, ...]
    checkpoint: Path | None
    init_from: str | None


def plan_run(recipe: Recipe, *, name: str | None, resume: str | None, init_from: str | None) -> RunPlan:
    """Check the data and the folder, decode what isn't cached, and describe the run in its folder.

    Args:
        recipe: All settings, with the data's path.
        name: Of the run; by default task, variant and seed.
        resume: ``auto`` goes on where a run of this name stopped and starts one where there is none; None refuses a
            name that is taken.
        init_from: Weights to start from, by name or file.

    Raises:
        InputError: The data or the settings can't be used; nothing was started.
    """
    task = task_of(recipe)
    run = RunFolder(path=runs_home() / (name or f"{recipe.task}-{recipe.variant}-seed{recipe.seed}"))
    checkpoint = newest_readable(run.checkpoints) if resume else None
    if resume and resume != "auto":
        raise InputError(f"--resume takes 'auto', found {resume!r}; name the run with --name.")
    processes = Processes.from_environment()
    if recipe.batch_size % processes.count:
        raise InputError(
            f"batch_size {recipe.batch_size} can't be shared by {processes.count} processes; "
            f"use a multiple of {processes.count}."
        )
    if run.config.exists() and not resume and processes.rank == 0:
        raise InputError(
            f"The run {run.name} is there already ({run.path}); go on with --resume auto, or choose --name."
        )
    if checkpoint:
        _check_resumption(recipe, run)
    # A run that goes on keeps its split, whatever was added to the data since.
    kept = read_split(str(run.split)) if checkpoint and run.split.is_file() else None
    cases, split = gather_cases(recipe, task, kept)
    if processes.rank == 0:
        run.describe(recipe, split)
    shown = split.validation[: recipe.validation.cases or None]
    return RunPlan(
        recipe=recipe,
        task=task,
        run=run,
        training=tuple(cases[case] for case in split.training),
        validation=tuple(cases[case] for case in shown),
        checkpoint=checkpoint,
        init_from=init_from,
    )


def _check_resumption(recipe: Recipe, run: RunFolder) -> None:
    """Refuse settings under which the run's checkpoints can't be taken up; all others may change on the way.

    Of seed, split and batch size depends which case comes when, and what an epoch is.

    Raises:
        InputError: Such a setting differs from the run's.
    """
    before = run.recipe()
    plain = ("task", "variant", "network", "seed", "batch_size")
    changed = [
        f"{name} was {then!r}, now {now!r}"
        for name, then, now in (
            *((key, getattr(before, key), getattr(recipe, key)) for key in plain),
            ("geometry", _nameless(before.geometry), _nameless(recipe.geometry)),
            ("data.split", before.data.split, recipe.data.split),
            ("data.validation_fraction", before.data.validation_fraction, recipe.data.validation_fraction),
            ("optimiser.name", before.optimiser.name, recipe.optimiser.name),
            ("use of Lookahead", before.optimiser.lookahead_steps > 0, recipe.optimiser.lookahead_steps > 0),
            ("use of averaged weights", before.optimiser.average_decay > 0, recipe.optimiser.average_decay > 0),
        )
        if then != now
    ]
    if changed:
        raise InputError(
            f"The run {run.name} can't go on with these settings: {'; '.join(changed)}. Give those of {run.config}, or "
            "start another run with --name (and --init-from, where the network is the same)."
        )


def _nameless(geometry: Mapping[str, Any]) -> dict[str, Any]:
    """A geometry without the task's name, which the network doesn't know."""
    return {key: value for key, value in geometry.items() if key != "name"}


def gather_cases(recipe: Recipe, task: Task, kept: Split | None = None) -> tuple[dict[str, ReadableCase], Split]:
    """Every case of the data set's split by name, ready to be read, and the split.

    Args:
        recipe: Says where the data lie and how they are split.
        task: What they are prepared for.
        kept: The split of a run that goes on.

    Raises:
        InputError: There is no data set, the split doesn't fit it, or a case can't be used.
    """
    data = recipe.data
    path = Path(data.path).expanduser()
    if is_pool(path, data.layout):
        pool, split = find_pool_cases(path, task)
        if kept is not None:
            split = _still_there(kept, [case.name for case in pool], data.path)
        return {case.name: case for case in pool}, split
    cases = in_task_order(find_cases(data.path, data.layout), task)
    names = [case.name for case in cases]
    if kept is not None:
        split = _still_there(kept, names, data.path)
    else:
        split = make_split(names, data.split, fraction=data.validation_fraction, seed=recipe.seed)
    wanted = {*split.training, *split.validation}
    chosen = [case for case in cases if case.name in wanted]
    cached = cache_cases(chosen, task, data.label_map, ossnet_home() / "cache", allow_empty=data.allow_empty)
    return {case.name: case for case in cached}, split


def _still_there(kept: Split, names: Sequence[str], data: str) -> Split:
    there = set(names)
    gone = [name for name in (*kept.training, *kept.validation) if name not in there]
    if gone:
        raise InputError(
            f"{len(gone)} cases that the run was begun with are not in {data} any more ({some_names(gone)}); put them "
            "back, or start another run with --name."
        )
    return kept


def window_rule(network: nn.Module, task: Task) -> Callable[[np.ndarray], Window] | None:
    """How to find the part of a prepared grid that the network's encoder sees; None where it sees all of it."""
    config: Any = network.config
    if not getattr(config, "encodes_foreground", False):
        return None
    encoder: Any = network.encoder
    return partial(encoding_window, box_start=task.box_start, box_stop=box_stop(task), multiple=encoder.factor)
