"""Owns the one current state: whoever changes it makes a new one here, whoever shows it listens here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from psygnal import Signal

from napari_ossnet.widget.state import Settings, State


class Store:
    """The current state and a signal for every new one."""

    changed = Signal(State)

    def __init__(self, state: State | None = None) -> None:
        self._state = state or State()

    @property
    def state(self) -> State:
        """The state now."""
        return self._state

    @property
    def settings(self) -> Settings:
        """The settings now."""
        return self._state.settings

    def update(self, **changes: Any) -> None:
        """Replaces fields of the state; silent where nothing differs."""
        state = replace(self._state, **changes)
        if state != self._state:
            self._state = state
            self.changed.emit(state)

    def update_settings(self, **changes: Any) -> None:
        """Replaces fields of the settings."""
        self.update(settings=replace(self._state.settings, **changes))
