"""Owns where the widget's settings are remembered: one JSON file in the user's OSS-Net folder, written atomically."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from napari_ossnet.engine.errors import OutputError
from napari_ossnet.engine.files.atomic import atomic_path
from napari_ossnet.widget.state import Settings

FILE_NAME = "napari-settings.json"

_log = logging.getLogger(__name__)


def settings_path() -> Path:
    """The settings file: in ``OSSNET_HOME``, or where the platform keeps such things."""
    from napari_ossnet.engine.catalogue import ossnet_home

    return ossnet_home() / FILE_NAME


def load_settings(path: Path | None = None) -> Settings:
    """The remembered settings; defaults for whatever the file lacks or holds in a form that can't be used."""
    path = path or settings_path()
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Settings()
    except (OSError, ValueError) as error:
        _log.warning("The settings in %s can't be read (%s); the defaults are used.", path, error)
        return Settings()
    return _settings_from(record if isinstance(record, dict) else {})


def save_settings(settings: Settings, path: Path | None = None) -> None:
    """Remembers the settings; a folder that can't be written to is logged, for no run should fail over it."""
    path = path or settings_path()
    try:
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(asdict(settings), indent=2), encoding="utf-8")
    except OutputError as error:
        _log.warning("The settings are not remembered: %s", error)


def _settings_from(record: dict[str, Any]) -> Settings:
    """A later version may have written other fields or other types; only what fits is taken."""
    defaults = Settings()
    values: dict[str, Any] = {}
    for field in fields(Settings):
        default, value = getattr(defaults, field.name), record.get(field.name)
        if isinstance(default, tuple) and isinstance(value, list):
            value = tuple(str(item) for item in value)
        if isinstance(default, float) and isinstance(value, int):
            value = float(value)
        if type(value) is type(default):
            values[field.name] = value
    return Settings(**values)
