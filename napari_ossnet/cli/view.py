"""``ossnet view``: opens napari with the OSS-Net widget and, if given, a scan."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from napari_ossnet.engine.errors import InputError


@dataclass(frozen=True, kw_only=True)
class View:
    """Open napari with the OSS-Net widget."""

    scans: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Images of one scan, to be loaded as layers."""
    demo: bool = False
    """Load the demo scan."""

    def run(self) -> None:
        """Opens the window and returns when it is closed.

        Raises:
            InputError: An image is missing, or napari is.
        """
        for path in self.scans:
            if not path.exists():
                raise InputError(f"There is no image {path}.")
        try:
            import napari  # noqa: F401

            from napari_ossnet.widget.launch import launch
        except ImportError as error:
            msg = f'napari is not installed here ({error}); install it with: pip install "napari-ossnet[viewer]".'
            raise InputError(msg) from error
        launch([str(path) for path in self.scans], self.demo)
