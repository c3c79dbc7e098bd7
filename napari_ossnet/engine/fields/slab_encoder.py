"""The encoder for inference: batch norm folded into the convolutions, and each block computed slab by slab, exactly.

A slab is a few planes of the volume, with one plane more on either side (its halo) as input. Everything between the
input and the output of a block exists for one slab only, which keeps it in the cache and takes little memory; an
average pool follows the widest part, so that what is kept is an eighth of it. The result is that of the whole volume
(no plane is computed twice); progress is reported between slabs.

On the CPU volumes are channels-last, which is how its convolutions run fastest and pointwise layers become matrix
products.
"""

from __future__ import annotations

from collections.abc import Generator

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from napari_ossnet.engine.kernels.compilation import compiled, is_compiled
from napari_ossnet.engine.kernels.pade_kernels import pade_pool
from napari_ossnet.engine.kernels.threads import run_in_threads
from napari_ossnet.engine.networks.encoder import EncoderBlock, PlainEncoder, SkipEncoder
from napari_ossnet.engine.networks.oss_net import Encoding
from napari_ossnet.engine.networks.pade import PadeActivation, pade_

#: Bytes of the widest intermediate of a slab: what keeps a device busy; on a CPU what a core's caches hold, and for all
#: cores together what is no burden.
DEVICE_SLAB_BYTES = 256 * 2**20
CORE_SLAB_BYTES = 4 * 2**20
CPU_SLAB_BYTES = 64 * 2**20


def usual_slab_bytes(device: torch.device) -> int:
    """Bytes of a slab where memory is no matter."""
    if device.type != "cpu":
        return DEVICE_SLAB_BYTES
    return min(CORE_SLAB_BYTES, CPU_SLAB_BYTES // torch.get_num_threads())


def encode_in_slabs(
    encoder: PlainEncoder | SkipEncoder, volume: Tensor, *, slab_bytes: int | None = None
) -> Generator[float, None, Encoding]:
    """Latent vectors and auxiliary segmentation of one volume, equal to those of the plain encoder to rounding.

    Args:
        encoder: Used with its running statistics, whatever its mode.
        volume: (1, channels, i, j, k), float32, normalised, at half resolution, on the encoder's device.
        slab_bytes: Smaller slabs take less memory; None takes what suits the device.

    Yields:
        The share of the work that is done, 0 to 1, after every slab.
    """
    if slab_bytes is None:
        slab_bytes = usual_slab_bytes(volume.device)
    total = sum(_work(block, volume.shape, depth) for depth, block in enumerate(encoder.blocks))
    done = 0.0
    skips: list[Tensor] = []
    volume = _arranged(volume)
    for depth, block in enumerate(encoder.blocks):
        assert isinstance(block, EncoderBlock)
        share = _work(block, volume.shape, 0) / total
        volume = yield from _scaled(_run_block(block, volume, slab_bytes), done, share)
        done += share
        if isinstance(encoder, SkipEncoder):
            skips.append(_run_mapping(encoder.output_mappings[depth], volume))
    latent = _run_mapping(encoder.final_mapping, torch.cat(skips, dim=1) if skips else volume)
    auxiliary = None
    if isinstance(encoder, SkipEncoder):
        with torch.no_grad():
            auxiliary = encoder.segmentation_mapping(volume).contiguous()
    return Encoding(latent=latent.contiguous().flatten(2), auxiliary=auxiliary)


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
    """A block's output, and the share of its work that is done, after every slab of either convolution."""
    first, norm_1, activation, _, _, second, norm_2 = block.main_mapping
    assert isinstance(second, nn.Conv3d)
    weight, bias = fold_batch_norm(first, norm_1)
    planes, rows, columns = volume.shape[2:]
    pooled = _empty(volume, (1, len(weight), planes // 2, rows // 2, columns // 2))
    # The second convolution sees an eighth of the voxels.
    first_share = weight.numel() / (weight.numel() + second.weight.numel() / 8)

    def convolve_and_pool(slab: tuple[int, int]) -> None:
        start, stop = slab
        features = _convolve(_with_halo(volume, start, stop), weight, bias)
        _activate_and_pool(features, activation, pooled[:, :, start // 2 : stop // 2])

    for group in _groups(volume, _slabs(planes, len(weight) * rows * columns * 4, slab_bytes, even=True)):
        run_in_threads(convolve_and_pool, group)
        yield first_share * group[-1][1] / planes
    second_weight, second_bias = fold_batch_norm(second, norm_2)
    result = _empty(pooled, pooled.shape)

    def convolve_and_add(slab: tuple[int, int]) -> None:
        start, stop = slab
        features = _convolve(_with_halo(pooled, start, stop), second_weight, second_bias)
        with torch.no_grad():
            features += _shortcut(block.residual_mapping, volume[:, :, 2 * start : 2 * stop])
        result[:, :, start:stop] = _activate(features, block.final_activation)

    for group in _groups(volume, _slabs(planes // 2, len(weight) * rows * columns, slab_bytes)):
        run_in_threads(convolve_and_add, group)
        yield first_share + (1 - first_share) * group[-1][1] / (planes // 2)
    return result


def _groups(volume: Tensor, slabs: list[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """Slabs that are worked on at once: one a core of a CPU."""
    count = torch.get_num_threads() if volume.device.type == "cpu" else 1
    return [slabs[start : start + count] for start in range(0, len(slabs), count)]


def _slabs(planes: int, plane_bytes: int, slab_bytes: int, *, even: bool = False) -> list[tuple[int, int]]:
    """First and one past the last plane of each slab; even numbers of planes where pooling must not straddle slabs."""
    count = max(1, slab_bytes // plane_bytes)
    if even:
        count = max(2, count // 2 * 2)
    return [(start, min(start + count, planes)) for start in range(0, planes, count)]


def _with_halo(volume: Tensor, start: int, stop: int) -> Tensor:
    """Planes ``start - 1`` to ``stop``, zeros where they leave the volume, as the convolution's padding has them."""
    planes = volume.shape[2]
    inner = volume[:, :, max(start - 1, 0) : min(stop + 1, planes)]
    before, after = int(start == 0), int(stop == planes)
    return functional.pad(inner, (0, 0, 0, 0, before, after)) if before or after else inner


def _convolve(volume: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A 3^3 convolution that pads j and k only, in the arrangement of the device."""
    with torch.no_grad():
        if volume.device.type == "cpu" and torch.backends.mkldnn.is_available():
            # Called by name: conv3d would take a slow path for small slabs.
            volume, weight = _arranged(volume), _arranged(weight)
            return _arranged(torch.mkldnn_convolution(volume, weight, bias, (0, 1, 1), (1, 1, 1), (1, 1, 1), 1))
        return _arranged(functional.conv3d(volume, weight, bias, padding=(0, 1, 1)))


def _shortcut(mapping: nn.Module, volume: Tensor) -> Tensor:
    """The pooled input of a block in the width of its output; pooling first is the same and cheaper."""
    with torch.no_grad():
        pooled = _arranged(functional.avg_pool3d(volume, 2))
        if not isinstance(mapping, nn.Conv3d):
            return pooled
        if volume.device.type != "cpu":
            return functional.conv3d(pooled, mapping.weight)
        weight = mapping.weight.flatten(1).T
        return (pooled.permute(0, 2, 3, 4, 1) @ weight).permute(0, 4, 1, 2, 3)


def _activate(volume: Tensor, activation: nn.Module) -> Tensor:
    """The Pade unit in place."""
    pade_(_memory_order(volume), _coefficients(activation))
    return volume


def _activate_and_pool(volume: Tensor, activation: nn.Module, result: Tensor) -> None:
    """The Pade unit and an average pool of ``volume`` into ``result``; ``volume`` may be overwritten."""
    if volume.device.type != "cpu" or not is_compiled():
        with torch.no_grad():
            result.copy_(functional.avg_pool3d(_activate(volume, activation), 2))
        return
    kernel, coefficients = compiled(pade_pool), _coefficients(activation).numpy()
    source, target = (_memory_order(tensor)[0].numpy() for tensor in (volume, result))
    run_in_threads(
        lambda plane: kernel(source[2 * plane : 2 * plane + 2], target[plane : plane + 1], coefficients),
        range(len(target)),
    )


def _arranged(volume: Tensor) -> Tensor:
    """A volume (or a kernel) in the memory order that suits its device."""
    order = torch.channels_last_3d if volume.device.type == "cpu" else torch.contiguous_format
    return volume.contiguous(memory_format=order)


def _memory_order(volume: Tensor) -> Tensor:
    """A view of an arranged volume with its axes as they lie in memory."""
    return volume.permute(0, 2, 3, 4, 1) if volume.device.type == "cpu" else volume


def _empty(like: Tensor, shape: tuple[int, ...]) -> Tensor:
    order = torch.channels_last_3d if like.device.type == "cpu" else torch.contiguous_format
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=order)


def _run_mapping(mapping: nn.Module, volume: Tensor) -> Tensor:
    """A 5^3 convolution, batch norm and Pade unit, behind whatever stands before them."""
    assert isinstance(mapping, nn.Sequential)
    *before, convolution, norm, activation = mapping
    weight, bias = fold_batch_norm(convolution, norm)
    with torch.no_grad():
        for module in before:
            volume = module(volume)
        return _activate(_arranged(functional.conv3d(volume, weight, bias, padding=2)), activation)


def fold_batch_norm(convolution: nn.Module, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution with the batch norm after it; folded in float64, given in float32."""
    assert isinstance(convolution, nn.Conv3d)
    # A BatchNorm3d, or what training in several processes makes of one.
    assert isinstance(norm, _BatchNorm)
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
