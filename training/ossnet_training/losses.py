"""What a training step minimises: cross-entropy at the locations, the auxiliary segmentation's, and soft Dice."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def occupancy_loss(logits: Tensor, classes: Tensor) -> Tensor:
    """Mean cross-entropy: binary for one logit a location, else over the softmax (paper section 3.4).

    Args:
        logits: (..., 1) or (..., K).
        classes: Class numbers (...), integer; above 0 is foreground where there is one logit.
    """
    if logits.shape[-1] == 1:
        return functional.binary_cross_entropy_with_logits(logits[..., 0].float(), (classes > 0).float())
    return functional.cross_entropy(logits.float().reshape(-1, logits.shape[-1]), classes.reshape(-1).long())


def auxiliary_loss(logits: Tensor, label: Tensor) -> Tensor:
    """Binary cross-entropy between the auxiliary segmentation and the label max-pooled to its grid.

    A cell is occupied where any of its voxels is (spec section 4).

    Args:
        logits: (batch, 1, li, lj, lk).
        label: Class numbers (batch, i, j, k).
    """
    return functional.binary_cross_entropy_with_logits(logits.float(), occupied_cells(label, logits.shape[2:]).float())


def occupied_cells(label: Tensor, cells: torch.Size) -> Tensor:
    """Which cells (batch, 1, li, lj, lk) of a coarse grid hold any foreground voxel, bool."""
    occupied = label > 0
    if all(size % count == 0 for size, count in zip(label.shape[1:], cells, strict=True)):
        for axis, count in zip((1, 2, 3), cells, strict=True):
            occupied = occupied.unflatten(axis, (count, -1)).any(dim=axis + 1)
        return occupied[:, None]
    return functional.adaptive_max_pool3d(occupied.float()[:, None], cells) > 0


def padded_to_cells(label: Tensor, width: int) -> Tensor:
    """Class numbers (batch, i, j, k) with background added at the end up to whole cells, as OSS-Net X pads its grid."""
    i, j, k = (-extent % width for extent in label.shape[1:])
    return functional.pad(label, [0, k, 0, j, 0, i]) if i or j or k else label


def dice_loss(logits: Tensor, classes: Tensor) -> Tensor:
    """One minus the soft Dice over a volume's locations, mean over volumes and foreground classes.

    By volume, so that a batch shared by several processes gives what one process gives.

    Args:
        logits: (batch, n, 1) or (batch, n, K).
        classes: Class numbers (batch, n), integer.
    """
    if logits.shape[-1] == 1:
        probability, truth = logits.float().sigmoid(), (classes[..., None] > 0).float()
    else:
        probability = logits.float().softmax(dim=-1)[..., 1:]
        truth = functional.one_hot(classes.long(), logits.shape[-1])[..., 1:].float()
    overlap = (probability * truth).sum(1)
    return 1 - ((2 * overlap + 1) / (probability.sum(1) + truth.sum(1) + 1)).mean()


def classes_at(label: Tensor, indices: Tensor) -> Tensor:
    """Class numbers (n,) of a label (i, j, k) at whole voxels (n, 3)."""
    i, j, k = indices.to(label.device).unbind(1)
    return label[i, j, k]


def predicted_classes(logits: Tensor) -> Tensor:
    """Class numbers (...), uint8, that logits (..., K) stand for: above one half, or the largest."""
    if logits.shape[-1] == 1:
        return (logits[..., 0] > 0).to(torch.uint8)
    return logits.argmax(dim=-1).to(torch.uint8)
