"""File dialogs of the form: they open in the folder that was used last, and give a path or an empty string."""

from __future__ import annotations

from pathlib import Path

import qt
import slicer

from OSSNetLib.settings import Settings


def open_file(title: str, filters: str, settings: Settings) -> str:
    """Ask for a file that exists."""
    return _kept(
        qt.QFileDialog.getOpenFileName(slicer.util.mainWindow(), title, settings.get("folder"), filters), settings
    )


def save_file(title: str, filters: str, settings: Settings, name: str) -> str:
    """Ask for a file to write.

    Args:
        title: Of the dialog.
        filters: As Qt writes them; the first one's suffix is added to a name without any.
        settings: Knows the last folder.
        name: Proposed file name.
    """
    proposed = str(Path(settings.get("folder")) / name)
    path = _kept(qt.QFileDialog.getSaveFileName(slicer.util.mainWindow(), title, proposed, filters), settings)
    return (
        f"{path}{filters[filters.index('*') + 1 :].split()[0].rstrip(')')}" if path and not Path(path).suffix else path
    )


def show_page(path: str) -> None:
    """Open a file of our own making in the user's web browser."""
    qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(path))


def _kept(answer: str | tuple[str, str], settings: Settings) -> str:
    # PythonQt gives the path alone, other bindings the chosen filter with it.
    path = answer[0] if isinstance(answer, tuple) else answer
    if path:
        settings.remember({"folder": str(Path(path).parent)})
    return path
