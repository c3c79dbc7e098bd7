"""Feeding a run: which case comes in which step on which rank, as a pure function of the steps done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

#: First and past-the-last voxel of a part of the grid.
Window = tuple[tuple[int, int, int], tuple[int, int, int]]


class ReadableCase(Protocol):
    """A case that training can read: prepared grid, half or full precision, and class numbers uint8 (i, j, k)."""

    @property
    def name(self) -> str:
        """The case's name."""
        ...

    def grid(self) -> np.ndarray:
        """The prepared grid."""
        ...

    def label(self) -> np.ndarray:
        """The label on it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One case of one epoch.

    ``grid`` (channels, i, j, k) float16 or float32, normalised; ``label`` (i, j, k) uint8; ``number`` is the case's
    place in the training list, which with ``epoch`` seeds its locations and augmentation; ``window`` is the part of
    the grid that the encoder sees, None for all of it.
    """

    grid: Tensor
    label: Tensor
    number: int
    epoch: int
    name: str
    window: Window | None = None


class CaseDataset(Dataset[Sample]):
    """Cases by (epoch, number).

    Args:
        cases: All of one side of the split.
        find_window: The part of a prepared grid that the network's encoder sees, where that isn't all of it.
    """

    def __init__(
        self, cases: Sequence[ReadableCase], find_window: Callable[[np.ndarray], Window] | None = None
    ) -> None:
        self.cases = list(cases)
        self._find_window = find_window
        self._windows: dict[int, Window] = {}

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        epoch, number = key
        case = self.cases[number]
        grid = _writable(case.grid())
        if self._find_window is not None and number not in self._windows:
            self._windows[number] = self._find_window(grid)
        return Sample(
            grid=torch.from_numpy(grid),
            label=torch.from_numpy(_writable(case.label())),
            number=number,
            epoch=epoch,
            name=case.name,
            window=self._windows.get(number),
        )


class ResumableBatches(Sampler[list[tuple[int, int]]]):
    """Batches of (epoch, number), the same whatever the number of ranks and however often the run was resumed.

    Every epoch is a permutation seeded by (seed, epoch), cut into global batches; a rank takes its consecutive share
    of each, so that two ranks with half a batch see what one with a whole batch would. A short last batch is filled
    from the epoch's beginning.

    Args:
        count: Training cases.
        batch_size: Cases a step over all ranks; a multiple of ``ranks``.
        seed: The run's.
        steps_done: Tells how many steps the run has behind it; asked at the start of each pass.
        rank: This process.
        ranks: All processes.
    """

    def __init__(
        self, count: int, batch_size: int, seed: int, steps_done: Callable[[], int], rank: int = 0, ranks: int = 1
    ) -> None:
        self.count, self.seed, self.steps_done = count, seed, steps_done
        self.batch_size, self.rank, self.ranks = batch_size, rank, ranks
        self.steps = max(1, -(-count // batch_size))

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, first = divmod(self.steps_done(), self.steps)
        order = np.random.default_rng((self.seed, epoch)).permutation(self.count)
        order = np.resize(order, self.steps * self.batch_size)
        share = self.batch_size // self.ranks
        for step in range(first, self.steps):
            start = step * self.batch_size + self.rank * share
            yield [(epoch, int(number)) for number in order[start : start + share]]


def build_loader(dataset: CaseDataset, batches: Iterable[list[tuple[int, int]]], workers: int) -> DataLoader:
    """A loader of lists of samples."""
    return DataLoader(
        dataset,
        batch_sampler=batches,
        collate_fn=_as_list,
        num_workers=workers,
        prefetch_factor=2 if workers else None,
        multiprocessing_context="spawn" if workers else None,
    )


def _as_list(samples: list[Sample]) -> list[Sample]:
    return samples


def _writable(array: np.ndarray) -> np.ndarray:
    """The array itself, or a copy in memory of one that lies in a file."""
    return array if array.flags.writeable else np.array(array)
