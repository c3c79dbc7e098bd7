"""Owns ``ossnet view``: napari with scans opened and the widget docked, until its window is closed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_ossnet.widget.opening import LayerTuple, add_layers, read_layers
from napari_ossnet.widget.view_position import show_fullest

if TYPE_CHECKING:
    from napari.viewer import Viewer

PLUGIN = "napari-ossnet"
WIDGET = "Segment"
#: Room for the layer list, a slice and the whole form side by side.
WINDOW_SIZE = (1440, 920)
#: What a window manager needs around a window, in pixels.
FRAME, TITLE_BAR = 4, 32


def launch(scan_paths: list[str], demo: bool) -> None:
    """Opens napari and returns when its window is closed.

    Args:
        scan_paths: Files or DICOM folders to open.
        demo: Open the demo scan too.

    Raises:
        InputError: A file can't be read; said before any window opens.
    """
    layers = [read_layers(path) for path in scan_paths]
    import napari

    viewer = napari.Viewer(title="napari - OSS-Net")
    viewer.window.set_geometry(*_window_place())
    open_window(viewer, layers, demo=demo)
    napari.run()


def _window_place() -> tuple[int, int, int, int]:
    """Left, top, width and height of the window, in the middle of the screen with room for its frame."""
    from qtpy.QtWidgets import QApplication

    screen = QApplication.primaryScreen().availableGeometry()
    width = min(WINDOW_SIZE[0], screen.width() - 2 * FRAME)
    height = min(WINDOW_SIZE[1], screen.height() - TITLE_BAR - 2 * FRAME)
    left = screen.left() + (screen.width() - width) // 2
    top = screen.top() + TITLE_BAR + (screen.height() - TITLE_BAR - height) // 2
    return left, top, width, height


def open_window(viewer: Viewer, scans: list[list[LayerTuple]], *, demo: bool) -> None:
    """Adds scans to a viewer, docks the widget, and has it make the demo scan if that is wanted."""
    for index, layers in enumerate(reversed(scans)):
        is_last = index == len(scans) - 1
        add_layers(viewer, [(data, {**keywords, "visible": is_last}, kind) for data, keywords, kind in layers])
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, WIDGET, tabify=False)
    if scans:
        show_fullest(viewer, viewer.layers[-1])
    if demo:
        widget.controller.open_demo()
