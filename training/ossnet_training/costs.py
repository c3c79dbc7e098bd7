"""What a run costs: its time under training, its steps, its parameters and its largest memory, in ``costs.json``."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import torch
from lightning.pytorch.callbacks import Callback

from napari_ossnet.engine.device import release_memory
from napari_ossnet.engine.host_memory import host_peak_bytes
from ossnet_training.callbacks import Clock
from ossnet_training.run_folder import RunFolder, write_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """A run's costs so far.

    ``peak_bytes`` is of the training steps, not of validation: the largest resident memory of the process (with all
    of Python in it), or on a GPU what torch had allocated there. Where the system can't count a process's peak anew, as
    only Linux can, decoding the data before the first step is in it.
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
        #: Whether the process's peak is of the training steps since the last reset.
        self._is_peak_ours = True

    def state_dict(self) -> dict[str, Any]:
        """Kept in checkpoints."""
        return {"peak_bytes": self._peak_bytes}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Taken up from checkpoints."""
        self._peak_bytes = state_dict["peak_bytes"]

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Forget what decoding the data took, and give it back: freed memory that is kept counts as resident."""
        release_memory()
        reset_resident_peak()

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Take the peak before validation raises it."""
        self._take_peak(pl_module.device)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Write what is known, and forget what validation took."""
        if pl_module.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(pl_module.device)
        else:
            self._is_peak_ours = reset_resident_peak()
        self._write(trainer, pl_module)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """The last steps count too."""
        self._take_peak(pl_module.device)

    def _take_peak(self, device: torch.device) -> None:
        if device.type == "cuda":
            self._peak_bytes = max(self._peak_bytes, torch.cuda.max_memory_allocated(device))
        elif self._is_peak_ours:
            self._peak_bytes = max(self._peak_bytes, host_peak_bytes())

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


def reset_resident_peak() -> bool:
    """Count the process's largest resident memory from now on; False where the system can't: only Linux can."""
    try:
        # 5 sets the peak to what is resident now (proc_pid_clear_refs(5)).
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True
