"""Before a run starts: its data found and checked, its task made, its folder described."""

from __future__ import annotations

import logging
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
from ossnet_training.config import DataSettings, Recipe
from ossnet_training.data import ReadableCase, Window
from ossnet_training.geometry import task_of
from ossnet_training.pool_cases import find_pool_cases, is_pool
from ossnet_training.processes import Processes, refuse_missing_device
from ossnet_training.run_folder import RunFolder, runs_home
from ossnet_training.splits import Split, make_split, read_split, some_names

logger = logging.getLogger(__name__)


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

    A run that is to go on but has no checkpoint that can be read begins anew; what it had is set aside in its folder.

    Args:
        recipe: All settings, with the data's path.
        name: Of the run; by default task, variant and seed.
        resume: ``auto`` goes on where a run of this name stopped and starts one where there is none; None refuses a
            name that is taken.
        init_from: Weights to start from, by name or file; None takes those that a run which goes on was begun from.

    Raises:
        InputError: The data or the settings can't be used; nothing was started.
        DeviceError: The recipe's device isn't there.
    """
    task = task_of(recipe)
    run = RunFolder(path=runs_home() / (name or f"{recipe.task}-{recipe.variant}-seed{recipe.seed}"))
    if resume and resume != "auto":
        raise InputError(f"--resume takes 'auto', found {resume!r}; name the run with --name.")
    processes = Processes.from_environment()
    refuse_missing_device(processes, recipe.device)
    if recipe.batch_size % processes.count:
        raise InputError(
            f"batch_size {recipe.batch_size} can't be shared by {processes.count} processes; "
            f"use a multiple of {processes.count}."
        )
    if run.config.exists() and not resume and processes.rank == 0:
        raise InputError(
            f"The run {run.name} is there already ({run.path}); go on with --resume auto, or choose --name."
        )
    is_begun = resume is not None and run.config.exists()
    origin = _full_name(init_from) if init_from else ""
    if is_begun:
        _check_resumption(recipe, run, origin)
        origin = origin or run.init_from() or ""
    # A run that goes on keeps its split, whatever was added to the data since.
    kept = read_split(str(run.split)) if is_begun and run.split.is_file() else None
    cases, split = gather_cases(recipe, task, kept)
    checkpoint = newest_readable(run.checkpoints) if is_begun else None
    if processes.rank == 0:
        if checkpoint is None:
            _begin_anew(run)
        run.describe(recipe, split, init_from=origin)
    shown = split.validation[: recipe.validation.cases or None]
    return RunPlan(
        recipe=recipe,
        task=task,
        run=run,
        training=tuple(cases[case] for case in split.training),
        validation=tuple(cases[case] for case in shown),
        checkpoint=checkpoint,
        init_from=origin or None,
    )


def _begin_anew(run: RunFolder) -> None:
    """Without a checkpoint nothing that the run had is its own any more: no best weights, no costs, no metrics."""
    aside = run.set_aside()
    if aside is not None:
        logger.warning("%s has no checkpoint that can be read and begins anew; what it had is in %s", run.name, aside)


def _full_name(weights: str) -> str:
    """A file by its whole path, which holds in any folder; a name in the catalogue as it is."""
    return str(Path(weights).resolve()) if Path(weights).exists() else weights


def _check_resumption(recipe: Recipe, run: RunFolder, init_from: str) -> None:
    """Refuse settings under which the run's checkpoints can't be taken up; all others may change on the way.

    Of seed, split and batch size depends which case comes when, and what an epoch is.

    Raises:
        InputError: Such a setting differs from the run's.
    """
    before, begun_from = run.recipe(), run.init_from()
    plain = ("task", "variant", "network", "seed", "batch_size")
    changed = [
        f"{name} was {then!r}, now {now!r}"
        for name, then, now in (
            *((key, getattr(before, key), getattr(recipe, key)) for key in plain),
            ("geometry", _nameless(before.geometry), _nameless(recipe.geometry)),
            ("data.split", before.data.split, recipe.data.split),
            ("data.validation_fraction", before.data.validation_fraction, recipe.data.validation_fraction),
            ("data.label_map", before.data.label_map, recipe.data.label_map),
            # Without --init-from it is that of then; runs of a time when it wasn't kept say None.
            ("--init-from", begun_from, init_from if init_from and begun_from is not None else begun_from),
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
        if kept is None:
            _refuse_settings_of_other_data(data)
        else:
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


def _refuse_settings_of_other_data(data: DataSettings) -> None:
    """Refuse what a pool would pass over: it has a split and labels of its own."""
    plain = DataSettings()
    given = [
        f"data.{name}={getattr(data, name)!r}"
        for name in ("split", "validation_fraction", "label_map")
        if getattr(data, name) != getattr(plain, name)
    ]
    if given:
        raise InputError(
            f"The pool {data.path} has its own split and labels, found {', '.join(given)} in the recipe; leave it out."
        )


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
