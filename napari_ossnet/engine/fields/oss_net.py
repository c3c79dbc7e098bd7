"""O-Net and OSS-Net A to D on one scan: the encoder's constants folded into the decoder, and the windows at hand."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from napari_ossnet.engine.networks.trilinear import sample_trilinear
from napari_ossnet.engine.tensors import Locations, Logits

#: Gives the logits (n, classes) of locations (n, 3).
Query = Callable[[Locations], Logits]


class OSSNetField:
    """An encoded scan that can be asked for the logits of any location.

    Args of the constructor:
        query: The folded decoder, with the scan's windows.
        auxiliary: Logits of the auxiliary segmentation (1, *latent grid), None where the variant has none.
        grid_shape: The network's grid, in voxels.
        class_count: Logits a location.
        bytes_per_location: Working memory for a location of a chunk.
        device: Where locations lie.
    """

    def __init__(
        self,
        query: Query,
        *,
        auxiliary: Tensor | None,
        grid_shape: tuple[int, int, int],
        class_count: int,
        bytes_per_location: int,
        device: torch.device,
    ) -> None:
        self.device = device
        self.class_count = class_count
        self.bytes_per_location = bytes_per_location
        self._query = query
        self._probability = None if auxiliary is None else auxiliary.detach().float().sigmoid()[None]
        self._last_voxel = torch.tensor([size - 1 for size in grid_shape], dtype=torch.float32, device=device)

    def query(self, locations: Locations) -> Logits:
        """Logits (n, classes) float32 of locations (n, 3) float32, grid frame, at voxels and between them."""
        return self._query(locations.to(torch.float32))

    def prior(self, locations: Locations) -> Tensor | None:
        """Where the auxiliary segmentation, resized trilinearly (align_corners=True), exceeds 0.5 (spec section 5)."""
        if self._probability is None:
            return None
        last_cell = self._last_voxel.new_tensor([size - 1 for size in self._probability.shape[2:]])
        cells = locations * (last_cell / self._last_voxel)
        return sample_trilinear(self._probability, cells[None])[0, :, 0] > 0.5
