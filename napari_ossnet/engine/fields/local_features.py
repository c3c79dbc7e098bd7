"""Local features of OSS-Net X at inference: computed block by block where they are asked for, kept while they fit.

A branch's features depend on a block of voxels and a small halo alone (``networks/local_features.py``), so those of a
block are computed when the first locations fall into it, and time and memory grow with the surface that is looked at
rather than with the grid. Where only a few locations fall into a block, as on the coarse steps of an octree, the
windows of these locations alone are convolved.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from napari_ossnet.engine.kernels.box_kernels import copy_boxes
from napari_ossnet.engine.kernels.compilation import compiled, is_compiled
from napari_ossnet.engine.networks.local_features import LocalBranch, cut_box
from napari_ossnet.engine.networks.trilinear import corners_and_weights, weighted_rows
from napari_ossnet.engine.scans.scan_grid import ScanGrid

#: Feature voxels an axis of a block: small blocks follow a surface closely, large ones waste less on their halo.
BLOCK = 8
#: A block is computed once its locations' own windows have cost, or would cost, this share of its multiply-adds: others
#: are likely to fall into it, and a large box takes less time for each of them. Confirmed by the clock.
SHARE_OF_A_BLOCK = 0.3
#: Blocks that are kept however small the budget.
LEAST_CAPACITY = 16
#: Voxels of blocks, or of windows, that are convolved at once: more fill a GPU, fewer stay in a CPU's cache.
VOXELS_AT_ONCE = {"cpu": 2**17, "cuda": 2**20, "mps": 2**19}


class LocalFeatures:
    """The features of one branch on one scan.

    Args of the constructor:
        branch: In eval mode, on the device of the grid.
        grid: The normalised grid (channels, i, j, k), or the scan that it is (on the CPU, with compiled kernels).
        memory_bytes: What kept blocks may take; the least recently used give way.
    """

    def __init__(self, branch: LocalBranch, grid: Tensor | ScanGrid, memory_bytes: int) -> None:
        self.branch = branch
        self.grid = grid
        self.edge = BLOCK + 1  # the voxels that interpolate up to the next block's first
        voxels = [-(-extent // branch.scale) for extent in grid.shape[1:]]
        self.shape = torch.Size(grid.shape[1:])
        self.blocks = [-(-extent // BLOCK) for extent in voxels]
        count = self.blocks[0] * self.blocks[1] * self.blocks[2]
        device = torch.device("cpu") if isinstance(grid, ScanGrid) else grid.device
        block_bytes = self.edge**3 * branch.out_channels * 4
        self._voxels_at_once = VOXELS_AT_ONCE.get(device.type, 2**19)
        self.capacity = min(count, max(LEAST_CAPACITY, memory_bytes // block_bytes))
        #: Row of each block in the pool (-1: not there), locations that it was asked for, and when it was used last.
        self._slots = torch.full((count,), -1, dtype=torch.long, device=device)
        self._asked = torch.zeros(count, dtype=torch.long, device=device)
        self._used = torch.full((self.capacity,), -1, dtype=torch.long, device=device)
        self._owners = torch.full((self.capacity,), -1, dtype=torch.long, device=device)
        self._pool = torch.empty((0, branch.out_channels), device=device)
        self._clock = 0
        #: Blocks and single windows that were computed so far.
        self.computed_blocks = 0
        self.computed_windows = 0

    def sample(self, locations: Tensor) -> Tensor:
        """Features (n, channels) at locations (n, 3) of the grid, the same as from the dense computation."""
        frame = self.branch.clamp(self.branch.frame(locations), self.shape)
        cells = (frame / BLOCK).long()
        blocks = (cells[:, 0] * self.blocks[1] + cells[:, 1]) * self.blocks[2] + cells[:, 2]
        unique, inverse, counts = torch.unique(blocks, return_inverse=True, return_counts=True)
        self._asked[unique] += counts
        enough = self.locations_a_block(is_between=bool((frame != frame.round()).any()))
        is_kept = (self._slots[unique] >= 0) | (self._asked[unique] >= enough)
        features = frame.new_empty((len(frame), self.branch.out_channels))
        alone = (~is_kept[inverse]).nonzero()[:, 0]
        if len(alone):
            features[alone] = self._from_windows(frame[alone])
        kept = unique[is_kept]
        if len(kept) <= self.capacity and not len(alone):
            self._load(kept)
            return self._from_blocks(frame, cells, blocks)
        for group in kept.split(self.capacity):
            self._load(group)
            members = torch.isin(blocks, group).nonzero()[:, 0]
            features[members] = self._from_blocks(frame[members], cells[members], blocks[members])
        return features

    def locations_a_block(self, *, is_between: bool) -> int:
        """How many locations pay for their block: between voxels a window has eight voxels, else one."""
        window = self.branch.multiply_adds(2 if is_between else 1)
        return max(2, round(SHARE_OF_A_BLOCK * self.branch.multiply_adds(self.edge) / window))

    def _from_blocks(self, frame: Tensor, cells: Tensor, blocks: Tensor) -> Tensor:
        corners, weights = corners_and_weights(frame - cells * BLOCK, (self.edge, self.edge, self.edge))
        return weighted_rows(self._pool, corners + (self._slots[blocks] * self.edge**3)[:, None], weights)

    def _load(self, blocks: Tensor) -> None:
        """Sees to it that all of the blocks (at most the capacity) are in the pool."""
        self._clock += 1
        slots = self._slots[blocks]
        self._used[slots[slots >= 0]] = self._clock
        missing = blocks[slots < 0]
        if not len(missing):
            return
        places = self._free_places(len(missing))
        evicted = self._owners[places]
        evicted = evicted[evicted >= 0]
        self._slots[evicted], self._asked[evicted] = -1, 0
        # Nobody's until they are computed: memory may run out in between, and the run then asks again.
        self._owners[places], self._used[places] = -1, -1
        rows = self._pool.view(-1, self.edge**3, self.branch.out_channels)
        at_once = self._at_once(self.edge)
        for some, there in zip(missing.split(at_once), places.split(at_once), strict=True):
            rows[there] = self._convolved(self._firsts(some), self.edge)
        self._owners[places], self._slots[missing], self._used[places] = missing, places, self._clock
        self.computed_blocks += len(missing)

    def _free_places(self, count: int) -> Tensor:
        """The least recently used places of the pool, which grows by doubling until its capacity."""
        grown = len(self._pool) // self.edge**3
        used = int((self._owners[:grown] >= 0).sum())
        if used + count > grown and grown < self.capacity:
            size = min(self.capacity, max(2 * grown, used + count, 4 * LEAST_CAPACITY))
            pool = self._pool.new_empty((size * self.edge**3, self.branch.out_channels))
            pool[: len(self._pool)] = self._pool
            self._pool, grown = pool, size
        return self._used[:grown].topk(count, largest=False).indices

    def _firsts(self, blocks: Tensor) -> Tensor:
        """First feature voxel of each block, (n, 3)."""
        _, j, k = self.blocks
        return torch.stack([blocks // (j * k), blocks // k % j, blocks % k], dim=1) * BLOCK

    def _from_windows(self, frame: Tensor) -> Tensor:
        """Features at single locations, from windows that hold the two voxels an axis around each, or just the one."""
        lower = frame.floor()
        fraction = frame - lower
        if not fraction.any():
            count, weights = 1, frame.new_ones((len(frame), 1))
        else:
            count = 2
            shares = torch.stack([1 - fraction, fraction], dim=1)  # (n, 2, 3)
            weights = torch.einsum("ni,nj,nk->nijk", shares[..., 0], shares[..., 1], shares[..., 2]).flatten(1)
        self.computed_windows += len(frame)
        at_once = self._at_once(count)
        parts = [
            (self._convolved(some, count) * share[..., None]).sum(1)
            for some, share in zip(lower.long().split(at_once), weights.split(at_once), strict=True)
        ]
        return torch.cat(parts)

    def _at_once(self, count: int) -> int:
        """Boxes of ``count``^3 feature voxels that are convolved at once, a power of two."""
        boxes = self._voxels_at_once // (count + 2 * self.branch.radius) ** 3
        return 1 << max(0, boxes.bit_length() - 1)

    def _convolved(self, firsts: Tensor, count: int) -> Tensor:
        """Features (n, count^3, channels) of the boxes of feature voxels that begin at ``firsts`` (n, 3)."""
        branch = self.branch
        size = branch.scale * (count + 2 * branch.radius)
        windows = gather_windows(self.grid, branch.scale * (firsts - branch.radius), size)
        # Not in channels-last memory, as whole grids are: with so few voxels and channels the plain one is faster.
        features = branch.layers(windows)[: len(firsts)]
        return features.permute(0, 2, 3, 4, 1).flatten(1, 3)


def gather_windows(grid: Tensor | ScanGrid, starts: Tensor, size: int) -> Tensor:
    """Boxes of ``size``^3 voxels of a grid, zeros where they leave it.

    Args:
        grid: (channels, i, j, k); a scan that is one needs compiled kernels.
        starts: First voxel of each box, int (n, 3).
        size: Voxels an axis.

    Returns:
        (n or a few more, channels, size, size, size): as many as the next power of two, because each new number costs
        the convolutions a set-up; those beyond n are zero.
    """
    count = 1 << (len(starts) - 1).bit_length()
    if isinstance(grid, ScanGrid):
        # The mean becomes zero, exactly, which is what the grid is continued by.
        boxes = _copied(grid.data, starts, size, count, outside=grid.means)
        grid.normalise(boxes[: len(starts)], axis=1)
        return torch.from_numpy(boxes)
    if grid.device.type == "cpu" and is_compiled():
        nothing = np.zeros(grid.shape[0], np.float32)
        return torch.from_numpy(_copied(grid.numpy(), starts, size, count, outside=nothing))
    ends = [extent - size for extent in grid.shape[1:]]
    windows = [
        grid[:, i : i + size, j : j + size, k : k + size]
        if 0 <= i <= ends[0] and 0 <= j <= ends[1] and 0 <= k <= ends[2]
        else cut_box(grid, (i, j, k), (size, size, size))
        for i, j, k in starts.tolist()
    ]
    spare = count - len(windows)
    # A slice each: on the CPU several times faster than one gather over a strided view of all windows.
    return torch.stack(windows + spare * [grid.new_zeros(()).expand(windows[0].shape)])


def _copied(grid: np.ndarray, starts: Tensor, size: int, count: int, outside: np.ndarray) -> np.ndarray:
    """The boxes by the compiled loop, and zeros up to ``count`` of them."""
    boxes = np.empty((count, grid.shape[0], size, size, size), np.float32)
    boxes[len(starts) :] = 0
    compiled(copy_boxes)(grid, starts.numpy(), outside, boxes[: len(starts)])
    return boxes
