"""Owns ``ossnet view``: napari with scans opened and the widget docked, until its window is closed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_ossnet.widget.opening import LayerTuple, add_layers, read_layers, show_middle

if TYPE_CHECKING:
    from napari.viewer import Viewer

PLUGIN = "napari-ossnet"
WIDGET = "Segment"
#: Room for the layer list, a slice and the whole form side by side.
WINDOW_SIZE = (1440, 920)


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
    viewer.window.resize(*_window_size())
    open_window(viewer, layers, demo=demo)
    napari.run()


def _window_size() -> tuple[int, int]:
    """As much of ``WINDOW_SIZE`` as the screen has."""
    from qtpy.QtWidgets import QApplication

    screen = QApplication.primaryScreen().availableGeometry()
    return min(WINDOW_SIZE[0], int(0.95 * screen.width())), min(WINDOW_SIZE[1], int(0.92 * screen.height()))


def open_window(viewer: Viewer, scans: list[list[LayerTuple]], *, demo: bool) -> None:
    """Adds scans to a viewer, docks the widget, and has it make the demo scan if that is wanted."""
    for index, layers in enumerate(reversed(scans)):
        is_last = index == len(scans) - 1
        add_layers(viewer, [(data, {**keywords, "visible": is_last}, kind) for data, keywords, kind in layers])
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, WIDGET, tabify=False)
    if scans:
        show_middle(viewer)
    if demo:
        widget.controller.open_demo()
