"""Overlap of two label maps by counts: Dice and IoU a class and of the whole foreground."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def overlap_counts(found: Tensor, truth: Tensor, classes: int) -> Tensor:
    """(classes + 1, 3) float64: voxels found, true, and both; row 0 is the whole foreground, then class 1, 2, ...

    Args:
        found: Class numbers, any shape.
        truth: Class numbers, the same shape.
        classes: Foreground classes.
    """
    rows = [(found > 0, truth > 0)] + [(found == number, truth == number) for number in range(1, classes + 1)]
    return torch.tensor([[int(a.sum()), int(b.sum()), int((a & b).sum())] for a, b in rows], dtype=torch.float64)


def dice_of(counts: Tensor) -> Tensor:
    """Dice (...) from counts (..., 3); 1 where nothing was found and nothing is there."""
    total = counts[..., 0] + counts[..., 1]
    return torch.where(total > 0, 2 * counts[..., 2] / total.clamp_min(1), torch.ones_like(total))


def iou_of(counts: Tensor) -> Tensor:
    """Intersection over union (...) from counts (..., 3); 1 where nothing was found and nothing is there."""
    union = counts[..., 0] + counts[..., 1] - counts[..., 2]
    return torch.where(union > 0, counts[..., 2] / union.clamp_min(1), torch.ones_like(union))


def class_columns(names: Sequence[str]) -> list[str]:
    """What the rows of `overlap_counts` are called: ``whole`` first, then the classes where there is more than one."""
    return ["whole", *names] if len(names) > 1 else ["whole"]
