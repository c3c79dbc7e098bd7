"""The CPU's cores at work on independent pieces: threads that stay, each with a single-threaded torch.

Independent pieces need no barriers. Torch's own parallel loops wait for the slowest core after every operation, which
costs most where other programs use the cores too, and leave compiled kernels on one core.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import torch


def run_in_threads(work: Callable[[Any], None], pieces: Iterable[Any]) -> None:
    """Call ``work`` with every piece, on as many cores as torch may use here; exceptions come out.

    Args:
        work: Should spend its time where the interpreter's lock is free: in torch, NumPy or a compiled kernel.
        pieces: Its arguments, one a call.
    """
    pieces = list(pieces)
    workers = torch.get_num_threads()
    if workers == 1 or len(pieces) <= 1:
        for piece in pieces:
            work(piece)
        return
    # A thread starts in torch's ordinary mode, in which tensors of the inference mode may not be written to.
    as_here = torch.inference_mode(torch.is_inference_mode_enabled())(work)
    for _ in _pool(workers, os.getpid()).map(as_here, pieces):
        pass


@cache
def _pool(workers: int, process: int) -> ThreadPoolExecutor:
    """A pool for this process: the threads of a forked parent do not exist in its child."""
    del process
    pool = ThreadPoolExecutor(workers, thread_name_prefix="ossnet", initializer=torch.set_num_threads, initargs=(1,))
    # The threads of a pool start with its first tasks; torch.set_num_threads also sets what threads get that torch
    # meets later, so let them start now and put that back.
    list(pool.map(lambda _: None, range(workers)))
    torch.set_num_threads(workers)
    return pool
