"""A signal in plain Python: PythonQt can't declare Qt signals on Python classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Signal:
    """Calls everything that was connected, in order."""

    def __init__(self) -> None:
        self._receivers: list[Callable[..., Any]] = []

    def connect(self, receiver: Callable[..., Any]) -> None:
        """From now on ``receiver`` hears of every emission."""
        self._receivers.append(receiver)

    def disconnect(self, receiver: Callable[..., Any]) -> None:
        """``receiver`` hears of it no more."""
        self._receivers.remove(receiver)

    def emit(self, *values: Any) -> None:
        """Tell all receivers."""
        for receiver in list(self._receivers):
            receiver(*values)
