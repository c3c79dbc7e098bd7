"""The encoders: a volume of half resolution becomes latent vectors, once a scan (paper section 3.1).

The plain encoder (O-Net, A, B) gives one latent vector, the skip encoder (C, D) one a decoder block and one for the
decoder's input, with an auxiliary low-resolution segmentation. Attribute names are those of the published state dicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from napari_ossnet.engine.networks.pade import PadeActivation
from napari_ossnet.engine.tensors import VolumeBatch


class EncoderBlock(nn.Module):
    """Residual block of two 3^3 convolutions that halves the resolution."""

    def __init__(self, in_channels: int, out_channels: int, dropout: float) -> None:
        super().__init__()
        self.main_mapping = nn.Sequential(
            nn.Conv3d(in_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm3d(out_channels),
            PadeActivation(),
            nn.AvgPool3d(2),
            nn.Dropout(dropout),
            nn.Conv3d(out_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm3d(out_channels),
        )
        is_same = in_channels == out_channels
        self.residual_mapping = nn.Identity() if is_same else nn.Conv3d(in_channels, out_channels, 1, bias=False)
        self.final_activation = PadeActivation()
        self.pooling = nn.AvgPool3d(2)

    def forward(self, volume: Tensor) -> Tensor:
        """(b, in, i, j, k) to (b, out, i // 2, j // 2, k // 2)."""
        # A 1^3 convolution without bias and the average commute; eight times fewer values go through it this way round.
        shortcut = self.residual_mapping(self.pooling(volume))
        return self.final_activation(self.main_mapping(volume) + shortcut)


def _build_blocks(in_channels: int, channels: Sequence[int], dropout: float) -> nn.ModuleList:
    widths = (in_channels, *channels)
    return nn.ModuleList(EncoderBlock(a, b, dropout) for a, b in pairwise(widths))


def _build_final_mapping(in_channels: int, vectors: int) -> nn.Sequential:
    convolution = nn.Conv3d(in_channels, vectors, 5, padding=2)
    return nn.Sequential(convolution, nn.BatchNorm3d(vectors), PadeActivation())


class PlainEncoder(nn.Module):
    """The encoder of O-Net, A and B: one latent vector, no auxiliary segmentation."""

    def __init__(self, in_channels: int, channels: Sequence[int], dropout: float = 0.0) -> None:
        super().__init__()
        self.blocks = _build_blocks(in_channels, channels, dropout)
        self.final_mapping = _build_final_mapping(channels[-1], 1)

    def forward(self, volume: VolumeBatch) -> tuple[Tensor, None]:
        """Latent vectors (b, 1, L); L runs over the latent grid, k fastest."""
        for block in self.blocks:
            volume = block(volume)
        return self.final_mapping(volume).flatten(2), None


class SkipEncoder(nn.Module):
    """The encoder of C and D: every block's output reaches the latent vectors, beside an auxiliary segmentation."""

    def __init__(
        self,
        in_channels: int,
        channels: Sequence[int],
        latent_grid: tuple[int, int, int],
        vectors: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.blocks = _build_blocks(in_channels, channels, dropout)
        self.output_mappings = nn.ModuleList(
            nn.Sequential(
                nn.AdaptiveMaxPool3d(latent_grid),
                nn.Conv3d(width, width // 2, 5, padding=2, bias=False),
                nn.BatchNorm3d(width // 2),
                PadeActivation(),
            )
            for width in channels
        )
        self.final_mapping = _build_final_mapping(sum(width // 2 for width in channels), vectors)
        # The published layout has the convolution at index 0 of a Sequential; its sigmoid is left to the caller.
        self.segmentation_mapping = nn.Sequential(nn.Conv3d(channels[-1], 1, 5, padding=2, bias=False))

    def forward(self, volume: VolumeBatch) -> tuple[Tensor, Tensor]:
        """Latent vectors (b, vectors, L) and the logits of the auxiliary segmentation (b, 1, *latent_grid)."""
        skips = []
        for block, mapping in zip(self.blocks, self.output_mappings, strict=True):
            volume = block(volume)
            skips.append(mapping(volume))
        latent = self.final_mapping(torch.cat(skips, dim=1)).flatten(2)
        return latent, self.segmentation_mapping(volume)
