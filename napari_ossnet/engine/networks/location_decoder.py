"""The decoder of OSS-Net X: a small residual network from what was sampled at a location to its logits."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ModulatedBlock(nn.Module):
    """A residual block of two linear layers whose middle is scaled and shifted by the volume's context.

    Feature-wise linear modulation (FiLM; Perez et al., AAAI 2018) takes the place of OSS-Net's conditional batch norm:
    without statistics it computes the same in training and after, on one process and on many.
    """

    def __init__(self, width: int, context: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width)
        self.modulation = nn.Linear(context, 2 * width) if context else None
        self.activation_before = activation()
        self.activation_between = activation()
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)
        if self.modulation is not None:
            nn.init.zeros_(self.modulation.weight)
            nn.init.zeros_(self.modulation.bias)

    def forward(self, features: Tensor, context: Tensor | None) -> Tensor:
        """(batch, locations, width) and (batch, context) -> (batch, locations, width); once folded, no context."""
        hidden = self.first(self.activation_before(features))
        if self.modulation is not None and context is not None:
            scale, shift = self.modulation(context)[:, None].chunk(2, dim=-1)
            hidden = hidden * (1 + scale) + shift
        return features + self.second(self.activation_between(hidden))

    def folded(self, context: Tensor) -> ModulatedBlock:
        """The same block for one volume, its context (context,) folded into the first layer."""
        width = self.first.out_features
        block = ModulatedBlock(width, 0, nn.Identity)
        block.activation_before, block.activation_between = self.activation_before, self.activation_between
        scale, shift = context.new_ones(width), context.new_zeros(width)
        if self.modulation is not None:
            change, shift = self.modulation(context).chunk(2)
            scale = 1 + change
        block.first.weight = nn.Parameter(self.first.weight * scale[:, None])
        block.first.bias = nn.Parameter(self.first.bias * scale + shift)
        block.second = self.second
        return block


class LocationDecoder(nn.Module):
    """A linear layer, residual blocks, a linear layer.

    Args:
        inputs: Features of a location.
        width: Of the hidden layers.
        blocks: Residual blocks.
        context: Length of the volume's context, 0 for none.
        classes: Logits a location.
        activation: Makes every activation.
    """

    def __init__(
        self, inputs: int, width: int, blocks: int, context: int, classes: int, activation: type[nn.Module]
    ) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, width)
        self.blocks = nn.ModuleList(ModulatedBlock(width, context, activation) for _ in range(blocks))
        self.activation = activation()
        self.last = nn.Linear(width, classes)

    def forward(self, features: Tensor, context: Tensor | None) -> Tensor:
        """(batch, locations, inputs) and (batch, context) -> logits (batch, locations, classes), float32."""
        hidden = self.first(features)
        for block in self.blocks:
            hidden = block(hidden, context)
        logits: Tensor = self.last(self.activation(hidden))
        return logits.float()

    @torch.no_grad()
    def folded(self, context: Tensor) -> LocationDecoder:
        """The same decoder for one volume, with its context (context,) folded into the linear layers."""
        first = self.first
        decoder = LocationDecoder(first.in_features, first.out_features, 0, 0, self.last.out_features, nn.Identity)
        decoder.first, decoder.activation, decoder.last = first, self.activation, self.last
        decoder.blocks = nn.ModuleList(
            block.folded(context) for block in self.blocks if isinstance(block, ModulatedBlock)
        )
        return decoder.eval()

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds a location, the context folded in."""
        total = self.first.weight.numel() + self.last.weight.numel()
        for block in self.blocks:
            if isinstance(block, ModulatedBlock):
                total += block.first.weight.numel() + block.second.weight.numel()
        return total
