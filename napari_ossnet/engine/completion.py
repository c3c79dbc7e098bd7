"""Running a generator of events to its end in one call, for scripts and the command line."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TypeVar, cast

from napari_ossnet.engine.events import Event

Result = TypeVar("Result")


def _ignore(event: Event) -> None:
    """Does nothing with an event."""


def complete(steps: Generator[Event, None, Result], on_event: Callable[[Event], object] = _ignore) -> Result:
    """The result of long work, for instance of ``SegmentationSession.segment``.

    Args:
        steps: The work.
        on_event: Gets every event on the way. What it raises ends the work, and so does Ctrl-C.
    """
    try:
        while True:
            on_event(next(steps))
    except StopIteration as stop:
        return cast("Result", stop.value)
    finally:
        # Closing a generator is what cancels it.
        steps.close()
