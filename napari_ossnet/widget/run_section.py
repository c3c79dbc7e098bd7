"""Owns the section with the device, the memory budget, and the button that segments and cancels."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFormLayout, QProgressBar, QPushButton, QVBoxLayout, QWidget

from napari_ossnet.widget.forms import Choice, Note, button
from napari_ossnet.widget.state import Job, State

MEMORY = ("", "1GiB", "2GiB", "4GiB", "8GiB", "16GiB")
STEPS = (1, 2, 4, 8)


class RunSection(QWidget):
    """Run."""

    device_picked = Signal(str)
    devices_wanted = Signal()
    memory_picked = Signal(str)
    step_picked = Signal(int)
    segment_wanted = Signal()
    cancel_wanted = Signal()
    cpu_wanted = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.device = Choice("Where the network runs; opening the list looks for devices and their free memory")
        self.device.on_picked(self.device_picked.emit)
        self.device.before_popup = self.devices_wanted.emit
        self.memory = Choice("The most memory that a pass through the network may take; less is slower, never worse")
        self.memory.on_picked(self.memory_picked.emit)
        self.step = Choice("How fine the result gets: a preview is done sooner")
        self.step.on_picked(self.step_picked.emit)
        self.cpu_warning = Note("warning")
        self.problems = Note("problem")
        self.warnings = Note("warning")
        self.segment = QPushButton("Segment")
        self.segment.setMinimumHeight(36)
        self.segment.clicked.connect(self._on_clicked)
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setMaximumHeight(8)
        self.progress = Note("muted")
        self.status = Note()
        self.error = Note("problem")
        self.use_cpu = button("Run on the CPU instead", "Slower, but with the whole main memory", self.cpu_wanted.emit)
        self._is_busy = False
        self._build_layout()

    def show_state(self, state: State) -> None:
        """Shows the choices, what stands against a run, and how far it is."""
        self._show_choices(state)
        self._show_button(state)
        self.problems.say("" if state.is_busy else "\n".join(state.problems))
        self.warnings.say("\n".join(dict.fromkeys(state.scan_warnings + state.run_messages)))
        self.status.say(state.status)
        self.error.say(state.error)
        self.use_cpu.setVisible(state.is_cpu_offered and not state.is_busy)
        is_at_work = state.job is not Job.NONE
        self.progress.say(state.progress.text if is_at_work else "")
        self.bar.setVisible(state.is_busy)
        fraction = state.progress.fraction
        self.bar.setRange(0, 0 if fraction is None else 1000)
        if fraction is not None:
            self.bar.setValue(round(1000 * fraction))

    def _show_choices(self, state: State) -> None:
        settings = state.settings
        self.device.offer(((item.name, item.title, item.title) for item in state.devices), settings.device)
        amounts = MEMORY if settings.memory in MEMORY else (*MEMORY, settings.memory)
        self.memory.offer(((text, text or "Automatic: half of what is free", "") for text in amounts), settings.memory)
        self.step.offer(((step, _step_title(step), "") for step in STEPS), settings.step)
        self.cpu_warning.say(state.cpu_warning)
        for widget in (self.device, self.memory, self.step):
            widget.setEnabled(not state.is_busy)

    def _show_button(self, state: State) -> None:
        self._is_busy = state.is_busy
        self.segment.setText("Cancel" if state.is_busy else "Segment")
        self.segment.setEnabled(state.can_segment or (state.is_busy and not state.is_cancelling))
        if state.is_busy:
            self.segment.setToolTip("Stops; what has been found by now stays")
        else:
            self.segment.setToolTip("\n".join(state.problems) or "Finds it, coarse at once, then finer")

    def _build_layout(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Device", self.device)
        form.addRow("Memory", self.memory)
        form.addRow("Detail", self.step)
        layout.addLayout(form)
        for widget in (self.cpu_warning, self.problems, self.segment, self.bar, self.progress):
            layout.addWidget(widget)
        for widget in (self.error, self.use_cpu, self.status, self.warnings):
            layout.addWidget(widget)

    def _on_clicked(self) -> None:
        (self.cancel_wanted if self._is_busy else self.segment_wanted).emit()


def _step_title(step: int) -> str:
    return "Full: every voxel's side of the boundary" if step == 1 else f"Preview: stop at every {step}th voxel"
