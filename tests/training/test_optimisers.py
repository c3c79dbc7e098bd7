"""Lookahead against its algorithm written out; groups and rates."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ossnet_training.config import OptimiserSettings
from ossnet_training.optimisers import Lookahead, Plateau, build_optimiser, rate_factor, restate_rates, set_rates
from torch import nn

from napari_ossnet.engine.networks.pade import PadeActivation


def _descend(optimiser: torch.optim.Optimizer, weight: torch.Tensor, steps: int) -> None:
    for _ in range(steps):
        optimiser.zero_grad()
        (weight**2 * torch.tensor([1.0, 3.0])).sum().backward()
        optimiser.step()


def test_lookahead_follows_algorithm_1() -> None:
    weight = nn.Parameter(torch.tensor([1.0, -2.0]))
    _descend(Lookahead(torch.optim.SGD([weight], lr=0.05), steps=3, alpha=0.8), weight, 7)
    slow = fast = torch.tensor([1.0, -2.0])
    for step in range(1, 8):
        fast = fast - 0.05 * 2 * fast * torch.tensor([1.0, 3.0])
        if step % 3 == 0:
            slow = slow + 0.8 * (fast - slow)
            fast = slow
    torch.testing.assert_close(weight.detach(), fast)


def test_lookahead_goes_on_from_its_state() -> None:
    first, second = (nn.Parameter(torch.tensor([1.0, -2.0])) for _ in range(2))
    whole, start = (Lookahead(torch.optim.RAdam([w], lr=0.05), steps=3, alpha=0.5) for w in (first, second))
    _descend(whole, first, 11)
    _descend(start, second, 4)
    rest = Lookahead(torch.optim.RAdam([second], lr=0.05), steps=3, alpha=0.5)
    rest.load_state_dict(start.state_dict())
    _descend(rest, second, 7)
    assert torch.equal(first, second)


def test_pade_coefficients_have_their_own_rate_and_no_decay() -> None:
    network = nn.Sequential(nn.Linear(2, 3), PadeActivation(), nn.Linear(3, 1))
    optimiser = build_optimiser(
        network, OptimiserSettings(learning_rate=3e-4, pade_learning_rate=1e-2, weight_decay=0.1)
    )
    weights, coefficients = optimiser.param_groups
    assert (weights["lr"], weights["weight_decay"], len(weights["params"])) == (3e-4, 0.1, 4)
    assert (coefficients["lr"], coefficients["weight_decay"]) == (1e-2, 0.0)
    assert {id(p) for p in coefficients["params"]} == {id(p) for p in network[1].parameters()}
    set_rates(optimiser, 0.1)
    assert [group["lr"] for group in optimiser.param_groups] == pytest.approx([3e-5, 1e-3])


@pytest.mark.parametrize("lookahead_steps", [0, 5])
def test_the_recipes_rates_hold_after_a_checkpoint_has_brought_back_others(lookahead_steps: int) -> None:
    network = nn.Sequential(nn.Linear(2, 3), PadeActivation(), nn.Linear(3, 1))
    before = OptimiserSettings(learning_rate=1e-2, weight_decay=0.1, lookahead_steps=lookahead_steps)
    now = OptimiserSettings(learning_rate=1e-4, pade_learning_rate=1e-3, lookahead_steps=lookahead_steps)
    state = build_optimiser(network, before).state_dict()
    resumed = build_optimiser(network, now)
    resumed.load_state_dict(state)
    restate_rates(resumed, now)
    set_rates(resumed, 0.1)
    weights, coefficients = resumed.param_groups
    assert (weights["lr"], weights["weight_decay"]) == (pytest.approx(1e-5), 0.0)
    assert (coefficients["lr"], coefficients["weight_decay"]) == (pytest.approx(1e-4), 0.0)


def test_rates_fall_at_the_milestones_or_with_the_clock() -> None:
    stepped = OptimiserSettings(schedule="milestones", milestones=(20, 30))
    factors = [rate_factor(stepped, progress=0.5, epoch=epoch, step=0) for epoch in (19, 20, 30)]
    assert factors == pytest.approx([1.0, 0.1, 0.01])
    smooth = OptimiserSettings(schedule="cosine", warmup_steps=10)
    assert rate_factor(smooth, progress=0.0, epoch=0, step=4) == pytest.approx(0.5)
    falling = [rate_factor(smooth, progress=p, epoch=0, step=99) for p in (0.0, 0.3, 0.6, 1.0, 1.5)]
    assert falling == sorted(falling, reverse=True)
    assert falling[-1] == pytest.approx(0.01)


def test_a_plateau_drops_the_rate_when_torchs_own_schedule_does() -> None:
    rng = np.random.default_rng(0)
    scores = np.concatenate([np.linspace(0.1, 0.6, 9), 0.6 - 0.1 * rng.random(15), [0.7], 0.7 - 0.1 * rng.random(12)])
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    torchs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, mode="max", patience=4)
    plateau = Plateau(4)
    settings = OptimiserSettings(schedule="plateau")
    factors = []
    for epoch, score in enumerate(scores, start=1):
        torchs.step(score)
        plateau.update(float(score), epoch)
        resumed = Plateau(4)
        resumed.load_state_dict(plateau.state_dict())
        plateau = resumed
        factors.append(rate_factor(settings, progress=0, epoch=epoch, step=epoch, drops=plateau.drops))
        assert factors[-1] == pytest.approx(optimiser.param_groups[0]["lr"])
    assert factors[-1] < 1e-3


def test_a_plateaus_patience_is_in_epochs_however_often_a_run_validates() -> None:
    plateau = Plateau(20)
    for epoch in range(5, 60, 5):
        plateau.update(0.5, epoch)
    # The best was at 5, so that 30 is the first that is more than 20 later, and 55 the next.
    assert plateau.drops == 2


def test_adam_is_torchs_adam() -> None:
    first, second = (nn.Linear(3, 1) for _ in range(2))
    second.load_state_dict(first.state_dict())
    settings = OptimiserSettings(name="adam", learning_rate=1e-2, lookahead_steps=0)
    for optimiser, network in (
        (build_optimiser(first, settings), first),
        (torch.optim.Adam(second.parameters(), lr=1e-2), second),
    ):
        for _ in range(3):
            optimiser.zero_grad()
            network(torch.ones(2, 3)).square().sum().backward()
            optimiser.step()
    assert torch.equal(first.weight, second.weight)
