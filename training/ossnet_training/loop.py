"""A training run from recipe to weights: check everything, build everything, fit, leave a folder that explains itself."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn

from napari_ossnet.engine.encoding_window import encoding_window
from napari_ossnet.engine.errors import InputError, WeightsError
from napari_ossnet.engine.networks.variants import build_network_from_config, config_for_task
from napari_ossnet.engine.tasks import Task, get_task
from ossnet_training.cache import cache_cases
from ossnet_training.callbacks import Clock, KeepWeights, WeightAverage
from ossnet_training.cases import find_cases
from ossnet_training.checkpointing import TimedCheckpoint, newest_readable
from ossnet_training.config import Recipe
from ossnet_training.data import CaseDataset, ReadableCase, ResumableBatches, Window, build_loader
from ossnet_training.logs import MetricsLog, draw_curves
from ossnet_training.module import TrainingModule
from ossnet_training.pool_cases import find_pool_cases
from ossnet_training.run_folder import RunFolder, runs_home
from ossnet_training.splits import Split, make_split
from ossnet_training.synthesis.pool import MANIFEST

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
    if run.config.exists() and not resume:
        raise InputError(
            f"The run {run.name} is there already ({run.path}); go on with --resume auto, or choose --name."
        )
    cases, split = gather_cases(recipe, task)
    run.describe(recipe, split, str(Path(recipe.data.path).expanduser().resolve()))
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


def task_of(recipe: Recipe) -> Task:
    """The recipe's task with its geometry laid over.

    Raises:
        InputError: There is no such task or no such part of its geometry.
    """
    task = get_task(recipe.task)
    known = {"grid_shape", "spacing_mm", "scan_shape", "latent_grid", "axes", "placement"}
    unknown = sorted(set(recipe.geometry) - known)
    if unknown:
        raise InputError(f"geometry has no setting {', '.join(unknown)}; it has {', '.join(sorted(known))}.")
    changes: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in recipe.geometry.items()}
    return dataclasses.replace(task, **changes)


def gather_cases(recipe: Recipe, task: Task) -> tuple[dict[str, ReadableCase], Split]:
    """Every case of the data set's split by name, ready to be read, and the split.

    Raises:
        InputError: There is no data set, the split doesn't fit it, or a case can't be used.
    """
    from napari_ossnet.engine.catalogue import ossnet_home

    data = recipe.data
    path = Path(data.path).expanduser()
    if data.layout == "pool" or (data.layout == "auto" and (path / MANIFEST).is_file()):
        pool, split = find_pool_cases(path, task)
        return {case.name: case for case in pool}, split
    cases = find_cases(data.path, data.layout)
    split = make_split([case.name for case in cases], data.split, fraction=data.validation_fraction, seed=recipe.seed)
    wanted = {*split.training, *split.validation}
    chosen = [case for case in cases if case.name in wanted]
    return {case.name: case for case in cache_cases(chosen, task, data.label_map, ossnet_home() / "cache")}, split


def build_training_network(plan: RunPlan) -> nn.Module:
    """The recipe's network, with fresh weights seeded by the recipe or with those of ``init_from``.

    Raises:
        WeightsError: The weights are for another variant or geometry.
    """
    recipe = plan.recipe
    config = config_for_task(recipe.variant, plan.task) | dict(recipe.network)
    torch.manual_seed(recipe.seed)
    network = build_network_from_config(recipe.variant, config)
    if plan.init_from:
        _load_weights(network, plan.init_from, plan)
    return network


def _load_weights(network: nn.Module, source: str, plan: RunPlan) -> None:
    from napari_ossnet.engine.catalogue import find_weights
    from napari_ossnet.engine.checkpoints import load_checkpoint

    path = Path(source) if Path(source).exists() else find_weights(plan.recipe.task, weights=source)
    loaded = load_checkpoint(path)
    if loaded.card.variant != plan.recipe.variant:
        raise WeightsError(
            f"The weights {source} are of variant {loaded.card.variant}, the recipe's is {plan.recipe.variant}; "
            f"use variant={loaded.card.variant}, or start without --init-from."
        )
    theirs = {key: tuple(value.shape) for key, value in loaded.network.state_dict().items()}
    ours = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    if theirs != ours:
        other = next(key for key in sorted({*theirs, *ours}) if theirs.get(key) != ours.get(key))
        raise WeightsError(
            f"The weights {source} don't fit the recipe's network: {other} is {theirs.get(other)} there and "
            f"{ours.get(other)} here; use the geometry and network settings that they were trained with."
        )
    network.load_state_dict(loaded.network.state_dict())


def fit(plan: RunPlan, *, has_bar: bool) -> None:
    """Train until the recipe's end, then leave the last and best weights and the curves.

    Args:
        plan: From `plan_run`.
        has_bar: Show a progress bar.
    """
    recipe = plan.recipe
    module = TrainingModule(recipe, build_training_network(plan), plan.task)
    trainer, steps = _build_trainer(plan, has_bar)
    ranks, rank = trainer.world_size, trainer.global_rank
    if recipe.batch_size % ranks:
        raise InputError(
            f"batch_size {recipe.batch_size} can't be shared by {ranks} processes; use a multiple of {ranks}."
        )
    batches = ResumableBatches(
        len(plan.training), recipe.batch_size, recipe.seed, lambda: int(trainer.global_step), rank, ranks
    )
    find_window = window_rule(module.network, plan.task)
    training = build_loader(CaseDataset(plan.training, find_window), batches, recipe.data.workers)
    validation = build_loader(CaseDataset(plan.validation, find_window), _ranks_share(plan, rank, ranks), 0)
    started_at = time.monotonic()
    trainer.fit(module, training, validation, ckpt_path=plan.checkpoint, weights_only=False)
    logger.info("stopped at step %d after %.1f min", trainer.global_step, (time.monotonic() - started_at) / 60)
    if trainer.is_global_zero:
        for log in trainer.loggers:
            log.save()
        draw_curves(plan.run)


def window_rule(network: nn.Module, task: Task) -> Callable[[np.ndarray], Window] | None:
    """How to find the part of a prepared grid that the network's encoder sees; None where it sees all of it."""
    if not getattr(network.config, "encodes_foreground", False):
        return None
    start = task.box_start
    stop = tuple(a + n for a, n in zip(start, task.box_shape, strict=True))
    return partial(encoding_window, box_start=start, box_stop=stop, multiple=network.encoder.factor)


def _ranks_share(plan: RunPlan, rank: int, ranks: int) -> Any:
    return [[(0, number)] for number in range(rank, len(plan.validation), ranks)]


def _build_trainer(plan: RunPlan, has_bar: bool) -> tuple[lightning.Trainer, int]:
    recipe, run = plan.recipe, plan.run
    steps = max(1, -(-len(plan.training) // recipe.batch_size))
    resumed = (
        int(torch.load(plan.checkpoint, map_location="cpu", weights_only=False)["global_step"])
        if plan.checkpoint
        else 0
    )
    clock = Clock(recipe, steps)
    callbacks: list[Callback] = [
        clock,
        WeightAverage(),
        KeepWeights(run, build_card(plan), clock),
        TimedCheckpoint(run.checkpoints, recipe.checkpoint_seconds),
    ]
    if has_bar:
        from lightning.pytorch.callbacks import RichProgressBar

        callbacks.append(RichProgressBar())
    by_minutes = recipe.validation.every_minutes
    trainer = lightning.Trainer(
        accelerator={"auto": "auto", "cpu": "cpu", "cuda": "gpu", "mps": "mps"}[recipe.device],
        devices=1,
        precision=recipe.precision,
        max_epochs=-1 if recipe.minutes else recipe.epochs,
        callbacks=callbacks,
        logger=_build_loggers(run, resumed),
        log_every_n_steps=10,
        gradient_clip_val=recipe.optimiser.clip_norm or None,
        check_val_every_n_epoch=1 if by_minutes else recipe.validation.every_epochs,
        val_check_interval=timedelta(minutes=by_minutes) if by_minutes else None,
        num_sanity_val_steps=0,
        enable_progress_bar=has_bar,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=run.path,
    )
    return trainer, steps


def _build_loggers(run: RunFolder, resumed_step: int) -> list[Any]:
    from lightning.pytorch.loggers import TensorBoardLogger

    return [MetricsLog(run, resumed_step), TensorBoardLogger(run.path, name="", version="tensorboard")]


def build_card(plan: RunPlan) -> Any:
    """The model card of the run's weights, Dice and notes still to come."""
    from napari_ossnet.engine.model_card import ModelCard

    recipe = plan.recipe
    config = config_for_task(recipe.variant, plan.task) | dict(recipe.network)
    return ModelCard(
        name=plan.run.name,
        title=f"{recipe.title or plan.task.title}, {recipe.variant}",
        task=plan.task,
        variant=recipe.variant,
        network_config=config,
        training_data=recipe.training_data or f"{len(plan.training)} cases of {recipe.data.path}",
        licence=recipe.licence,
        citation=recipe.citation,
        dice=None,
        created=time.strftime("%Y-%m-%d"),
        notes="",
    )
