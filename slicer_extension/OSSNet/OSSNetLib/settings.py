"""What is remembered between sessions, in Slicer's own settings: choices that belong to the user and not to a scene."""

from __future__ import annotations

from typing import Any

import slicer

#: Under this name in Slicer's settings.
GROUP = "OSSNet"
DEFAULTS: dict[str, Any] = {
    "task": "brats",
    "variant": "",
    "weights": "",
    "device": "auto",
    "memory_gib": 0.0,
    "is_live": True,
    "folder": "",
}


class Settings:
    """The remembered values, a default where there is none.

    Args:
        store: A QSettings; Slicer's own of this user by default.
    """

    def __init__(self, store: Any = None) -> None:
        self._store = store or slicer.app.userSettings()

    def get(self, name: str) -> Any:
        """A value, of the type of its default; the default too if what is stored can't be read as one."""
        default = DEFAULTS[name]
        value = self._store.value(f"{GROUP}/{name}")
        if value is None:
            return default
        if isinstance(default, bool):
            # QSettings may give the text that stands in the file.
            return str(value).lower() in ("true", "1")
        try:
            return type(default)(value)
        except ValueError:
            return default

    def remember(self, values: dict[str, Any]) -> None:
        """Keep values for the next session."""
        for name, value in values.items():
            if name not in DEFAULTS:
                raise KeyError(name)
            self._store.setValue(f"{GROUP}/{name}", value)
