"""Owns what stays in sight below the sections: the button that segments and cancels, how far it is, what is wrong."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFrame, QProgressBar, QPushButton, QVBoxLayout

from napari_ossnet.engine.results.segmentation import RESEARCH_NOTICE
from napari_ossnet.widget.forms import Note, button
from napari_ossnet.widget.state import Job, State

#: More sentences than this go to the tooltip: the button must not be pushed out of the window.
MOST_WARNINGS = 2


class RunBar(QFrame):
    """*Segment*, which turns into *Cancel*, with everything that is to be known at that moment."""

    segment_wanted = Signal()
    cancel_wanted = Signal()
    cpu_wanted = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.cpu_warning = Note("warning")
        self.problems = Note("problem")
        self.warnings = Note("warning")
        self.segment = QPushButton("Segment")
        self.segment.setMinimumHeight(36)
        self.segment.clicked.connect(self._on_clicked)
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(6)
        self.progress = Note("muted")
        self.status = Note()
        self.error = Note("problem")
        self.use_cpu = button("Run on the CPU instead", "Slower, but with the whole main memory", self.cpu_wanted.emit)
        self.notice = Note("muted")
        self.notice.say(RESEARCH_NOTICE)
        self._is_busy = False
        self._build_layout()

    def show_state(self, state: State) -> None:
        """Shows what stands against a run, how far it is, and how it went."""
        self._show_button(state)
        self.cpu_warning.say(state.cpu_warning)
        self.problems.say("" if state.is_busy else "\n".join(state.problems))
        self._show_warnings(tuple(dict.fromkeys(state.scan_warnings + state.run_messages)))
        self.status.say(state.status)
        self.error.say(state.error)
        self.use_cpu.setVisible(state.is_cpu_offered and not state.is_busy)
        self.bar.setVisible(state.is_busy)
        self.show_progress(state)

    def show_progress(self, state: State) -> None:
        """Shows how far the work is."""
        self.progress.say(state.progress.text if state.job is not Job.NONE else "")
        # Never Qt's "busy" bar: its animation has the whole window composed anew, canvas included, many times a second.
        self.bar.setValue(round(100 * (state.progress.fraction or 0.0)))

    def _show_button(self, state: State) -> None:
        self._is_busy = state.is_busy
        self.segment.setText("Cancel" if state.is_busy else "Segment")
        self.segment.setEnabled(state.can_segment or (state.is_busy and not state.is_cancelling))
        if state.is_busy:
            self.segment.setToolTip("Stops; what has been found by now stays")
        else:
            self.segment.setToolTip("\n".join(state.problems) or "Finds it, coarse at once, then finer")

    def _show_warnings(self, warnings: tuple[str, ...]) -> None:
        shown = "\n".join(warnings[:MOST_WARNINGS])
        more = len(warnings) - MOST_WARNINGS
        self.warnings.say(f"{shown}\n(and {more} more: hold the mouse here)" if more > 0 else shown)
        self.warnings.setToolTip("\n".join(warnings))

    def _build_layout(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 4, 8, 4)
        layout.setSpacing(4)
        for widget in (self.problems, self.warnings, self.cpu_warning, self.segment, self.bar, self.progress):
            layout.addWidget(widget)
        for widget in (self.error, self.use_cpu, self.status, self.notice):
            layout.addWidget(widget)

    def _on_clicked(self) -> None:
        (self.cancel_wanted if self._is_busy else self.segment_wanted).emit()
