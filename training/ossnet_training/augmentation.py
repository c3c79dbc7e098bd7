"""Random changes of a training case on the network's grid: geometry (image and label alike), then intensities.

All amounts are drawn on the CPU from the case's generator; the work is done where the tensors are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ossnet_training.config import AugmentationSettings
from ossnet_training.data import Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmented:
    """A changed copy of a case: ``image`` float (channels, i, j, k), ``label`` (i, j, k), and the encoder's window."""

    image: Tensor
    label: Tensor
    window: Window | None


def augment(
    image: Tensor, label: Tensor, window: Window | None, settings: AugmentationSettings, generator: torch.Generator
) -> Augmented:
    """A changed copy of one case.

    Args:
        image: Normalised grid (channels, i, j, k), float.
        label: Class numbers (i, j, k), uint8.
        window: The part of the grid that the encoder sees; flips move it, the rest leaves it as it is.
        settings: The recipe's.
        generator: On the CPU.
    """
    for axis in settings.flip_axes:
        if _uniform(generator) < settings.flip_probability:
            image, label = image.flip(axis + 1), label.flip(axis)
            window = _flipped(window, axis, label.shape[axis]) if window else None
    image, label = _move(image, label, settings, generator)
    return Augmented(image=_change_intensities(image, settings, generator), label=label, window=window)


def _flipped(window: Window, axis: int, size: int) -> Window:
    start, stop = list(window[0]), list(window[1])
    start[axis], stop[axis] = size - window[1][axis], size - window[0][axis]
    return (start[0], start[1], start[2]), (stop[0], stop[1], stop[2])


def _uniform(generator: torch.Generator, low: float = 0.0, high: float = 1.0) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


def _move(
    image: Tensor, label: Tensor, settings: AugmentationSettings, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Rotate, scale, shift and warp in one resampling, trilinear for the image, nearest for the label."""
    is_affine = any((settings.rotation_degrees, settings.scale, settings.shift_voxels))
    do_affine = is_affine and _uniform(generator) < settings.probability
    do_warp = settings.elastic_voxels > 0 and _uniform(generator) < settings.probability
    if not do_affine and not do_warp:
        return image, label
    shape = label.shape
    axes = [torch.arange(n, dtype=torch.float32) for n in shape]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).to(image.device)
    if do_affine:
        centre = torch.tensor([(n - 1) / 2 for n in shape], device=image.device)
        matrix, shift = _random_affine(settings, generator)
        points = (points - centre) @ matrix.T.to(image.device) + centre + shift.to(image.device)
    if do_warp:
        points = points + _random_warp(shape, settings, generator).to(image.device)
    last = torch.tensor([n - 1 for n in shape], device=image.device)
    # grid_sample wants the fastest axis first and -1 to 1 between the outermost voxel centres.
    sampling = (2 * points / last - 1).flip(-1)[None]
    moved = functional.grid_sample(image[None], sampling, mode="bilinear", padding_mode="border", align_corners=True)
    # Both go on beyond the grid's border: an object that the border cuts off stays one with its image.
    labels = functional.grid_sample(
        label[None, None].float(), sampling, mode="nearest", padding_mode="border", align_corners=True
    )
    return moved[0], labels[0, 0].to(label.dtype)


def _random_affine(settings: AugmentationSettings, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    limit = math.radians(settings.rotation_degrees)
    matrix = torch.eye(3)
    for first, second in ((0, 1), (0, 2), (1, 2)):
        angle = _uniform(generator, -limit, limit)
        turn = torch.eye(3)
        turn[first, first] = turn[second, second] = math.cos(angle)
        turn[first, second], turn[second, first] = -math.sin(angle), math.sin(angle)
        matrix = matrix @ turn
    scales = 1 + settings.scale * (2 * torch.rand(3, generator=generator) - 1)
    shift = settings.shift_voxels * (2 * torch.rand(3, generator=generator) - 1)
    return matrix @ torch.diag(scales), shift


def _random_warp(shape: torch.Size, settings: AugmentationSettings, generator: torch.Generator) -> Tensor:
    """A smooth displacement (i, j, k, 3) in voxels, interpolated from control points."""
    points = [max(2, n // settings.elastic_spacing + 2) for n in shape]
    amount = settings.elastic_voxels * _uniform(generator)
    control = torch.randn((1, 3, *points), generator=generator) * amount
    fine = functional.interpolate(control, size=tuple(shape), mode="trilinear", align_corners=True)
    return fine[0].permute(1, 2, 3, 0)


def _change_intensities(image: Tensor, settings: AugmentationSettings, generator: torch.Generator) -> Tensor:
    channels = image.shape[0]
    if settings.blur_voxels and _uniform(generator) < settings.probability:
        image = _blur(image, _uniform(generator, 0.2, settings.blur_voxels))
    if settings.tone and _uniform(generator) < settings.probability:
        image = _tone(image, _uniform(generator, -settings.tone, settings.tone))
    if settings.bias_field and _uniform(generator) < settings.probability:
        image = image * _bias_field(image.shape, settings.bias_field, generator).to(image.device)
    factors, offsets = torch.ones(channels), torch.zeros(channels)
    if settings.contrast and _uniform(generator) < settings.probability:
        factors = 1 + settings.contrast * (2 * torch.rand(channels, generator=generator) - 1)
    if settings.brightness and _uniform(generator) < settings.probability:
        offsets = settings.brightness * (2 * torch.rand(channels, generator=generator) - 1)
    if bool((factors != 1).any() or (offsets != 0).any()):
        # One pass for both.
        offsets, factors = offsets.to(image.device)[:, None, None, None], factors.to(image.device)[:, None, None, None]
        image = torch.addcmul(offsets, image, factors)
    if settings.noise and _uniform(generator) < settings.probability:
        deviation = settings.noise * (_uniform(generator) if settings.is_noise_varied else 1.0)
        image = image + deviation * torch.randn(image.shape, generator=generator).to(image.device)
    return image


def _blur(image: Tensor, deviation: float) -> Tensor:
    radius = max(1, math.ceil(2 * deviation))
    offsets = torch.arange(-radius, radius + 1, dtype=image.dtype, device=image.device)
    kernel = torch.exp(-0.5 * (offsets / deviation) ** 2)
    kernel = kernel / kernel.sum()
    blurred = image[:, None]
    for axis in range(3):
        size, padding = [1, 1, 1], [0, 0, 0]
        size[axis], padding[axis] = len(offsets), radius
        edges = [value for pad in reversed(padding) for value in (pad, pad)]
        blurred = functional.conv3d(functional.pad(blurred, edges, mode="replicate"), kernel.view(1, 1, *size))
    return blurred[:, 0]


def _tone(image: Tensor, amount: float) -> Tensor:
    """Bend each channel's range, as 0 to 1, by u + amount u (1 - u): a mild gamma at the cost of two passes.

    Monotonous for amounts in -1 to 1; the ends of the range stay.
    """
    low = image.amin(dim=(1, 2, 3), keepdim=True)
    width = (image.amax(dim=(1, 2, 3), keepdim=True) - low).clamp_min(1e-6)
    # With x = low + width u this is a quadratic in x; three coefficients a channel.
    square = -amount / width
    linear = 1 + amount + 2 * amount * low / width
    constant = -amount * low * (1 + low / width)
    bent = image * square
    return bent.add_(linear).mul_(image).add_(constant)


def _bias_field(shape: torch.Size, amplitude: float, generator: torch.Generator) -> Tensor:
    control = torch.randn((1, 1, 4, 4, 4), generator=generator) * amplitude * _uniform(generator)
    fine = functional.interpolate(control, size=tuple(shape[1:]), mode="trilinear", align_corners=True)
    return fine[0].exp()
