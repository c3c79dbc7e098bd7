"""Owns how logits become labels at a threshold, and how sure a label is."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.tensors import Logits


class Decision:
    """Labels from logits at one threshold.

    One class: occupied where the probability exceeds the threshold t, that is where the logit exceeds
    log(t / (1 - t)). Several classes, background first: the largest logit wins after the background's has been raised
    by log(t / (1 - t)); at 0.5 this is the plain argmax, and for two classes it is the same as the sigmoid.

    Raises:
        InputError: The threshold is not between 0 and 1, exclusive.
    """

    def __init__(self, threshold: float) -> None:
        if not 0.0 < threshold < 1.0:
            raise InputError(f"The threshold must lie between 0 and 1, got {threshold:g}; 0.5 is the usual one.")
        self.threshold = threshold
        self.logit = math.log(threshold / (1.0 - threshold))

    def labels(self, logits: Logits) -> Tensor:
        """The winning class of each location, uint8 (n,); 0 is background."""
        if logits.shape[1] == 1:
            return (logits[:, 0] > self.logit).to(torch.uint8)
        return self._shifted(logits).argmax(dim=1).to(torch.uint8)

    def margins(self, logits: Logits) -> Tensor:
        """How far each location is from another label, (n,), at least 0, in logits."""
        if logits.shape[1] == 1:
            return (logits[:, 0] - self.logit).abs()
        best = self._shifted(logits).topk(2, dim=1).values
        return best[:, 0] - best[:, 1]

    def heights(self, logits: Logits, column: int | None = None) -> Tensor:
        """How far each location is above the surface of a class, (n,): positive inside, zero on it, in logits.

        Args:
            logits: (n, classes).
            column: The class among several; None takes everything that is not background.
        """
        if logits.shape[1] == 1:
            return logits[:, 0] - self.logit
        shifted = self._shifted(logits)
        column_logits = shifted[:, 1:].amax(dim=1) if column is None else shifted[:, column]
        if column is None:
            return column_logits - shifted[:, 0]
        return column_logits - torch.cat([shifted[:, :column], shifted[:, column + 1 :]], dim=1).amax(dim=1)

    def _shifted(self, logits: Logits) -> Logits:
        shifted = logits.clone()
        shifted[:, 0] += self.logit
        return shifted
