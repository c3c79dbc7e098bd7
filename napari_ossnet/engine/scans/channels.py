"""Doing the same with every channel of a scan, a core each: NumPy lets go of the interpreter's lock while it works."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def for_each_channel(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """What ``work`` returns for each item, in their order; an exception comes out.

    Args:
        work: Touches its own item alone.
        items: One a channel.
    """
    if len(items) == 1:
        return [work(items[0])]
    with ThreadPoolExecutor(len(items), thread_name_prefix="ossnet-channel") as pool:
        return list(pool.map(work, items))
