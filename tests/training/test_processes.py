"""Two processes on one machine end with the parameters of one; each rank knows its share."""

from __future__ import annotations

import copy
import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.plugins.layer_sync import TorchSyncBatchNorm
from ossnet_training.answering import field_of
from ossnet_training.cli import main
from ossnet_training.config import Recipe
from ossnet_training.processes import Processes, refuse_missing_device, trainer_options
from ossnet_training.run_folder import find_run
from torch import nn

from napari_ossnet.engine.checkpoints import load_checkpoint
from napari_ossnet.engine.errors import DeviceError, InputError
from napari_ossnet.engine.networks.decoder import ConditionalBatchNorm
from napari_ossnet.engine.networks.variants import build_network_from_config, config_for_task
from napari_ossnet.engine.tasks import get_task

#: What a process of two makes of its share of a batch: one volume, and two.
SHARE = """
import sys
import torch
from torch import distributed, nn
from napari_ossnet.engine.networks.decoder import ConditionalBatchNorm

distributed.init_process_group("gloo")
rank = distributed.get_rank()
x, latent, weight, state = torch.load(sys.argv[1])
norm = ConditionalBatchNorm(3, 4)
norm.load_state_dict(state)
norm = nn.SyncBatchNorm.convert_sync_batchnorm(norm)
share = slice(0, 1) if rank == 0 else slice(1, 3)
own = x[share].clone().requires_grad_()
answer = norm(own, latent[share])
(answer * weight[share]).sum().backward()
gradients = [parameter.grad for parameter in norm.parameters()]
torch.save((answer.detach(), own.grad, gradients, norm.state_dict()), f"{sys.argv[1]}.{rank}")
distributed.destroy_process_group()
"""


def _run_two_processes(words: list[str], a_home: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"OSSNET_HOME": str(a_home), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    # gloo's start aborts once in a while on a busy machine: one retry, with the log of both.
    logs = []
    for _ in range(2):
        done = subprocess.run(
            [*command, *words],
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
    _run_two_processes(["-m", "ossnet_training.cli", "fit", *words, "--name", "two", "--resume", "auto"], a_home)
    one, two = (load_checkpoint(find_run(name).last) for name in ("one", "two"))
    for name, tensor in one.network.state_dict().items():
        torch.testing.assert_close(two.network.state_dict()[name], tensor, rtol=0, atol=1e-5, msg=name)
    assert two.card.dice == pytest.approx(one.card.dice, abs=1e-3)
    assert find_run("one").split.read_text(encoding="utf-8") == find_run("two").split.read_text(encoding="utf-8")


@pytest.mark.slow
def test_statistics_of_two_processes_are_those_of_one(tmp_path: Path, a_home: Path) -> None:
    torch.manual_seed(0)
    norm = ConditionalBatchNorm(3, 4)
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    state = copy.deepcopy(norm.state_dict())
    # Far from zero, where squares cancel.
    x, latent, weight = 300 + torch.randn(3, 5, 4), torch.randn(3, 3), torch.randn(3, 5, 4)
    script, given = tmp_path / "share.py", tmp_path / "given.pt"
    script.write_text(SHARE, encoding="utf-8")
    torch.save((x, latent, weight, state), given)
    _run_two_processes([str(script), str(given)], a_home)
    answers, gradients_x, gradients, states = zip(*(torch.load(f"{given}.{rank}") for rank in range(2)), strict=True)
    whole = x.clone().requires_grad_()
    answer = norm(whole, latent)
    (answer * weight).sum().backward()
    torch.testing.assert_close(torch.cat(answers), answer.detach(), rtol=0, atol=1e-3)
    torch.testing.assert_close(torch.cat(gradients_x), whole.grad, rtol=0, atol=1e-3)
    for parts, parameter in zip(zip(*gradients, strict=True), norm.parameters(), strict=True):
        torch.testing.assert_close(sum(parts), parameter.grad, rtol=0, atol=1e-3)
    for found in states:
        torch.testing.assert_close(found, norm.state_dict(), rtol=1e-4, atol=1e-4)


def test_a_network_can_be_judged_while_its_norms_are_synchronised_and_after() -> None:
    torch.manual_seed(0)
    task = dataclasses.replace(get_task("hippocampus"), grid_shape=(16, 16, 16), latent_grid=(2, 2, 2))
    settings = {"encoder_channels": [4, 8], "decoder_features": 16, "decoder_blocks": 2}
    network = build_network_from_config("c", config_for_task("c", task) | settings).eval()
    for name, buffer in network.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.uniform_(0.5, 1.5)
    grid, locations = torch.randn(1, 16, 16, 16).numpy(), torch.rand(50, 3) * 15
    device, layers = torch.device("cpu"), TorchSyncBatchNorm()
    expected = field_of(network, task, grid, device).query(locations)
    during = layers.apply(network)
    assert any(isinstance(module, nn.SyncBatchNorm) for module in during.modules())
    torch.testing.assert_close(field_of(during, task, grid, device).query(locations), expected)
    torch.testing.assert_close(field_of(layers.revert(during).eval(), task, grid, device).query(locations), expected)


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


def test_a_device_that_is_not_there_is_refused_before_anything_is_decoded(
    a_recipe: Path, a_data_set: Path, a_home: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    refuse_missing_device(Processes(), "cuda:0")
    for processes, device in ((Processes(), "cuda:1"), (Processes(devices=2), "cuda")):
        with pytest.raises(DeviceError, match=f"device={device} needs 2 CUDA devices here, found 1"):
            refuse_missing_device(processes, device)
    with pytest.raises(InputError, match="2 processes; use device=cuda"):
        refuse_missing_device(Processes(devices=2), "cuda:0")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert main(["fit", str(a_recipe), "--data", str(a_data_set), "device=cuda"]) == 1
    assert "found 0; use device=cpu" in capsys.readouterr().err
    assert not (a_home / "cache").exists()


def test_a_single_device_is_named_by_its_number() -> None:
    assert trainer_options(Processes(), Recipe(task="brats", device="cuda:1"))["devices"] == [1]
    assert trainer_options(Processes(devices=2), Recipe(task="brats", device="cuda"))["devices"] == 2


def test_a_batch_that_can_not_be_shared_is_refused(
    a_recipe: Path, a_data_set: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    for name, value in {"LOCAL_WORLD_SIZE": "3", "WORLD_SIZE": "3", "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    assert main(["fit", str(a_recipe), "--data", str(a_data_set)]) == 2
    assert "multiple of 3" in capsys.readouterr().err
