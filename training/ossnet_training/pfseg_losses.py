"""PFSeg's losses (Wang et al., MICCAI 2021) over its whole output, each as its published code computes it.

Facts of the published code that its paper doesn't tell: the Dice loss has squares below the fraction and no factor of
two above it, so that it lies between one half and one; the guidance's error is averaged over the whole image, not over
the crop; the self-similarity is a sum of absolute differences, divided by the square of the pooled plane's size. With
more than one class, what is one map there is one map a foreground class here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from napari_ossnet.engine.networks.pfseg import PFSeg, Triple
from napari_ossnet.engine.networks.pfseg_frame import (
    centred_start,
    crop_guidance,
    grid_images,
    output_labels,
    start_around,
)
from ossnet_training.config import LossSettings

#: Edge of the cubes in voxels over which the self-similarity's maps are averaged.
POOLED_VOXELS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionMaps:
    """What both terms of task fusion compare; each (b, foreground classes or 1, i, j, k)."""

    #: Probabilities of the foreground classes, and the super-resolved image.
    segmentation: Tensor
    image: Tensor
    #: Labels of the foreground classes, 0 or 1, times the scan.
    truth: Tensor


def pfseg_losses(
    network: PFSeg, grids: Tensor, labels: Tensor, starts: list[Triple], settings: LossSettings
) -> dict[str, Tensor]:
    """The weighted terms of a step by name; their sum is the loss, and a weight of 0 leaves its term out.

    Args:
        network: In training mode.
        grids: Normalised (b, channels, i, j, k).
        labels: Class numbers (b, i, j, k).
        starts: First output voxel of each volume's guidance crop.
        settings: The recipe's weights.
    """
    config = network.config
    images = grid_images(config, grids)
    crops = [
        crop_guidance(config, one, start) for one, start in zip(images.full_resolution.split(1), starts, strict=True)
    ]
    encoding = network.encode(images.low_resolution, torch.cat(crops))
    logits = network.decode(encoding, "seg")
    is_image_wanted = any(
        (settings.super_resolution, settings.guidance, settings.target_enhanced, settings.self_similarity)
    )
    image = network.decode(encoding, "sr") if is_image_wanted else None
    # Products of half-precision numbers are too coarse to be compared.
    with torch.autocast(grids.device.type, enabled=False):
        classes = output_labels(config, labels)
        terms = _segmentation_terms(logits.float(), classes, settings)
        if image is not None:
            truth = foreground_truth(classes, config.classes) * images.full_resolution
            maps = FusionMaps(segmentation=foreground(logits.float()), image=image.float(), truth=truth)
            terms |= _image_terms(network, maps, images.full_resolution, starts, settings)
    return terms


def _segmentation_terms(logits: Tensor, classes: Tensor, settings: LossSettings) -> dict[str, Tensor]:
    terms = {"cross_entropy": cross_entropy(logits, classes)}
    if settings.dice:
        truth = foreground_truth(classes, logits.shape[1])
        terms["dice"] = settings.dice * dice_loss(foreground(logits), truth)
    return terms


def _image_terms(
    network: PFSeg, maps: FusionMaps, scan: Tensor, starts: list[Triple], settings: LossSettings
) -> dict[str, Tensor]:
    config, terms = network.config, {}
    if settings.super_resolution:
        terms["super_resolution"] = settings.super_resolution * functional.mse_loss(maps.image, scan)
    if settings.guidance and config.guidance != "none":
        terms["guidance"] = settings.guidance * guidance_loss(maps.image, scan, starts, config.guidance_shape)
    if settings.target_enhanced:
        terms["target_enhanced"] = settings.target_enhanced * target_enhanced_loss(maps)
    if settings.self_similarity:
        terms["self_similarity"] = settings.self_similarity * self_similarity_loss(maps)
    return terms


def guidance_start(network: PFSeg, label: Tensor, generator: torch.Generator) -> Triple:
    """Where a training volume's guidance begins.

    Centred, as published; with guidance at the object, every other time around the label instead: at inference the
    first pass has to do with a centred crop to find the object.

    Args:
        network: Whose setting counts.
        label: Class numbers (i, j, k) of the grid.
        generator: On the CPU.
    """
    config = network.config
    if config.guidance != "object" or float(torch.rand((), generator=generator)) < 0.5:
        return centred_start(config)
    return start_around(config, output_labels(config, label[None])[0] > 0)


def foreground(logits: Tensor) -> Tensor:
    """Probabilities of the foreground classes (b, K - 1 or 1, ...) from logits (b, K or 1, ...)."""
    return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(dim=1)[:, 1:]


def foreground_truth(classes: Tensor, count: int) -> Tensor:
    """The same of class numbers (b, ...) for a network of ``count`` logits: 0 or 1, float."""
    if count == 1:
        return (classes > 0).float()[:, None]
    return torch.stack([(classes == number).float() for number in range(1, count)], dim=1)


def cross_entropy(logits: Tensor, classes: Tensor) -> Tensor:
    """Mean cross-entropy over all voxels: binary with one logit, else over the softmax."""
    if logits.shape[1] == 1:
        return functional.binary_cross_entropy_with_logits(logits[:, 0], (classes > 0).float())
    return functional.cross_entropy(logits, classes.long())


def dice_loss(probability: Tensor, truth: Tensor) -> Tensor:
    """One minus (sum of p t, + 1) over (sum of p^2 + t^2, + 1), mean over volumes and classes (published code)."""
    overlap = (probability * truth).flatten(2).sum(2)
    squares = (probability.square() + truth.square()).flatten(2).sum(2)
    return (1 - (overlap + 1) / (squares + 1)).mean()


def guidance_loss(image: Tensor, scan: Tensor, starts: list[Triple], size: Triple) -> Tensor:
    """Squared error of the super-resolved image inside each volume's crop, averaged over the whole image."""
    total = image.new_zeros(())
    for number, (i, j, k) in enumerate(starts):
        crop = (number, slice(None), slice(i, i + size[0]), slice(j, j + size[1]), slice(k, k + size[2]))
        total = total + (image[crop] - scan[crop]).square().sum()
    return total / image.numel()


def target_enhanced_loss(maps: FusionMaps) -> Tensor:
    """Mean squared error of segmentation times super-resolved image against label times scan."""
    return functional.mse_loss(maps.segmentation * maps.image, maps.truth)


def self_similarity_loss(maps: FusionMaps, voxels: int = POOLED_VOXELS) -> Tensor:
    """How much the products' similarities of every two places differ, on maps averaged over cubes.

    A similarity is the product (over classes: the inner product) of two places' values. Segmentation and image are
    averaged before they are multiplied, as in the published code. What the cubes leave over at the ends is not seen.

    Args:
        maps: Extents of at least ``voxels``.
        voxels: Edge of a cube.
    """
    found = functional.avg_pool3d(maps.segmentation, voxels) * functional.avg_pool3d(maps.image, voxels)
    truth = functional.avg_pool3d(maps.truth, voxels)
    plane = truth.shape[3] * truth.shape[4]
    found, truth = found.flatten(2), truth.flatten(2)
    differences = truth.transpose(1, 2) @ truth - found.transpose(1, 2) @ found
    return differences.abs().sum(dim=(1, 2)).mean() / plane**2
