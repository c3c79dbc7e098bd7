"""What refinement, surfaces and front ends know of a network on a scan: a field that any location can be asked of."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from napari_ossnet.engine.tensors import Locations, Logits


@runtime_checkable
class OccupancyField(Protocol):
    """A scan that has been encoded: logits at any location of the network's grid.

    Implementations fold everything that is constant for the scan; ``query`` runs without gradients.
    """

    #: Where locations must lie and logits come out.
    device: torch.device
    #: 1: binary, a sigmoid; more: a softmax with the background first.
    class_count: int
    #: Working memory that ``query`` takes for each location of a chunk, about.
    bytes_per_location: int

    def query(self, locations: Locations) -> Logits:
        """Logits (n, class_count) float32 of one chunk.

        Args:
            locations: (n, 3) float32, grid frame, in voxels (an integer is a voxel's centre), on ``device``; the
                caller keeps n small.
        """
        ...

    def prior(self, locations: Locations) -> Tensor | None:
        """Where the encoder alone says "may be occupied", (n,) bool; None where the variant can't say."""
        ...
