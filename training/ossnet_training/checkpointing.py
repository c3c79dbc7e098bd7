"""Checkpoints that survive being killed: whole files only, the newest few, the newest readable one is taken up."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import torch
from lightning.pytorch.callbacks import Checkpoint

from napari_ossnet.engine.files.atomic import atomic_path

logger = logging.getLogger(__name__)

#: Checkpoints kept: the newest, and the one before in case the newest can't be read.
_KEPT = 2


class TimedCheckpoint(Checkpoint):
    """Saves everything needed to go on, every so many seconds and at the end.

    Args:
        folder: Where the files go, ``step_00001234.ckpt``.
        seconds: Between two of them.
    """

    def __init__(self, folder: Path, seconds: float) -> None:
        super().__init__()
        self.folder, self.seconds = folder, seconds
        self._saved_at = time.monotonic()

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """The clock starts when the first step does."""
        self._saved_at = time.monotonic()

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Save when it is time; rank 0 decides for all, since saving is a collective act."""
        is_due = time.monotonic() - self._saved_at >= self.seconds
        if trainer.strategy.broadcast(is_due):
            self.save(trainer)

    def on_train_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Save where the run stopped, with what a validation after its last step has told."""
        self.save(trainer)

    def save(self, trainer: lightning.Trainer) -> None:
        """Write a checkpoint of this step, and drop the oldest."""
        target = self.folder / f"step_{trainer.global_step:08d}.ckpt"
        if trainer.is_global_zero:
            with atomic_path(target) as temporary:
                trainer.save_checkpoint(temporary)
            for old in saved_checkpoints(self.folder)[_KEPT:]:
                old.unlink(missing_ok=True)
        else:
            trainer.save_checkpoint(target)
        self._saved_at = time.monotonic()


def saved_checkpoints(folder: Path) -> list[Path]:
    """Checkpoints of a run, newest first."""
    return sorted(folder.glob("step_*.ckpt"), reverse=True)


def newest_readable(folder: Path) -> Path | None:
    """The newest checkpoint that can be read, or None; a damaged one is passed over with a warning."""
    for path in saved_checkpoints(folder):
        try:
            checkpoint = torch.load(path, map_location="cpu", weights_only=False, mmap=True)
            if "state_dict" in checkpoint and "global_step" in checkpoint:
                return path
            reason = "it holds no training state"
        except Exception as error:  # whatever a damaged file makes torch raise
            reason = f"{type(error).__name__}: {error}"
        logger.warning("checkpoint %s can't be read (%s); going back to the one before", path.name, reason)
    return None
