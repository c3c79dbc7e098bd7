"""One process or many: what torchrun and SLURM say about this process, as Lightning wants to hear it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy

from napari_ossnet.engine.errors import DeviceError, InputError
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


def refuse_missing_device(processes: Processes, device: str) -> None:
    """Let a recipe's device pass that is there, before anything is decoded for it.

    Raises:
        InputError: Several processes are to share one device.
        DeviceError: There is no such device here.
    """
    import torch

    kind, _, index = device.partition(":")
    if index and processes.count > 1:
        raise InputError(
            f"device={device} is one device, but there are {processes.count} processes; use device={kind}."
        )
    needed, there = (int(index) + 1 if index else processes.devices), torch.cuda.device_count()
    if kind == "cuda" and there < needed:
        raise DeviceError(f"device={device} needs {needed} CUDA devices here, found {there}; use device=cpu, or auto.")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("There is no Apple GPU here for device=mps; use device=cpu, or auto.")


def trainer_options(processes: Processes, recipe: Recipe) -> dict[str, Any]:
    """Device, processes and strategy for Lightning's trainer.

    Batch norms share their statistics over GPUs; gloo on CPUs has no such operation.
    """
    kind, _, index = recipe.device.partition(":")
    accelerator = "gpu" if kind == "cuda" else kind
    options: dict[str, Any] = {
        "accelerator": accelerator,
        "devices": [int(index)] if index else processes.devices,
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
