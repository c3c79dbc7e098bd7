"""What a run costs: its time under training, its steps, its parameters and its largest memory, in ``costs.json``."""

from __future__ import annotations

import dataclasses
import json
import sys
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as lightning
import torch
from lightning.pytorch.callbacks import Callback

from ossnet_training.callbacks import Clock
from ossnet_training.run_folder import RunFolder, write_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """A run's costs so far.

    ``peak_bytes`` is of the training steps, not of validation: the largest resident memory of the process (with all
    of Python in it), or on a GPU what torch had allocated there.
    """

    parameters: int
    steps: int
    elapsed_s: float
    peak_bytes: int
    device: str


def read_costs(run: RunFolder) -> Costs | None:
    """The costs of a run; None where it has not come to its first validation yet."""
    if not run.costs.is_file():
        return None
    return Costs(**json.loads(run.costs.read_text(encoding="utf-8")))


class KeepCosts(Callback):
    """Writes a run's costs after each validation, and a run is always validated at its end.

    Args:
        run: Where to.
        clock: Tells the time under training.
    """

    def __init__(self, run: RunFolder, clock: Clock) -> None:
        self._run, self._clock = run, clock
        self._peak_bytes = 0
        self._has_validated = False

    def state_dict(self) -> dict[str, Any]:
        """Kept in checkpoints."""
        return {"peak_bytes": self._peak_bytes}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Taken up from checkpoints."""
        self._peak_bytes = state_dict["peak_bytes"]

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Take the peak before validation raises it: a process's peak never falls again."""
        self._take_peak(pl_module.device)
        self._has_validated = True

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Write what is known, and forget what validation took on a GPU."""
        if pl_module.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(pl_module.device)
        self._write(trainer, pl_module)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """The last steps count too."""
        self._take_peak(pl_module.device)

    def _take_peak(self, device: torch.device) -> None:
        if device.type == "cuda":
            self._peak_bytes = max(self._peak_bytes, torch.cuda.max_memory_allocated(device))
        elif not self._has_validated:
            self._peak_bytes = max(self._peak_bytes, resident_peak_bytes())

    def _write(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if not trainer.is_global_zero or trainer.sanity_checking:
            return
        costs = Costs(
            parameters=sum(parameter.numel() for parameter in pl_module.network.parameters()),
            steps=trainer.global_step,
            elapsed_s=self._clock.elapsed_s,
            peak_bytes=self._peak_bytes,
            device=str(pl_module.device),
        )
        write_text(self._run.costs, json.dumps(dataclasses.asdict(costs), indent=1) + "\n")


def resident_peak_bytes() -> int:
    """The largest resident memory that this process ever had; 0 where the system does not tell (Windows)."""
    if sys.platform == "win32":
        return 0
    import resource

    # Kilobytes on Linux, bytes on macOS (getrusage(2)).
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
