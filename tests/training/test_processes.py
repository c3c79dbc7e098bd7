"""Two processes on one machine end with the parameters of one; each rank knows its share."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from ossnet_training.cli import main
from ossnet_training.config import Recipe
from ossnet_training.processes import Processes, trainer_options
from ossnet_training.run_folder import find_run

from napari_ossnet.engine.checkpoints import load_checkpoint


def _train_with_two_processes(words: list[str], a_home: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"OSSNET_HOME": str(a_home), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    # gloo's start aborts once in a while on a busy machine: one retry, with the log of both.
    logs = []
    for _ in range(2):
        done = subprocess.run(
            [*command, "-m", "ossnet_training.cli", "fit", *words, "--resume", "auto"],
            env=environment,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=400,
            check=False,
        )
        if done.returncode == 0:
            return
        logs.append(done.stdout + done.stderr)
    pytest.fail("\n\n".join(logs))


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["x", "unet-3d"])
def test_two_processes_end_with_the_parameters_of_one(
    a_recipe: Path, a_data_set: Path, a_home: Path, variant: str
) -> None:
    if variant == "unet-3d":
        start, rest = a_recipe.read_text(encoding="utf-8").split("[network]")
        network = "encoder_channels = [8, 16]\ndecoder_channels = [8]\n"
        a_recipe.write_text(f"{start}[network]\n{network}\n[data]{rest.split('[data]')[1]}", encoding="utf-8")
    words = [str(a_recipe), "--data", str(a_data_set), f"variant={variant}", "dice=0.5", "clip_norm=1.0"]
    assert main(["fit", *words, "--name", "one"]) == 0
    _train_with_two_processes([*words, "--name", "two"], a_home)
    one, two = (load_checkpoint(find_run(name).last) for name in ("one", "two"))
    for name, tensor in one.network.state_dict().items():
        torch.testing.assert_close(two.network.state_dict()[name], tensor, rtol=0, atol=1e-5, msg=name)
    assert two.card.dice == pytest.approx(one.card.dice, abs=1e-3)
    assert find_run("one").split.read_text(encoding="utf-8") == find_run("two").split.read_text(encoding="utf-8")


def test_a_lone_process_is_a_lone_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOCAL_WORLD_SIZE", "WORLD_SIZE", "RANK", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    assert Processes.from_environment() == Processes()
    # A script under sbatch, without srun, runs once.
    for name, value in {"SLURM_NTASKS": "8", "SLURM_NNODES": "2", "SLURM_PROCID": "0"}.items():
        monkeypatch.setenv(name, value)
    assert Processes.from_environment() == Processes()
    options = trainer_options(Processes(), Recipe(task="brats", device="cpu"))
    assert Trainer(**options, logger=False, enable_checkpointing=False).world_size == 1


def test_torchrun_and_slurm_say_who_this_process_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"LOCAL_WORLD_SIZE": "8", "WORLD_SIZE": "16", "RANK": "9"}.items():
        monkeypatch.setenv(name, value)
    assert Processes.from_environment() == Processes(devices=8, nodes=2, rank=9)
    monkeypatch.delenv("LOCAL_WORLD_SIZE")
    for name, value in {"SLURM_STEP_NUM_TASKS": "12", "SLURM_STEP_NUM_NODES": "3", "SLURM_PROCID": "5"}.items():
        monkeypatch.setenv(name, value)
    assert Processes.from_environment() == Processes(devices=4, nodes=3, rank=5)


def test_a_batch_that_can_not_be_shared_is_refused(
    a_recipe: Path, a_data_set: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    for name, value in {"LOCAL_WORLD_SIZE": "3", "WORLD_SIZE": "3", "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    assert main(["fit", str(a_recipe), "--data", str(a_data_set)]) == 2
    assert "multiple of 3" in capsys.readouterr().err
