"""Owns the sample grids of the steps: which lattice points a step has, their neighbours, and the cells between them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

Triple = tuple[int, int, int]

#: Offsets from a sample to its six neighbours.
FACES = torch.tensor([(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)])
#: Offsets from a cell's lowest corner to all eight, the last axis fastest.
CORNERS = torch.cartesian_prod(*[torch.arange(2)] * 3)
#: Offsets from a sample to the lowest corners of the eight cells that it belongs to.
_CELLS_AROUND = torch.cartesian_prod(*[torch.arange(-1, 1)] * 3)
#: Offsets from a cell to itself and the 26 that touch it.
CELLS_BESIDE = torch.cartesian_prod(*[torch.arange(-1, 2)] * 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelGrid:
    """Every ``steps``-th point of a lattice on each axis, and the last one, so that the cells cover the whole lattice.

    Sample a of an axis is lattice point min(a * step, points - 1). A key is the linear index of a sample, int64; a
    cell is named by the key of its lowest corner.

    Attributes:
        lattice_shape: Points of the lattice.
        steps: Lattice points from one sample to the next on each axis.
    """

    lattice_shape: Triple
    steps: Triple

    @property
    def shape(self) -> Triple:
        """Samples on each axis, the clamped last one included."""
        i, j, k = (-(-(size - 1) // step) + 1 for size, step in zip(self.lattice_shape, self.steps, strict=True))
        return i, j, k

    @property
    def regular_shape(self) -> Triple:
        """Samples on each axis that are whole steps apart: those that a snapshot shows."""
        i, j, k = ((size - 1) // step + 1 for size, step in zip(self.lattice_shape, self.steps, strict=True))
        return i, j, k

    @property
    def count(self) -> int:
        """The number of samples."""
        i, j, k = self.shape
        return i * j * k

    def samples_of(self, keys: Tensor) -> Tensor:
        """Sample indices (n, 3), int64, of keys (n,)."""
        _, j, k = self.shape
        return torch.stack(
            [
                torch.div(keys, j * k, rounding_mode="floor"),
                torch.div(keys, k, rounding_mode="floor") % j,
                keys % k,
            ],
            dim=-1,
        )

    def keys_of(self, samples: Tensor) -> Tensor:
        """Keys (n,) of sample indices (n, 3)."""
        _, j, k = self.shape
        return (samples[..., 0] * j + samples[..., 1]) * k + samples[..., 2]

    def points_of(self, keys: Tensor) -> Tensor:
        """Lattice indices (n, 3), int64, of keys (n,)."""
        steps, last = self._constants(keys.device)
        return torch.minimum(self.samples_of(keys) * steps, last)

    def shifted(self, keys: Tensor, offsets: Tensor) -> Tensor:
        """Keys (n, m) of the samples that lie ``offsets`` (m, 3) from each key (n,), clamped to the grid."""
        last = torch.tensor(self.shape, device=keys.device) - 1
        samples = self.samples_of(keys)[:, None, :] + offsets.to(keys.device)
        return self.keys_of(torch.minimum(samples.clamp_(min=0), last))

    def cells_around(self, keys: Tensor) -> Tensor:
        """Cells, sorted keys (m,), that have any of the samples (n,) as a corner."""
        return self.existing_cells(self.shifted(keys, _CELLS_AROUND).flatten().unique())

    def existing_cells(self, keys: Tensor) -> Tensor:
        """Those of the keys that name a cell: all but the last sample of each axis, unless it is the only one."""
        last = torch.tensor(self.shape, device=keys.device) - 1
        samples = self.samples_of(keys)
        return keys[((samples < last) | (last == 0)).all(dim=1)]

    def _constants(self, device: torch.device) -> tuple[Tensor, Tensor]:
        return torch.tensor(self.steps, device=device), torch.tensor(self.lattice_shape, device=device) - 1
