"""The encoder for inference: batch norm folded into the convolutions, and each block computed slab by slab, exactly.

What needs memory is the first convolution of a block, at the block's full resolution; an average pool follows. So it is
computed for a few planes of the volume at a time, with one plane more on either side (its halo), and only the pooled
planes are kept. The result is that of the whole volume; progress is reported between slabs.
"""

from __future__ import annotations

from collections.abc import Generator

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_ossnet.engine.networks.encoder import EncoderBlock, PlainEncoder, SkipEncoder
from napari_ossnet.engine.networks.oss_net import Encoding
from napari_ossnet.engine.networks.pade import PadeActivation, pade_

#: Bytes of the widest intermediate that one slab may take.
DEFAULT_SLAB_BYTES = 32 * 2**20


def encode_in_slabs(
    encoder: PlainEncoder | SkipEncoder, volume: Tensor, *, slab_bytes: int = DEFAULT_SLAB_BYTES
) -> Generator[float, None, Encoding]:
    """Latent vectors and auxiliary segmentation of one volume, equal to those of the plain encoder to rounding.

    Args:
        encoder: Used with its running statistics, whatever its mode.
        volume: (1, channels, i, j, k), float32, normalised, at half resolution, on the encoder's device.
        slab_bytes: Smaller slabs take less memory.

    Yields:
        The share of the work that is done, 0 to 1, after every slab.
    """
    total = sum(_work(block, volume.shape, depth) for depth, block in enumerate(encoder.blocks))
    done = 0.0
    skips: list[Tensor] = []
    for depth, block in enumerate(encoder.blocks):
        assert isinstance(block, EncoderBlock)
        share = _work(block, volume.shape, 0) / total
        volume = yield from _scaled(_run_block(block, volume, slab_bytes), done, share)
        done += share
        if isinstance(encoder, SkipEncoder):
            with torch.no_grad():
                skips.append(_run_mapping(encoder.output_mappings[depth], volume))
    with torch.no_grad():
        latent = _run_mapping(encoder.final_mapping, torch.cat(skips, dim=1) if skips else volume).flatten(2)
        auxiliary = encoder.segmentation_mapping(volume) if isinstance(encoder, SkipEncoder) else None
    return Encoding(latent=latent, auxiliary=auxiliary)


def _work(block: nn.Module, shape: torch.Size, depth: int) -> float:
    """Multiply-adds of a block that lies ``depth`` halvings below a volume of this shape, about."""
    assert isinstance(block, EncoderBlock)
    first, second = block.main_mapping[0], block.main_mapping[5]
    assert isinstance(first, nn.Conv3d)
    assert isinstance(second, nn.Conv3d)
    voxels = shape[2] * shape[3] * shape[4] / 8.0**depth
    return voxels * first.weight.numel() + voxels / 8 * second.weight.numel()


def _scaled(steps: Generator[float, None, Tensor], done: float, share: float) -> Generator[float, None, Tensor]:
    try:
        while True:
            yield done + share * next(steps)
    except StopIteration as stop:
        return stop.value


def _run_block(block: EncoderBlock, volume: Tensor, slab_bytes: int) -> Generator[float, None, Tensor]:
    first, norm_1, activation, _, _, second, norm_2 = block.main_mapping
    weight, bias = fold_batch_norm(first, norm_1)
    pade = _coefficients(activation)
    planes = volume.shape[2]
    count = _planes_per_slab(volume, len(weight), slab_bytes)
    pooled = volume.new_empty(1, len(weight), planes // 2, volume.shape[3] // 2, volume.shape[4] // 2)
    for start in range(0, planes, count):
        stop = min(start + count, planes)
        with torch.no_grad():
            features = pade_(functional.conv3d(_with_halo(volume, start, stop), weight, bias, padding=(0, 1, 1)), pade)
            pooled[:, :, start // 2 : stop // 2] = functional.avg_pool3d(features, 2)
        # The second convolution sees an eighth of the voxels: about a fifth of the block's work.
        yield 0.8 * stop / planes
    with torch.no_grad():
        shortcut = block.residual_mapping(functional.avg_pool3d(volume, 2))
        weight, bias = fold_batch_norm(second, norm_2)
        result = functional.conv3d(pooled, weight, bias, padding=1).add_(shortcut)
        result = pade_(result, _coefficients(block.final_activation))
    yield 1.0
    return result


def _planes_per_slab(volume: Tensor, channels: int, slab_bytes: int) -> int:
    """An even number of planes, so that pooling never straddles two slabs."""
    plane_bytes = channels * volume.shape[3] * volume.shape[4] * 4
    return max(2, slab_bytes // plane_bytes // 2 * 2)


def _with_halo(volume: Tensor, start: int, stop: int) -> Tensor:
    """Planes ``start - 1`` to ``stop``, zeros where they leave the volume, as the convolution's padding has them."""
    planes = volume.shape[2]
    inner = volume[:, :, max(start - 1, 0) : min(stop + 1, planes)]
    before, after = int(start == 0), int(stop == planes)
    return functional.pad(inner, (0, 0, 0, 0, before, after)) if before or after else inner


def _run_mapping(mapping: nn.Module, volume: Tensor) -> Tensor:
    """A convolution, batch norm and Pade unit, behind whatever stands before them."""
    assert isinstance(mapping, nn.Sequential)
    *before, convolution, norm, activation = mapping
    for module in before:
        volume = module(volume)
    weight, bias = fold_batch_norm(convolution, norm)
    return pade_(functional.conv3d(volume, weight, bias, padding=2), _coefficients(activation))


def fold_batch_norm(convolution: nn.Module, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution with the batch norm after it; folded in float64, given in float32."""
    assert isinstance(convolution, nn.Conv3d)
    assert isinstance(norm, nn.BatchNorm3d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.detach().cpu().double() / torch.sqrt(norm.running_var.cpu().double() + norm.eps)
    weight = convolution.weight.detach().cpu().double() * scale[:, None, None, None, None]
    own = 0.0 if convolution.bias is None else convolution.bias.detach().cpu().double()
    bias = (own - norm.running_mean.cpu().double()) * scale + norm.bias.detach().cpu().double()
    device = convolution.weight.device
    return weight.float().to(device), bias.float().to(device)


def _coefficients(activation: nn.Module) -> Tensor:
    """(10,): a0 to a5, |b1| to |b4|, float32."""
    assert isinstance(activation, PadeActivation)
    numerator, denominator = activation.weight_numerator.detach(), activation.weight_denominator.detach()
    return torch.cat([numerator, denominator.abs()]).float()
