"""Owns the section in which it is said where and how finely the network runs."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QFormLayout, QWidget

from napari_ossnet.widget.forms import Choice
from napari_ossnet.widget.state import State

MEMORY = ("", "1GiB", "2GiB", "4GiB", "8GiB", "16GiB")
STEPS = (1, 2, 4, 8)


class RunSection(QWidget):
    """Run: device, memory budget, detail, mirror image."""

    device_picked = Signal(str)
    devices_wanted = Signal()
    memory_picked = Signal(str)
    step_picked = Signal(int)
    mirrored_switched = Signal(bool)

    def __init__(self) -> None:
        super().__init__()
        self.device = Choice("Where the network runs; opening the list looks for devices and their free memory")
        self.device.on_picked(self.device_picked.emit)
        self.device.before_popup = self.devices_wanted.emit
        self.memory = Choice("The most memory that a pass through the network may take; with less, a run is slower")
        self.memory.on_picked(self.memory_picked.emit)
        self.step = Choice("How fine the result gets: a preview is done sooner")
        self.step.on_picked(self.step_picked.emit)
        self.mirrored = QCheckBox("Mirror image too")
        self.mirrored.setToolTip(
            "Also asks the scan's mirror image and takes the mean: twice the time, a little better on brains"
        )
        self.mirrored.clicked.connect(self.mirrored_switched.emit)
        self._build_layout()

    def show_state(self, state: State) -> None:
        """Shows the choices."""
        settings = state.settings
        self.device.offer(((item.name, item.title, item.title) for item in state.devices), settings.device)
        amounts = MEMORY if settings.memory in MEMORY else (*MEMORY, settings.memory)
        self.memory.offer(
            ((text, text or "Automatic", "" if text else "Half of what is free") for text in amounts), settings.memory
        )
        self.step.offer(((step, _step_title(step), "") for step in STEPS), settings.step)
        self.mirrored.setChecked(settings.mirrored)
        for widget in (self.device, self.memory, self.step, self.mirrored):
            widget.setEnabled(not state.is_busy)

    def _build_layout(self) -> None:
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Device", self.device)
        form.addRow("Memory", self.memory)
        form.addRow("Detail", self.step)
        form.addRow("", self.mirrored)


def _step_title(step: int) -> str:
    return "Full" if step == 1 else f"Preview, every {step} voxels"
