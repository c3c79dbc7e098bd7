"""Lookahead over RAdam, parameter groups with rates of their own, and the annealing of rates."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer

from napari_ossnet.engine.networks.pade import PadeActivation
from ossnet_training.config import OptimiserSettings


class Lookahead(Optimizer):
    """Lookahead (Zhang et al., 2019, algorithm 1): slow weights that follow an inner optimiser's fast ones.

    After every ``steps`` inner steps the slow weights move by ``alpha`` towards the fast ones, which then start anew
    from there. State of the inner optimiser is kept, as the published code does.
    """

    def __init__(self, inner: Optimizer, *, steps: int = 5, alpha: float = 0.8) -> None:
        # The parent's constructor is left out: groups, state and defaults are the inner optimiser's own, shared.
        self.inner, self.steps, self.alpha = inner, steps, alpha
        self.defaults = inner.defaults
        self.param_groups = inner.param_groups
        self.state = inner.state
        self._slow: dict[Tensor, Tensor] = {}
        self._count = 0
        self._patch_hooks()

    def _patch_hooks(self) -> None:
        for name in (
            "_optimizer_step_pre_hooks",
            "_optimizer_step_post_hooks",
            "_optimizer_state_dict_pre_hooks",
            "_optimizer_state_dict_post_hooks",
            "_optimizer_load_state_dict_pre_hooks",
            "_optimizer_load_state_dict_post_hooks",
        ):
            setattr(self, name, getattr(self.inner, name))

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One fast step; every so many of them a slow one."""
        if not self._slow:
            self._slow = {p: p.detach().clone() for p in self._parameters()}
        with torch.enable_grad():
            loss = self.inner.step(closure) if closure is not None else self.inner.step()
        self._count += 1
        if self._count % self.steps == 0:
            for parameter, slow in self._slow.items():
                slow.lerp_(parameter, self.alpha)
                parameter.copy_(slow)
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop all gradients."""
        self.inner.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """The inner optimiser's state, the slow weights and the count of steps."""
        slow = [self._slow.get(p, p).detach().clone() for p in self._parameters()]
        return {"inner": self.inner.state_dict(), "slow": slow, "count": self._count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        self.inner.load_state_dict(state_dict["inner"])
        self.param_groups, self.state = self.inner.param_groups, self.inner.state
        self._slow = {p: s.to(p) for p, s in zip(self._parameters(), state_dict["slow"], strict=True)}
        self._count = state_dict["count"]

    def _parameters(self) -> list[Tensor]:
        return [parameter for group in self.param_groups for parameter in group["params"]]


def build_optimiser(network: nn.Module, settings: OptimiserSettings) -> Optimizer:
    """The optimiser of a recipe over a network's parameters; Pade coefficients form a group of their own."""
    pade = {id(p) for module in network.modules() if isinstance(module, PadeActivation) for p in module.parameters()}
    weights = [p for p in network.parameters() if id(p) not in pade]
    coefficients = [p for p in network.parameters() if id(p) in pade]
    groups: list[dict[str, Any]] = [
        {"params": parameters, **rates}
        for parameters, rates in zip((weights, coefficients), _group_rates(settings), strict=True)
        if parameters
    ]
    # Weight decay moves weights apart from the gradient's moments, but for plain Adam (Loshchilov and Hutter, 2019).
    inner: Optimizer
    if settings.name == "adamw":
        inner = torch.optim.AdamW(groups)
    elif settings.name == "adam":
        inner = torch.optim.Adam(groups)
    else:
        inner = torch.optim.RAdam(groups, decoupled_weight_decay=True)
    if settings.lookahead_steps < 1:
        return inner
    return Lookahead(inner, steps=settings.lookahead_steps, alpha=settings.lookahead_alpha)


def restate_rates(optimiser: Optimizer, settings: OptimiserSettings) -> None:
    """Give the groups of `build_optimiser`, which a checkpoint has brought back as they were, the recipe's rates."""
    for group, rates in zip(optimiser.param_groups, _group_rates(settings), strict=False):
        group.update(rates)


def _group_rates(settings: OptimiserSettings) -> tuple[dict[str, float], dict[str, float]]:
    """What the groups of weights and of Pade coefficients have of their own; the second may be missing."""
    weights = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
    coefficients = {"lr": settings.pade_learning_rate, "weight_decay": 0.0}
    return weights | {"base_lr": weights["lr"]}, coefficients | {"base_lr": coefficients["lr"]}


class Plateau:
    """Counts how often a score stood still for ``patience`` epochs, as torch's ReduceLROnPlateau does by default.

    Epochs are counted and not scores, so that the patience means the same however often a run validates.
    """

    #: A score is better where it exceeds the best by this share of it.
    THRESHOLD = 1e-4

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.best, self.best_epoch, self.drops = -math.inf, 0.0, 0

    def update(self, score: float, epoch: float) -> None:
        """Take in the score (0 or more) after so many epochs."""
        if score > self.best * (1 + self.THRESHOLD) or self.best < 0:
            self.best, self.best_epoch = score, epoch
        elif epoch - self.best_epoch > self.patience:
            self.drops += 1
            self.best_epoch = epoch

    def state_dict(self) -> dict[str, float]:
        """Kept in checkpoints."""
        return {"best": self.best, "best_epoch": self.best_epoch, "drops": self.drops}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Taken up from checkpoints."""
        self.best, self.best_epoch, self.drops = state["best"], state["best_epoch"], int(state["drops"])


def rate_factor(settings: OptimiserSettings, *, progress: float, epoch: int, step: int, drops: int = 0) -> float:
    """What every group's rate is multiplied by.

    Args:
        settings: The recipe's.
        progress: Share of the run that is over, 0 to 1, by the clock or by steps.
        epoch: Epochs finished.
        step: Steps finished.
        drops: How often validation stood still, of `Plateau`.
    """
    warm = min(1.0, (step + 1) / settings.warmup_steps) if settings.warmup_steps else 1.0
    if settings.schedule == "milestones":
        return warm * 0.1 ** sum(epoch >= milestone for milestone in settings.milestones)
    if settings.schedule == "plateau":
        return warm * 0.1**drops
    if settings.schedule == "cosine":
        # Down to a hundredth, so that the last minutes still move.
        return warm * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * min(max(progress, 0.0), 1.0))))
    return warm


def set_rates(optimiser: Optimizer, factor: float) -> None:
    """Multiply every group's own rate by a factor."""
    for group in optimiser.param_groups:
        group["lr"] = group["base_lr"] * factor
