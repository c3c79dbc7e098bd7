"""Owns where the octree looks although a cell's corners agree: what the encoder suspects, what is known already."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from napari_ossnet.engine.fields.protocol import OccupancyField
from napari_ossnet.engine.geometry import Lattice
from napari_ossnet.engine.refining.level_grid import LevelGrid
from napari_ossnet.engine.refining.octree import KNOWN, Level

#: In the prior's object every sample down to this spacing, in grid voxels, is evaluated ...
SEARCH_SPACING = 8
#: ... and down to this one where nothing was found so far, nor in the blocks beside.
FINE_SEARCH_SPACING = 4
#: Edge of those blocks in grid voxels: a cell of the latent grid of the tumour task.
BLOCK = 32
_BESIDE = torch.cartesian_prod(*[torch.arange(-1, 2)] * 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeds:
    """Places near which there is a boundary, known from somewhere else.

    Attributes:
        points: Lattice locations, real numbers, (n, 3).
        step: How exactly they are known, in lattice points: down to this step they are searched.
    """

    points: Tensor
    step: float


class Hints:
    """Chooses cells to be searched; hints only ever add points, they never spare any."""

    def __init__(self, field: OccupancyField, lattice: Lattice, seeds: Seeds | None) -> None:
        self._field = field
        self._lattice = lattice
        self._seeds = seeds
        #: Grid voxels from one lattice point to the next, on the finest axis.
        self._spacing = float(np.sqrt((lattice.to_grid[:3, :3] ** 2).sum(axis=0)).min())
        somewhere = torch.zeros((1, 3), dtype=torch.float32, device=field.device)
        #: Whether the encoder has an opinion of its own.
        self.has_prior = field.prior(somewhere) is not None

    def cells_to_search(self, level: Level) -> Tensor | None:
        """Cells of the level, sorted keys, whose samples are all to be evaluated at the next step; None for none."""
        found = [cells for cells in (self._suspected(level), self._seeded(level)) if cells is not None]
        return torch.cat(found).unique() if found else None

    def _suspected(self, level: Level) -> Tensor | None:
        next_spacing = level.step * self._spacing / 2
        if not self.has_prior or next_spacing < FINE_SEARCH_SPACING:
            return None
        locations = self._lattice.locations(level.grid.points_of(level.keys).to(self._field.device))
        is_suspected = self._field.prior(locations)
        assert is_suspected is not None
        is_suspected, locations = is_suspected.to(level.keys.device), locations.to(level.keys.device)
        if next_spacing < SEARCH_SPACING:
            is_suspected = is_suspected & ~self._is_near_found(level, locations)
        return level.grid.cells_around(level.keys[is_suspected])

    def _is_near_found(self, level: Level, locations: Tensor) -> Tensor:
        """Which locations (n, 3) lie in a block, or beside one, in which something was found."""
        blocks = torch.div(locations, BLOCK, rounding_mode="floor").long() + 1
        found = blocks[level.state[level.keys] > KNOWN].unique(dim=0)
        beside = (found[:, None, :] + _BESIDE.to(found.device)).reshape(-1, 3)
        return torch.isin(_packed(blocks), _packed(beside))

    def _seeded(self, level: Level) -> Tensor | None:
        if self._seeds is None or level.step <= self._seeds.step:
            return None
        return _cells_containing(level.grid, self._seeds.points.to(level.keys.device))


def _cells_containing(grid: LevelGrid, points: Tensor) -> Tensor:
    steps = torch.tensor(grid.steps, device=points.device)
    highest = (torch.tensor(grid.shape, device=points.device) - 2).clamp_(min=0)
    samples = torch.div(points, steps, rounding_mode="floor").long().clamp_(min=0)
    return grid.keys_of(torch.minimum(samples, highest)).unique()


def _packed(blocks: Tensor) -> Tensor:
    """One number for each block (n, 3) of indices below 1023."""
    return ((blocks[:, 0] + 1) * 1024 + blocks[:, 1] + 1) * 1024 + blocks[:, 2] + 1
