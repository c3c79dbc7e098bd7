"""Which case comes when: the same for any number of ranks, and after resuming."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ossnet_training.cache import cache_cases
from ossnet_training.cases import find_cases
from ossnet_training.data import CaseDataset, ResumableBatches, build_loader

from napari_ossnet.engine.scans.encoding_window import encoding_window
from napari_ossnet.engine.tasks import get_task


def _batches(steps_done: int, rank: int = 0, ranks: int = 1) -> list[list[tuple[int, int]]]:
    return list(ResumableBatches(7, 4, 5, lambda: steps_done, rank, ranks))


def test_every_case_comes_once_an_epoch_and_the_last_batch_is_filled() -> None:
    first, second = _batches(0)
    assert {number for _, number in first + second} == set(range(7))
    assert len(first) == len(second) == 4
    assert _batches(0) == [first, second]
    assert _batches(2)[0] != first


def test_ranks_share_the_batches_of_one_process() -> None:
    whole = _batches(0)
    shares = [_batches(0, rank, 2) for rank in range(2)]
    assert [a + b for a, b in zip(*shares, strict=True)] == whole


def test_a_resumed_epoch_goes_on_where_it_stopped() -> None:
    assert _batches(3) == _batches(2)[1:]
    assert {epoch for batch in _batches(3) for epoch, _ in batch} == {1}


def test_workers_change_nothing(a_data_set: Path, tmp_path: Path) -> None:
    cases = cache_cases(find_cases(a_data_set)[:3], get_task("hippocampus"), (), tmp_path / "cache")
    dataset = CaseDataset(cases, partial(encoding_window, box_start=(0, 0, 0), box_stop=(48, 64, 48), multiple=4))
    found = []
    for workers in (0, 1):
        loader = build_loader(dataset, ResumableBatches(3, 1, 0, lambda: 0), workers)
        found.append([(s.name, s.epoch, s.number, s.window, float(s.grid.sum())) for (s,) in loader])
    assert found[0] == found[1]
    assert {name for name, *_ in found[0]} == {case.name for case in cases}
