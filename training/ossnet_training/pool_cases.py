"""Cases of a synthetic pool, read as they lie: cropped, half precision, prepared on the way in.

Nothing is decoded or cached: z-scoring a crop with the zeros around it and placing it on the grid costs less than
reading a prepared grid would.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.tasks import Task
from napari_ossnet.engine.volume import Volume
from ossnet_training.splits import Split
from ossnet_training.synthesis.pool import MANIFEST, PoolEntry, load_scan, read_manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolCase:
    """A scan of a pool as training reads it."""

    entry: PoolEntry
    folder: Path
    task: Task

    @property
    def name(self) -> str:
        """The scan's name in the pool."""
        return self.entry.name

    def grid(self) -> np.ndarray:
        """The prepared grid, float32 (channels, i, j, k): z-scored over the whole scan, then padded (spec 3)."""
        # torch converts half precision several times faster than numpy does.
        crop = torch.from_numpy(np.load(self.folder / f"{self.name}_image.npy")).float()
        means, deviations = _statistics(crop, self.entry.grid_shape)
        grid = torch.zeros((len(crop), *self.task.grid_shape))
        box = grid[(slice(None), *_part(self.task.box_start, self.task.box_shape))]
        box[...] = (-means / deviations)[:, None, None, None]
        for channel, scan, mean, deviation in zip(box, crop, means, deviations, strict=True):
            channel[_part(self.entry.start, self.entry.shape)] = scan.sub_(mean).div_(deviation)
        return grid.numpy()

    def label(self) -> np.ndarray:
        """Class numbers on the grid, uint8 (i, j, k): whole tumour is 1."""
        label = np.zeros(self.task.grid_shape, dtype=np.uint8)
        box = label[_part(self.task.box_start, self.task.box_shape)]
        box[_part(self.entry.start, self.entry.shape)] = np.load(self.folder / f"{self.name}_label.npy") > 0
        return label


def read_pool_case(case: PoolCase) -> tuple[Volume, np.ndarray]:
    """A pool's scan as a volume in its own voxels (1 mm, axes LPS), and its label: whole tumour is 1."""
    image, label = load_scan(case.folder, case.entry)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    names = case.task.modality_names
    return Volume(data=image, affine=affine, channel_names=names), (label > 0).astype(np.uint8)


def is_pool(folder: Path, layout: str) -> bool:
    """Whether a data set of this layout (``auto`` looks at what lies in it) is a pool."""
    return layout == "pool" or (layout == "auto" and (folder / MANIFEST).is_file())


def find_pool_cases(folder: Path, task: Task) -> tuple[list[PoolCase], Split]:
    """All scans of a pool and its own split: heads that validate never train.

    Raises:
        InputError: There is no pool, its scans don't fit the task, or one side of the split is empty.
    """
    entries = read_manifest(folder)
    wrong = [entry.name for entry in entries if entry.grid_shape != task.box_shape]
    if wrong or task.channels != 4 or len(task.classes) != 1:
        raise InputError(
            f"The pool {folder} holds four-channel brains of {task.box_shape} for whole tumour; {task.name} differs."
        )
    held = {entry.head for entry in entries if entry.split == "val"}
    # A pool without scans set apart gives those of every tenth head.
    held = held or set(sorted({entry.head for entry in entries})[::10])
    split = Split(
        training=tuple(entry.name for entry in entries if entry.head not in held),
        validation=tuple(entry.name for entry in entries if entry.head in held),
    )
    if not split.training or not split.validation:
        raise InputError(f"The pool {folder} needs scans that train and scans that validate; make more of them.")
    return [PoolCase(entry=entry, folder=folder, task=task) for entry in entries], split


def _part(start: tuple[int, ...], shape: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(a, a + n) for a, n in zip(start, shape, strict=True))


def _statistics(crop: Tensor, grid_shape: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """Mean and unbiased deviation of each channel over the whole scan, of which all but the crop is 0."""
    voxels = float(np.prod(grid_shape))
    # Sums of rows first: the few that are left are added in float64.
    sums = crop.sum(dim=(2, 3)).double().sum(dim=1)
    squares = torch.linalg.vector_norm(crop, dim=(2, 3)).double().square().sum(dim=1)
    means = sums / voxels
    return means.float(), ((squares - voxels * means.square()) / (voxels - 1)).sqrt().float()
