"""What happens around the steps of a run: rates by the clock, averaging, weights at each validation."""

from __future__ import annotations

import dataclasses
import logging
import sys
import time
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as lightning
from lightning.pytorch.callbacks import Callback

from napari_ossnet.engine.checkpoints import read_card, save_weights
from napari_ossnet.engine.model_card import ModelCard
from ossnet_training.config import Recipe
from ossnet_training.logs import draw_curves
from ossnet_training.module import TrainingModule
from ossnet_training.optimisers import Plateau, rate_factor, set_rates
from ossnet_training.run_folder import RunFolder

logger = logging.getLogger(__name__)


class Clock(Callback):
    """Counts the time under training over all resumptions, anneals the rates, stops when the minutes are over.

    It stands still while the weights are validated: else a variant that answers slowly would get less training.

    Args:
        recipe: The run's settings.
        steps_per_epoch: Of the training loader.
    """

    def __init__(self, recipe: Recipe, steps_per_epoch: int) -> None:
        self._recipe, self._steps = recipe, steps_per_epoch
        self._before_s = 0.0
        self._started_at: float | None = None
        self._plateau = Plateau(recipe.optimiser.patience)

    @property
    def elapsed_s(self) -> float:
        """Seconds under training, over all resumptions."""
        return self._before_s + (time.monotonic() - self._started_at if self._started_at is not None else 0.0)

    def state_dict(self) -> dict[str, Any]:
        """Kept in checkpoints."""
        return {"elapsed_s": self.elapsed_s, "plateau": self._plateau.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Taken up from checkpoints."""
        self._before_s = state_dict["elapsed_s"]
        if "plateau" in state_dict:
            self._plateau.load_state_dict(state_dict["plateau"])

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Start the clock."""
        self._started_at = time.monotonic()

    def on_train_batch_start(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Set the rates of this step; every rank takes rank 0's clock, which goes on after a validation."""
        if self._started_at is None:
            self._started_at = time.monotonic()
        epoch, step = trainer.global_step // self._steps, trainer.global_step
        progress = step / (self._steps * self._recipe.epochs)
        if self._recipe.minutes:
            progress = trainer.strategy.broadcast(self.elapsed_s) / (60 * self._recipe.minutes)
        drops = self._plateau.drops
        if self._recipe.optimiser.schedule == "plateau":
            drops = trainer.strategy.broadcast(drops)
        factor = rate_factor(self._recipe.optimiser, progress=progress, epoch=epoch, step=step, drops=drops)
        for optimiser in trainer.optimizers:
            set_rates(optimiser, factor)
        trainer.callback_metrics["rate_factor"] = factor

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Stop when the minutes are over."""
        if self._recipe.minutes and trainer.strategy.broadcast(self.elapsed_s) >= 60 * self._recipe.minutes:
            trainer.should_stop = True

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Stop the clock."""
        self._stop()

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Stop the clock until the next step."""
        self._stop()

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Tell rank 0's plateau, which is the one that knows the Dice, how good the weights are."""
        if trainer.is_global_zero and not trainer.sanity_checking:
            self._plateau.update(selection_score(validation_dice(trainer)), trainer.global_step / self._steps)

    def _stop(self) -> None:
        self._before_s, self._started_at = self.elapsed_s, None


class TimedValidation(Callback):
    """Validates after every so many minutes under training, counted over all resumptions.

    Lightning's own interval starts anew with every resumption, so that a run which is stopped more often than it
    validates is never judged; and each of its processes asks its own clock, so that some may validate and others not.

    Args:
        minutes: Between the end of a validation and the start of the next.
        clock: Tells the time under training.
    """

    def __init__(self, minutes: float, clock: Clock) -> None:
        self._interval_s, self._clock = 60 * minutes, clock
        self._validated_at_s = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Kept in checkpoints."""
        return {"validated_at_s": self._validated_at_s}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Taken up from checkpoints."""
        self._validated_at_s = state_dict["validated_at_s"]

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Nothing is due before a step was made."""
        trainer.val_check_batch = sys.maxsize

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Validate after this step where it is time; every rank takes rank 0's clock."""
        is_due = trainer.strategy.broadcast(self._clock.elapsed_s - self._validated_at_s >= self._interval_s)
        # Lightning validates after steps whose number this divides: every step's, or none's.
        trainer.val_check_batch = 1 if is_due else sys.maxsize

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Count from here on."""
        self._validated_at_s = self._clock.elapsed_s


class WeightAverage(Callback):
    """Moves the running average of weights after every step."""

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: TrainingModule, *_: Any) -> None:
        """One step of the average."""
        pl_module.update_average()


class KeepWeights(Callback):
    """Writes the last and the best weights, and the curves, after each validation.

    Args:
        run: Where to.
        card: What the weights' card says, but for Dice and how long they trained.
        clock: Tells the time under training.
    """

    def __init__(self, run: RunFolder, card: ModelCard, clock: Clock) -> None:
        self._run, self._card, self._clock = run, card, clock
        # The file itself knows how good it is, also after a run was killed between weights and checkpoint.
        self.best_dice = selection_score(read_card(run.best).dice or {}) if run.best.is_file() else -1.0

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: TrainingModule) -> None:
        """Write weights on rank 0."""
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        scores = validation_dice(trainer)
        card = self._describe(scores, trainer.global_step)
        save_weights(self._run.last, pl_module.judged, card)
        if selection_score(scores) > self.best_dice:
            self.best_dice = selection_score(scores)
            save_weights(self._run.best, pl_module.judged, card)
        shown = ", ".join(f"{key} {value:.4f}" for key, value in scores.items())
        logger.info("step %d, %.1f min: Dice %s", trainer.global_step, self._clock.elapsed_s / 60, shown)
        for log in trainer.loggers:
            log.save()
        draw_curves(self._run)

    def _describe(self, scores: dict[str, float], step: int) -> ModelCard:
        notes = f"{step} steps in {self._clock.elapsed_s / 60:.0f} minutes; run {self._run.name}"
        return dataclasses.replace(self._card, dice=scores, notes="; ".join(filter(None, (notes, self._card.notes))))


def validation_dice(trainer: lightning.Trainer) -> dict[str, float]:
    """The mean Dice of the whole foreground and each class at the validation just made; known to rank 0."""
    metrics = trainer.callback_metrics
    return {key.removeprefix("dice_"): float(metrics[key]) for key in metrics if key.startswith("dice_")}


def selection_score(dice: Mapping[str, float]) -> float:
    """What picks the best weights: the mean Dice of the classes, of the whole foreground where it is the only one."""
    classes = [value for name, value in dice.items() if name != "whole"] or list(dice.values())
    return sum(classes) / len(classes) if classes else -1.0
