"""Feeding a run: which case comes in which step on which rank, as a pure function of the steps done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ossnet_training.cache import CachedCase


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One case of one epoch.

    ``grid`` (channels, i, j, k) float16 normalised, ``label`` (i, j, k) uint8; ``number`` is the case's place in the
    training list, which with ``epoch`` seeds its locations and augmentation.
    """

    grid: Tensor
    label: Tensor
    number: int
    epoch: int
    name: str


class CaseDataset(Dataset[Sample]):
    """Cached cases by (epoch, number)."""

    def __init__(self, cases: Sequence[CachedCase]) -> None:
        self.cases = list(cases)

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        epoch, number = key
        cached = self.cases[number]
        return Sample(
            grid=torch.from_numpy(np.array(cached.grid())),
            label=torch.from_numpy(np.array(cached.label())),
            number=number,
            epoch=epoch,
            name=cached.case.name,
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


def build_loader(dataset: CaseDataset, batches: ResumableBatches, workers: int) -> DataLoader:
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
