"""The decoder for one scan, with everything that is constant there folded into matrices and biases.

For one scan the latent vectors are constants. So conditional batch norm is a scale and a shift of each feature, which
fold into the linear layer before it; the latent part of the decoder's input folds into a bias, in the first linear
layer as in the shortcut; and the patch convolutions, which pad inside the window, are dense matrices. Folding is done
in float64 and rounded once.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from napari_ossnet.engine.networks.decoder import ConditionalBatchNorm, Decoder, DecoderBlock
from napari_ossnet.engine.networks.pade import PadeActivation
from napari_ossnet.engine.networks.patch_encoder import PATCH_VALUES, PatchEncoder, convolution_matrix


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldedLayer:
    """``x`` becomes ``pade(x @ matrix + bias)``."""

    #: (in, out): a column a feature, as a matrix product from the right takes it.
    matrix: Tensor
    #: (out,).
    bias: Tensor
    #: (10,): a0 to a5, |b1| to |b4|.
    pade: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldedBlock:
    """``x`` becomes ``pade(first(x) @ second.matrix + shortcut(x) + second.bias)``."""

    first: FoldedLayer
    #: Its bias holds that of the shortcut too.
    second: FoldedLayer
    #: (in, out); None where the shortcut is ``x`` itself.
    shortcut: Tensor | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldedDecoder:
    """The whole decoder for one scan; inputs are coordinates (3) and patch features (343)."""

    #: Layers over the windows' values, channels outermost; none where the variant has no patches.
    patch_layers: tuple[FoldedLayer, ...]
    blocks: tuple[FoldedBlock, ...]
    #: (features, classes).
    final: Tensor

    @property
    def input_features(self) -> int:
        """Coordinates and patch features."""
        return self.blocks[0].first.matrix.shape[0]


def fold_decoder(decoder: Decoder, latent: Tensor) -> FoldedDecoder:
    """Fold a decoder for one scan.

    Args:
        decoder: In eval mode or not: running statistics are used.
        latent: (vectors, L) of the scan.

    Returns:
        Float32 tensors on the decoder's device.
    """
    with torch.no_grad(), torch.autocast(latent.device.type, enabled=False):
        # MPS has no float64.
        device = torch.device("cpu") if latent.device.type == "mps" else latent.device
        constant = latent.to(device, torch.float64)
        patch_mapping = decoder.patch_mapping
        patch_layers = () if patch_mapping is None else _fold_patch_encoder(patch_mapping, device, latent.device)
        has_own_vectors = len(constant) > 1
        blocks = []
        for index, block in enumerate(decoder.blocks):
            assert isinstance(block, DecoderBlock)
            condition = constant[index + 1 if has_own_vectors else 0]
            blocks.append(_fold_block(block, condition, constant[0] if index == 0 else None, latent.device))
        last = decoder.final_mapping[0]
        assert isinstance(last, nn.Linear)
        final = _rounded(last.weight.detach().T, latent.device)
        return FoldedDecoder(patch_layers=patch_layers, blocks=tuple(blocks), final=final)


def _fold_patch_encoder(encoder: PatchEncoder, device: torch.device, target: torch.device) -> tuple[FoldedLayer, ...]:
    first, activation_1, _, second, activation_2 = encoder.mapping
    taps = encoder.taps.to(device)
    layers = []
    for convolution, activation in ((first, activation_1), (second, activation_2)):
        assert isinstance(convolution, nn.Conv3d)
        assert isinstance(activation, PadeActivation)
        matrix = convolution_matrix(_double(convolution.weight, device), taps).T
        bias = _double(convolution.bias, device).repeat_interleave(PATCH_VALUES)
        layers.append(_layer(matrix, bias, activation, target))
    return tuple(layers)


def _fold_block(block: DecoderBlock, condition: Tensor, joined: Tensor | None, target: torch.device) -> FoldedBlock:
    """Fold a block; ``joined`` is the latent vector (L,) at the end of the block's input, None where there is none."""
    device = condition.device
    first_matrix, first_bias = _fold_norm(block.linear_layer_1, block.cnb_1, condition)
    second_matrix, second_bias = _fold_norm(block.linear_layer_2, block.cnb_2, condition)
    shortcut: Tensor | None = None
    if isinstance(block.residual_mapping, nn.Linear):
        shortcut = _double(block.residual_mapping.weight, device).T
        second_bias = second_bias + _double(block.residual_mapping.bias, device)
    if joined is not None:
        count = len(joined)
        if shortcut is None:  # the input is as wide as the block, by chance
            shortcut = torch.eye(len(first_matrix), dtype=torch.float64, device=device)
        first_bias = first_bias + joined @ first_matrix[-count:]
        second_bias = second_bias + joined @ shortcut[-count:]
        first_matrix, shortcut = first_matrix[:-count], shortcut[:-count]
    return FoldedBlock(
        first=_layer(first_matrix, first_bias, block.activation, target),
        second=_layer(second_matrix, second_bias, block.final_activation, target),
        shortcut=None if shortcut is None else _rounded(shortcut, target),
    )


def _fold_norm(linear: nn.Linear, norm: ConditionalBatchNorm, condition: Tensor) -> tuple[Tensor, Tensor]:
    """Matrix (in, out) and bias of a linear layer with the conditional batch norm after it."""
    device = condition.device
    gamma = _affine(norm.linear_gamma, condition)
    beta = _affine(norm.linear_beta, condition)
    mean, variance = norm.normalization.running_mean, norm.normalization.running_var
    assert mean is not None
    assert variance is not None
    scale = gamma / torch.sqrt(_double(variance, device) + norm.normalization.eps)
    matrix = _double(linear.weight, device).T * scale
    return matrix, (_double(linear.bias, device) - _double(mean, device)) * scale + beta


def _affine(linear: nn.Linear, x: Tensor) -> Tensor:
    return _double(linear.weight, x.device) @ x + _double(linear.bias, x.device)


def _double(tensor: Tensor | None, device: torch.device) -> Tensor:
    assert tensor is not None
    return tensor.detach().to(device, torch.float64)


def pade_coefficients(activation: PadeActivation, device: torch.device) -> Tensor:
    """(10,): a0 to a5, |b1| to |b4|, float64."""
    return torch.cat(
        [_double(activation.weight_numerator, device), _double(activation.weight_denominator, device).abs()]
    )


def _rounded(value: Tensor, device: torch.device) -> Tensor:
    """Float32 on the device of the scan; layer by layer, since float64 takes twice the memory."""
    return value.to(torch.float32).contiguous().to(device)


def _layer(matrix: Tensor, bias: Tensor, activation: PadeActivation, device: torch.device) -> FoldedLayer:
    pade = pade_coefficients(activation, matrix.device)
    return FoldedLayer(matrix=_rounded(matrix, device), bias=_rounded(bias, device), pade=_rounded(pade, device))
