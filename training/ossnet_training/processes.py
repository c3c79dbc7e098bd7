"""One process or many: what torchrun and SLURM say about this process, as Lightning wants to hear it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy

from ossnet_training.config import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Processes:
    """How many processes train together: ``devices`` on each of ``nodes`` machines; ``rank`` is this one's number."""

    devices: int = 1
    nodes: int = 1
    rank: int = 0

    @property
    def count(self) -> int:
        """All processes."""
        return self.devices * self.nodes

    @classmethod
    def from_environment(cls) -> Processes:
        """As torchrun (https://docs.pytorch.org/docs/stable/elastic/run.html) or ``srun`` started them; else one."""
        environment = os.environ
        if "LOCAL_WORLD_SIZE" in environment:
            devices = int(environment["LOCAL_WORLD_SIZE"])
            return cls(devices=devices, nodes=int(environment["WORLD_SIZE"]) // devices, rank=int(environment["RANK"]))
        # Only a job step has these; a script under sbatch runs once, whatever SLURM_NTASKS says
        # (https://slurm.schedmd.com/srun.html, output environment variables).
        if "SLURM_PROCID" in environment and int(environment.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
            nodes = int(environment.get("SLURM_STEP_NUM_NODES", "1"))
            return cls(
                devices=int(environment["SLURM_STEP_NUM_TASKS"]) // nodes,
                nodes=nodes,
                rank=int(environment["SLURM_PROCID"]),
            )
        return cls()


def trainer_options(processes: Processes, recipe: Recipe) -> dict[str, Any]:
    """Device, processes and strategy for Lightning's trainer.

    Batch norms share their statistics over GPUs; gloo on CPUs has no such operation.
    """
    accelerator = {"auto": "auto", "cpu": "cpu", "cuda": "gpu", "mps": "mps"}[recipe.device]
    options: dict[str, Any] = {
        "accelerator": accelerator,
        "devices": processes.devices,
        "num_nodes": processes.nodes,
    }
    if processes.count > 1:
        # Without its loss, nothing reaches the auxiliary segmentation's weights, nor PFSeg's other parts.
        has_unused = recipe.loss.auxiliary == 0 or recipe.variant == "pfseg"
        options["strategy"] = DDPStrategy(find_unused_parameters=has_unused)
        options["sync_batchnorm"] = _is_gpu(accelerator)
    elif int(os.environ.get("SLURM_NTASKS", "1")) > 1:
        # Alone in an allocation for several tasks, where Lightning would expect to be one of them.
        options["plugins"] = [LightningEnvironment()]
    return options


def _is_gpu(accelerator: str) -> bool:
    import torch

    return accelerator == "gpu" or (accelerator == "auto" and torch.cuda.is_available())
