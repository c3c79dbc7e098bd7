"""Owns the sample grids of the steps: which lattice points a step has, their neighbours, and the cells between them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

Triple = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelGrid:
    """Every ``steps``-th point of a lattice on each axis, and the last one, so that the cells cover the whole lattice.

    Sample a of an axis is lattice point min(a * step, points - 1). A key is the linear index of a sample, int64; a
    cell is named by the key of its lowest corner. On an axis of one sample the cells are flat: both ends are that one.

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
        return torch.stack(self._samples(keys), dim=-1)

    def keys_of(self, samples: Tensor) -> Tensor:
        """Keys (n,) of sample indices (n, 3)."""
        _, j, k = self.shape
        return (samples[..., 0] * j + samples[..., 1]) * k + samples[..., 2]

    def points_of(self, keys: Tensor) -> Tensor:
        """Lattice indices (n, 3), int64, of keys (n,)."""
        axes = zip(self._samples(keys), self.steps, self.lattice_shape, strict=True)
        return torch.stack([(sample * step).clamp_(max=size - 1) for sample, step, size in axes], dim=-1)

    def neighbours(self, keys: Tensor) -> Iterator[Tensor]:
        """Six times keys (n,): the samples after and before each key on each axis; at the grid's end the key itself.

        One after the other, because all at once would be the largest thing in memory.
        """
        for sample, size, stride in zip(self._samples(keys), self.shape, self._strides(), strict=True):
            yield torch.where(sample < size - 1, keys + stride, keys)
            yield torch.where(sample > 0, keys - stride, keys)

    def corners(self, cells: Tensor) -> Tensor:
        """Keys (n, 8) of the corners of existing cells (n,), the last axis fastest."""
        strides = [stride if size > 1 else 0 for size, stride in zip(self.shape, self._strides(), strict=True)]
        offsets = [sum(s for s, is_upper in zip(strides, upper, strict=True) if is_upper) for upper in _CORNERS]
        return cells[:, None] + torch.tensor(offsets, device=cells.device)

    def cells_around(self, keys: Tensor) -> Tensor:
        """Cells, sorted keys (m,), that have any of the samples (n,) as a corner."""
        samples = self._samples(keys)
        can_go_down = [sample > 0 for sample in samples]
        can_stay = [(sample < size - 1) | (size == 1) for sample, size in zip(samples, self.shape, strict=True)]
        found = []
        for down in _CORNERS:
            exists = torch.ones_like(keys, dtype=torch.bool)
            shift = 0
            for axis, (goes_down, stride) in enumerate(zip(down, self._strides(), strict=True)):
                exists &= can_go_down[axis] if goes_down else can_stay[axis]
                shift += stride if goes_down else 0
            found.append(keys[exists] - shift)
        return torch.cat(found).unique()

    def existing_cells(self, keys: Tensor) -> Tensor:
        """Those of the keys that name a cell: all but the last sample of each axis, unless it is the only one."""
        exists = torch.ones_like(keys, dtype=torch.bool)
        for sample, size in zip(self._samples(keys), self.shape, strict=True):
            exists &= (sample < size - 1) | (size == 1)
        return keys[exists]

    def _samples(self, keys: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        _, j, k = self.shape
        row = torch.div(keys, k, rounding_mode="floor")
        plane = torch.div(row, j, rounding_mode="floor")
        return plane, row - plane * j, keys - row * k

    def _strides(self) -> Triple:
        _, j, k = self.shape
        return j * k, k, 1


_CORNERS = list(product((False, True), repeat=3))
