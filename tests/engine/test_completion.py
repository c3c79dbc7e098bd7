"""Work in one call."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from napari_ossnet.engine.completion import complete
from napari_ossnet.engine.events import Message


class Work:
    """Two events and a result, and whether it was closed."""

    is_closed = False

    def steps(self) -> Generator[Message, None, str]:
        try:
            yield Message(text="first")
            yield Message(text="second")
        finally:
            self.is_closed = True
        return "done"


def test_the_result_comes_back_and_every_event_is_shown() -> None:
    seen: list[str] = []
    assert complete(Work().steps(), lambda event: seen.append(event.text)) == "done"
    assert seen == ["first", "second"]
    assert complete(Work().steps()) == "done"


def test_an_interruption_cancels_the_work() -> None:
    def interrupt(event: Message) -> None:
        raise KeyboardInterrupt

    work = Work()
    with pytest.raises(KeyboardInterrupt):
        complete(work.steps(), interrupt)
    assert work.is_closed
