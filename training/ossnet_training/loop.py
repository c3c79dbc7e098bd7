"""A training run from plan to weights: build everything, fit, leave a folder that explains itself."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn

from napari_ossnet.engine.errors import WeightsError
from napari_ossnet.engine.networks.variants import build_network_from_config
from ossnet_training.callbacks import Clock, KeepWeights, TimedValidation, WeightAverage
from ossnet_training.checkpointing import TimedCheckpoint
from ossnet_training.costs import KeepCosts
from ossnet_training.data import CaseDataset, ResumableBatches, build_loader
from ossnet_training.geometry import network_config
from ossnet_training.logs import MetricsLog
from ossnet_training.model_cards import build_card
from ossnet_training.module import TrainingModule
from ossnet_training.planning import RunPlan, window_rule
from ossnet_training.processes import Processes, trainer_options
from ossnet_training.run_folder import RunFolder

logger = logging.getLogger(__name__)


def build_training_network(plan: RunPlan) -> nn.Module:
    """The recipe's network, with fresh weights seeded by the recipe or with those of ``init_from``.

    A checkpoint brings its own, so that those of ``init_from`` need not be there any more.

    Raises:
        WeightsError: The weights are for another variant or geometry.
    """
    recipe = plan.recipe
    torch.manual_seed(recipe.seed)
    network = build_network_from_config(recipe.variant, network_config(recipe, plan.task))
    if plan.init_from and plan.checkpoint is None:
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
    # Lightning sets the level of its own remarks when it is imported.
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    recipe = plan.recipe
    module = TrainingModule(recipe, build_training_network(plan), plan.task)
    trainer = _build_trainer(plan, has_bar)
    processes = Processes.from_environment()
    batches = ResumableBatches(
        len(plan.training),
        recipe.batch_size,
        recipe.seed,
        lambda: int(trainer.global_step),
        processes.rank,
        processes.count,
    )
    find_window = window_rule(module.network, plan.task)
    training = build_loader(CaseDataset(plan.training, find_window), batches, recipe.data.workers)
    validation = build_loader(CaseDataset(plan.validation, find_window), _share(len(plan.validation), processes), 0)
    started_at = time.monotonic()
    try:
        with _without_noise():
            trainer.fit(module, training, validation, ckpt_path=plan.checkpoint, weights_only=False)
            if module.judged_step != trainer.global_step:
                trainer.validate(module, validation, verbose=False)
    except SystemExit as error:
        # Lightning turns Ctrl-C into an exit of its own.
        raise KeyboardInterrupt from error
    logger.info("stopped at step %d after %.1f min", trainer.global_step, (time.monotonic() - started_at) / 60)


def _share(cases: int, processes: Processes) -> list[list[tuple[int, int]]]:
    """The validation cases of this process, one a batch; empty batches make all processes take equally many."""
    count = -(-cases // processes.count)
    own = [[(0, number)] for number in range(processes.rank, cases, processes.count)]
    return own + [[]] * (count - len(own))


@contextmanager
def _without_noise() -> Iterator[None]:
    """Keep back warnings of Lightning's that are of no use to whoever trains."""
    with warnings.catch_warnings():
        for message in (
            # Batches are a function of the steps done (see data.py), so that they do resume.
            ".*your dataloader is not resumable.*",
            # Reading a memory-mapped case costs less than a worker would.
            ".*does not have many workers.*",
            # Short epochs are fine; the metrics are of the steps.
            ".*number of training batches.*",
            # A rank may have an empty batch (see _share), which has no size and logs nothing.
            ".*Trying to infer the `batch_size`.*",
            # Of Lightning's about torch itself (2.6 with torch 2.13).
            ".*LeafSpec.*",
            ".*exists and is not empty.*",
        ):
            warnings.filterwarnings("ignore", message=message)
        yield


def _build_trainer(plan: RunPlan, has_bar: bool) -> lightning.Trainer:
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
        KeepCosts(run, clock),
        TimedCheckpoint(run.checkpoints, recipe.checkpoint_seconds),
    ]
    if recipe.validation.every_minutes:
        callbacks.insert(1, TimedValidation(recipe.validation.every_minutes, clock))
    if has_bar:
        from lightning.pytorch.callbacks import RichProgressBar

        callbacks.append(RichProgressBar())
    return lightning.Trainer(
        **trainer_options(Processes.from_environment(), recipe),
        precision=recipe.precision,
        max_epochs=-1 if recipe.minutes else recipe.epochs,
        callbacks=callbacks,
        logger=_build_loggers(run, resumed),
        log_every_n_steps=10,
        gradient_clip_val=recipe.optimiser.clip_norm or None,
        check_val_every_n_epoch=1 if recipe.validation.every_minutes else recipe.validation.every_epochs,
        num_sanity_val_steps=0,
        enable_progress_bar=has_bar,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=run.path,
    )


def _build_loggers(run: RunFolder, resumed_step: int) -> list[Any]:
    from lightning.pytorch.loggers import TensorBoardLogger

    return [MetricsLog(run, resumed_step), TensorBoardLogger(run.path, name="", version="tensorboard")]
