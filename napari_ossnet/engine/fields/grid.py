"""A dense network on one scan: its logits on a grid, interpolated, so that it can be asked like any other field."""

from __future__ import annotations

import torch
from torch import Tensor

from napari_ossnet.engine.networks.trilinear import sample_trilinear
from napari_ossnet.engine.tensors import Locations, Logits


class GridField:
    """A grid of logits.

    Args of the constructor:
        logits: (classes, i, j, k) on the device where locations will lie.
    """

    def __init__(self, logits: Tensor) -> None:
        self.device = logits.device
        self.class_count = logits.shape[0]
        # Eight neighbours with their weights and indices, then their sum.
        self.bytes_per_location = 8 * (8 + 4) * 4 + 4 * self.class_count
        self._logits = logits.detach().float()[None].contiguous(memory_format=torch.channels_last_3d)

    @torch.no_grad()
    def query(self, locations: Locations) -> Logits:
        """Logits (n, classes) float32 of locations (n, 3), grid frame; outside the grid the nearest border value."""
        return sample_trilinear(self._logits, locations.to(torch.float32)[None])[0]

    def prior(self, locations: Locations) -> Tensor | None:
        """None: a dense network has no cheaper opinion than its logits."""
        del locations
        return None
