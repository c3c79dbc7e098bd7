"""Turns what torch and Python raise when a device fails or memory runs out into errors that a user can act on."""

from __future__ import annotations

import sys
from collections.abc import Generator
from typing import TypeVar

from napari_ossnet.engine.errors import DeviceError, EngineError, OutOfMemoryError

Yielded = TypeVar("Yielded")
Returned = TypeVar("Returned")

#: What the allocators of CUDA, MPS and the CPU say; only CUDA has an exception class of its own.
_OUT_OF_MEMORY_WORDS = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that memory ran out, on whatever device."""
    if isinstance(error, (MemoryError, OutOfMemoryError)):
        return True
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.cuda.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _OUT_OF_MEMORY_WORDS)


def as_engine_errors(steps: Generator[Yielded, None, Returned]) -> Generator[Yielded, None, Returned]:
    """The same generator, from which no ``RuntimeError`` or ``MemoryError`` ever comes out.

    napari's generator workers take a ``RuntimeError`` for a deleted worker and then report nothing at all.

    Raises:
        OutOfMemoryError: Memory ran out.
        DeviceError: Torch failed in any other way.
    """
    try:
        return (yield from steps)
    except EngineError:
        raise
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            raise out_of_memory() from error
        text = f"{_first_line(error)} (a failure inside torch; try another device, or report it with `ossnet info`)."
        raise DeviceError(text) from error


def out_of_memory(detail: str = "") -> OutOfMemoryError:
    """The error that says that memory ran out and what to do about it."""
    return OutOfMemoryError(
        f"The memory did not suffice{detail}; close other programs, choose a smaller --memory, "
        "or run on the CPU (--device cpu)."
    )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).rstrip(".")
