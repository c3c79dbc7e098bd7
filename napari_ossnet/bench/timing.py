"""Timing side by side: contenders take turns, so that whatever else the machine does meets all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, TypeVar

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounds:
    """Seconds of every contender, round by round.

    Attributes:
        wall: As the user waits.
        cpu: Of all cores of this process; other programs don't count, so that its ratios hold on a busy machine too.
    """

    wall: dict[str, list[float]]
    cpu: dict[str, list[float]]


def interleaved(contenders: Mapping[str, Callable[[], object]], repeats: int, *, is_warm: bool = False) -> Rounds:
    """Times ``repeats`` rounds, in each of which all contenders take their turn.

    A round before them is not counted: kernels are compiled and caches filled in it. ``is_warm`` leaves it out.
    """
    for work in () if is_warm else contenders.values():
        work()
    rounds = Rounds(wall={name: [] for name in contenders}, cpu={name: [] for name in contenders})
    for _ in range(repeats):
        for name, work in contenders.items():
            began_at, began_cpu = time.perf_counter(), time.process_time()
            work()
            rounds.wall[name].append(time.perf_counter() - began_at)
            rounds.cpu[name].append(time.process_time() - began_cpu)
    return rounds


def pairwise_ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """The median over the rounds of how many times longer the first took than the second."""
    return median(a / b for a, b in zip(slow, fast, strict=True))


def drain(steps: Generator[Any, None, Result]) -> Result:
    """The return value of a generator whose events nobody wants."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: Result = stop.value
            return result
