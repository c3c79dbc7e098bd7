"""The training step's own rules, without a run: what a lack of memory changes and what it leaves."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import torch
from ossnet_training.config import Recipe, SamplingSettings
from ossnet_training.module import TrainingModule
from torch import nn

from napari_ossnet.engine.tasks import get_task

RECIPE = Recipe(task="hippocampus", precision="16-mixed", sampling=SamplingSettings(locations=1024))


class GreedyLoss:
    def backward(self) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")


def _module(recipe: Recipe = RECIPE) -> TrainingModule:
    network = nn.Linear(2, 3)
    network.config = SimpleNamespace()
    return TrainingModule(recipe, network, get_task("hippocampus"))


def test_too_little_memory_for_the_gradients_lets_half_precisions_scaler_pass_over_the_step() -> None:
    module = _module()
    optimiser = torch.optim.AdamW(module.network.parameters(), lr=0.1, weight_decay=0.1)
    scaler = torch.amp.GradScaler("cpu")

    def step(loss: torch.Tensor | GreedyLoss) -> None:
        optimiser.zero_grad()
        module.backward(scaler.scale(loss) if isinstance(loss, torch.Tensor) else loss)
        scaler.unscale_(optimiser)
        scaler.step(optimiser)
        scaler.update()

    before = module.network.weight.detach().clone()
    step(module.network(torch.ones(1, 2)).sum())
    first = module.network.weight.detach().clone()
    assert not torch.equal(first, before)
    # Not even momentum moves the weights.
    step(GreedyLoss())
    assert torch.equal(module.network.weight, first)
    assert module.locations == 512
    step(module.network(torch.ones(1, 2)).sum())
    assert not torch.equal(module.network.weight, first)


def test_a_number_of_locations_that_memory_halved_is_kept_where_the_recipe_still_asks_for_the_same() -> None:
    halved, checkpoint = _module(), {}
    halved.locations = 256
    halved.on_save_checkpoint(checkpoint)
    same, other, older = _module(), _module(_asking_for(2048)), _module()
    same.on_load_checkpoint(checkpoint)
    other.on_load_checkpoint(checkpoint)
    older.on_load_checkpoint({"locations": 256})
    assert (same.locations, other.locations, older.locations) == (256, 2048, 1024)


def _asking_for(locations: int) -> Recipe:
    return dataclasses.replace(RECIPE, sampling=SamplingSettings(locations=locations))
