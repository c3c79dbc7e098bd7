"""The patch encoder: 7^3 windows of the scan become 343 features a location.

The convolutions pad with zeros *inside* the window, so each is a linear map of 343 C values. As a matrix product it
runs several times faster than as millions of tiny convolutions, in training too; both forms are kept and compared.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_ossnet.engine.networks.pade import PadeActivation

#: Edge of a window and of the kernels that run over it, in voxels; and the values of one channel of it.
PATCH_EDGE = 7
PATCH_VALUES = PATCH_EDGE**3


def _tap_indices() -> Tensor:
    """(343, 343): the kernel value that leads from input voxel [column] to output voxel [row], 343 where none does.

    Convolution as PyTorch has it: out(o) = sum over i of in(i) kernel(i - o + 3), for |i - o| <= 3 on each axis.
    """
    axis = torch.arange(PATCH_EDGE)
    voxels = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).view(-1, 3)
    taps = voxels[None, :, :] - voxels[:, None, :] + PATCH_EDGE // 2
    is_inside = ((taps >= 0) & (taps < PATCH_EDGE)).all(dim=-1)
    flat = (taps[..., 0] * PATCH_EDGE + taps[..., 1]) * PATCH_EDGE + taps[..., 2]
    return torch.where(is_inside, flat, torch.full_like(flat, PATCH_VALUES))


def convolution_matrix(weight: Tensor, taps: Tensor) -> Tensor:
    """The dense matrix of a padded 7^3 convolution over a 7^3 window; differentiable with respect to ``weight``.

    Args:
        weight: (out, in, 7, 7, 7).
        taps: What ``_tap_indices`` gives, on the weight's device.

    Returns:
        (out * 343, in * 343), channels outermost on both sides.
    """
    out_channels, in_channels = weight.shape[:2]
    padded = functional.pad(weight.reshape(out_channels, in_channels, PATCH_VALUES), (0, 1))
    dense = padded[:, :, taps]
    return dense.permute(0, 2, 1, 3).reshape(out_channels * PATCH_VALUES, in_channels * PATCH_VALUES)


class PatchEncoder(nn.Module):
    """Two padded 7^3 convolutions with Pade units over every window (paper section 3.2).

    ``mapping`` has the published layout: conv, PAU, dropout, conv, PAU. Set ``is_published_form`` to run it as it
    stands: the oracle, and the benchmark's baseline.
    """

    taps: Tensor

    def __init__(self, channels: int, dropout: float = 0.0) -> None:
        super().__init__()
        hidden = max(channels // 2, 1)
        self.mapping = nn.Sequential(
            nn.Conv3d(channels, hidden, PATCH_EDGE, padding=PATCH_EDGE // 2),
            PadeActivation(),
            nn.Dropout(dropout),
            nn.Conv3d(hidden, 1, PATCH_EDGE, padding=PATCH_EDGE // 2),
            PadeActivation(),
        )
        self.register_buffer("taps", _tap_indices(), persistent=False)
        self.is_published_form = False

    def forward(self, patches: Tensor) -> Tensor:
        """(n, channels, 7, 7, 7) to (n, 343)."""
        if self.is_published_form:
            return self.mapping(patches).flatten(1)
        first, activation_1, dropout, second, activation_2 = self.mapping
        hidden = dropout(activation_1(self._as_product(first, patches.flatten(1))))
        return activation_2(self._as_product(second, hidden))

    def _as_product(self, convolution: nn.Module, values: Tensor) -> Tensor:
        assert isinstance(convolution, nn.Conv3d)
        assert convolution.bias is not None
        matrix = convolution_matrix(convolution.weight, self.taps)
        return functional.linear(values, matrix, convolution.bias.repeat_interleave(PATCH_VALUES))
