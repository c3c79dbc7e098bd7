"""The decoder: a location's coordinates, patch features and the latent vectors become logits (paper section 3.1).

Attribute names are those of the published state dicts (``cnb`` included).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, distributed, nn

from napari_ossnet.engine.networks.pade import PadeActivation
from napari_ossnet.engine.networks.patch_encoder import PATCH_VALUES, PatchEncoder


class ConditionalBatchNorm(nn.Module):
    """Batch norm over ONE feature, then a scale and a shift a feature, both linear in a latent vector.

    A single running mean and variance a layer: in training the statistics run over volumes, locations and features
    together, over those of all processes too where ``normalization`` was converted to a ``SyncBatchNorm``. The scale is
    gamma(latent), not 1 + gamma(latent), as in the published code.
    """

    def __init__(self, latent_features: int, features: int) -> None:
        super().__init__()
        self.linear_gamma = nn.Linear(latent_features, features)
        self.linear_beta = nn.Linear(latent_features, features)
        self.normalization = nn.BatchNorm1d(1, affine=False)
        nn.init.zeros_(self.linear_gamma.weight)
        nn.init.ones_(self.linear_gamma.bias)
        nn.init.zeros_(self.linear_beta.weight)
        nn.init.zeros_(self.linear_beta.bias)

    def forward(self, x: Tensor, latent: Tensor) -> Tensor:
        """Normalise (b, n, features) with the latent vector (b, L)."""
        mean, variance = self._statistics(x)
        scale = self.linear_gamma(latent) * (variance + self.normalization.eps).rsqrt()
        shift = self.linear_beta(latent) - mean * scale
        return torch.addcmul(shift[:, None].to(x.dtype), x, scale[:, None].to(x.dtype))

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        norm = self.normalization
        assert norm.running_mean is not None
        assert norm.running_var is not None
        if not self.training:
            return norm.running_mean, norm.running_var
        variance, mean = torch.var_mean(x.float(), correction=0)
        correction: float | Tensor = x.numel() / max(x.numel() - 1, 1)
        if _is_synchronised(norm):
            mean, variance, count = _over_all_processes(mean, variance, x.numel())
            correction = count / (count - 1)
        if norm.num_batches_tracked is not None and norm.momentum is not None:
            with torch.no_grad():
                unbiased = variance * correction
                norm.num_batches_tracked.add_(1)
                norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), norm.momentum)
                norm.running_var.lerp_(unbiased.to(norm.running_var.dtype), norm.momentum)
        return mean, variance


def _is_synchronised(norm: nn.Module) -> bool:
    return isinstance(norm, nn.SyncBatchNorm) and distributed.is_initialized() and distributed.get_world_size() > 1


def _over_all_processes(mean: Tensor, variance: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and (biased) variance of the values of all processes, and their number, from those of this one."""
    # In float64, since the difference of squares cancels.
    mean, variance = mean.double(), variance.double()
    moments = torch.stack([torch.ones_like(mean), mean, variance + mean.square()]) * count
    total, first, second = _SumOverProcesses.apply(moments).unbind()
    mean = first / total
    return mean.float(), (second / total - mean.square()).float(), total


class _SumOverProcesses(torch.autograd.Function):
    """A sum over all processes; gradients are summed too, for every process's loss depends on every process's values.

    Written out: torch.distributed.nn has the same, but deprecated since torch 2.13.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        distributed.all_reduce(total)
        return total


class DecoderBlock(nn.Module):
    """Residual block of two linear layers with conditional batch norm."""

    def __init__(self, in_features: int, features: int, latent_features: int) -> None:
        super().__init__()
        self.linear_layer_1 = nn.Linear(in_features, features)
        self.linear_layer_2 = nn.Linear(features, features)
        self.activation = PadeActivation()
        self.final_activation = PadeActivation()
        self.residual_mapping = nn.Identity() if in_features == features else nn.Linear(in_features, features)
        self.cnb_1 = ConditionalBatchNorm(latent_features, features)
        self.cnb_2 = ConditionalBatchNorm(latent_features, features)

    def forward(self, x: Tensor, latent: Tensor) -> Tensor:
        """(b, n, in) to (b, n, features), conditioned by the latent vector (b, L)."""
        hidden = self.activation(self.cnb_1(self.linear_layer_1(x), latent))
        hidden = self.cnb_2(self.linear_layer_2(hidden), latent)
        return self.final_activation(hidden + self.residual_mapping(x))


class Decoder(nn.Module):
    """Residual blocks over every location, and a linear layer without bias at the end.

    Args of the constructor:
        patch_channels: Channels of the windows, 0 where the variant has none (O-Net).
        latent_features: Length L of a latent vector.
        features: Width of the blocks.
        blocks: How many there are.
        classes: Logits a location; 1 for a binary task.
    """

    patch_mapping: PatchEncoder | None

    def __init__(
        self, *, patch_channels: int, latent_features: int, features: int, blocks: int, classes: int, dropout: float
    ) -> None:
        super().__init__()
        patch_features = PATCH_VALUES if patch_channels else 0
        widths = [3 + patch_features + latent_features] + [features] * blocks
        self.blocks = nn.ModuleList(DecoderBlock(a, b, latent_features) for a, b in pairwise(widths))
        self.final_mapping = nn.Sequential(nn.Linear(features, classes, bias=False))
        self.patch_mapping = PatchEncoder(patch_channels, dropout) if patch_channels else None

    def forward(self, coordinates: Tensor, patches: Tensor | None, latent: Tensor) -> Tensor:
        """Logits (b, n, classes).

        Args:
            coordinates: (b, n, 3) grid frame, in voxels (not normalised, as published).
            patches: (b, n, channels, 7, 7, 7), or None where the variant has none.
            latent: (b, vectors, L); one vector conditions every block, else vector i + 1 conditions block i.
        """
        batch, count = coordinates.shape[:2]
        parts = [coordinates]
        if self.patch_mapping is not None:
            assert patches is not None
            parts.append(self.patch_mapping(patches.flatten(0, 1)).view(batch, count, PATCH_VALUES))
        parts.append(latent[:, :1].expand(batch, count, latent.shape[-1]))
        # torch.cat takes the widest type: under autocast the coordinates keep their float32.
        x = torch.cat(parts, dim=-1)
        has_own_vectors = latent.shape[1] > 1
        for index, block in enumerate(self.blocks):
            x = block(x, latent[:, index + 1 if has_own_vectors else 0])
        return self.final_mapping(x)
