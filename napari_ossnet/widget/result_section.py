"""Owns the section with the threshold, the numbers, and what can be saved or brought back."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QApplication,
    QFileDialog,
    QFormLayout,
    QGridLayout,
    QHeaderView,
    QMessageBox,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)
from superqt import QLabeledDoubleSlider

from napari_ossnet.widget import exports
from napari_ossnet.widget.forms import Choice, Note, button, leave_wheel_to_form
from napari_ossnet.widget.state import Job, MeasurementRow, State

HEADERS = ("Class", "mL", "cm²", "Ø mm")
#: While the slider is dragged, the threshold is moved this often at most.
THRESHOLD_INTERVAL_MS = 80


class ResultSection(QWidget):
    """Result."""

    threshold_moved = Signal(float)
    #: The position of a result in the list of those there are.
    result_picked = Signal(int)
    mask_wanted = Signal(str)
    surface_wanted = Signal(str)
    report_wanted = Signal(str)
    table_wanted = Signal(str)
    #: The folder that something is saved in.
    folder_used = Signal(str)
    image_wanted = Signal()
    restore_wanted = Signal()
    release_wanted = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.threshold = QLabeledDoubleSlider(Qt.Orientation.Horizontal)
        self.threshold.setRange(0.02, 0.98)
        self.threshold.setSingleStep(0.01)
        self.threshold.setDecimals(2)
        self.threshold.setToolTip(
            "Probability at which a place counts as inside; points that are known are not computed again"
        )
        leave_wheel_to_form(self.threshold)
        self._pause = QTimer(self, singleShot=True, interval=THRESHOLD_INTERVAL_MS)
        self._pause.timeout.connect(lambda: self.threshold_moved.emit(round(self.threshold.value(), 3)))
        self.threshold.valueChanged.connect(self._on_slider_moved)
        self.result = Choice("Whose numbers are shown, and what mask, surface and report are saved of")
        self.result.on_picked(self.result_picked.emit)
        self.hint = Note("muted")
        self.table = self._build_table()
        self._rows: tuple[MeasurementRow, ...] | None = None
        self._folder = ""
        self._build_buttons()
        self._build_layout()

    def show_state(self, state: State) -> None:
        """Shows the threshold and the numbers, and offers what is possible now."""
        self._folder = state.settings.last_folder
        if not self._pause.isActive() and abs(self.threshold.value() - state.settings.threshold) > 1e-4:
            self.threshold.blockSignals(True)
            self.threshold.setValue(state.settings.threshold)
            self.threshold.blockSignals(False)
        self.threshold.setEnabled(not state.is_busy or state.job is Job.RETHRESHOLD)
        self._show_results(state)
        self._show_table(state.measurements)
        self.hint.say(_hint(state))
        has_numbers = bool(state.measurements)
        for widget in (self.copy, self.save_table):
            widget.setEnabled(has_numbers)
        for widget in (self.save_mask, self.save_surface, self.save_report):
            widget.setEnabled(has_numbers and not state.is_busy)
        self.image.setVisible(state.has_result and state.has_super_resolved_image)
        self.image.setEnabled(not state.is_busy)
        self.restore.setEnabled(state.can_restore and not state.is_busy)
        self.release.setEnabled(not state.is_busy)

    def _on_slider_moved(self, value: float) -> None:
        # Not started anew by every move: the labels follow the drag instead of waiting for its end.
        if not self._pause.isActive():
            self._pause.start()

    def _build_table(self) -> QTableWidget:
        table = QTableWidget(0, len(HEADERS))
        table.setHorizontalHeaderLabels(HEADERS)
        for column, tooltip in enumerate(exports.COLUMNS):
            table.horizontalHeaderItem(column).setToolTip(tooltip)
        table.horizontalHeader().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        for column in range(1, len(HEADERS)):
            table.horizontalHeader().setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        table.verticalHeader().setVisible(False)
        table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        return table

    def _build_buttons(self) -> None:
        self.copy = button("Copy", "Copies the table, ready for a spreadsheet", self._copy)
        self.save_table = button("CSV…", "Saves the table", lambda: self._ask("table", exports.CSV_FILTER))
        self.save_mask = button(
            "Mask…", "Saves the labels as shown, edits included: of a scan in its own grid, of a box in its finer one",
            lambda: self._ask("mask", exports.MASK_FILTER),
        )  # fmt: skip
        self.save_surface = button(
            "Surface…", "Saves the surface in full, in millimetres of the scan's world (RAS)",
            lambda: self._ask("surface", exports.SURFACE_FILTER),
        )  # fmt: skip
        self.save_report = button(
            "Report…", "Saves a page with pictures, numbers, settings, versions and the weights' checksum; or JSON",
            lambda: self._ask("report", exports.REPORT_FILTER),
        )  # fmt: skip
        self.image = button(
            "Super-resolved image", "Adds the image that PFSeg restores beside its mask: a network's work, not a scan",
            self.image_wanted.emit,
        )  # fmt: skip
        self.restore = button(
            "Restore previous", "Brings back the labels from before the last run", self.restore_wanted.emit
        )
        self.release = button(
            "Release memory", "Gives the GPU's and the scan's memory back; the layers stay", self.release_wanted.emit
        )

    def _build_layout(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        form = QFormLayout()
        form.addRow("Threshold", self.threshold)
        form.addRow("Result", self.result)
        self._form = form
        layout.addLayout(form)
        layout.addWidget(self.table)
        layout.addWidget(self.hint)
        grid = QGridLayout()
        for index, widget in enumerate((self.save_mask, self.save_surface, self.save_report)):
            grid.addWidget(widget, 0, 2 * index, 1, 2)
        grid.addWidget(self.copy, 1, 0, 1, 3)
        grid.addWidget(self.save_table, 1, 3, 1, 3)
        grid.addWidget(self.restore, 2, 0, 1, 3)
        grid.addWidget(self.release, 2, 3, 1, 3)
        grid.addWidget(self.image, 3, 0, 1, 6)
        layout.addLayout(grid)

    def _show_results(self, state: State) -> None:
        """Lets the user turn between the scan and a box in it, where there are both."""
        self.result.offer(((index, title, "") for index, title in enumerate(state.result_titles)), state.result_index)
        self.result.setEnabled(not state.is_busy)
        self._form.setRowVisible(self.result, len(state.result_titles) > 1)

    def _show_table(self, rows: tuple[MeasurementRow, ...]) -> None:
        if rows == self._rows:
            return
        self._rows = rows
        self.table.setRowCount(len(rows))
        for index, row in enumerate(rows):
            title = f"{row.title}, in the box" if row.box else row.title
            values = (title, f"{row.volume_ml:.2f}", f"{row.surface_area_cm2:.1f}", f"{row.max_diameter_mm:.1f}")
            for column, text in enumerate(values):
                self.table.setItem(index, column, QTableWidgetItem(text))
        self.table.setVisible(bool(rows))
        height = self.table.horizontalHeader().sizeHint().height() + sum(
            self.table.rowHeight(index) for index in range(len(rows))
        )
        self.table.setFixedHeight(height + 4)

    def _copy(self) -> None:
        if self._rows:
            QApplication.clipboard().setText(exports.table_text(self._rows))

    def _ask(self, what: str, file_filter: str) -> None:
        suggested = str(Path(self._folder) / exports.with_suffix(what, file_filter, file_filter))
        typed, chosen = QFileDialog.getSaveFileName(self, f"Save the {what}", suggested, file_filter)
        if not typed:
            return
        path = exports.with_suffix(typed, chosen or file_filter, file_filter)
        # The dialog has asked about the name that was typed, not about the one with the suffix.
        if path == typed or not Path(path).exists() or self._may_replace(path):
            self.folder_used.emit(str(Path(path).parent))
            signal = {
                "mask": self.mask_wanted,
                "surface": self.surface_wanted,
                "report": self.report_wanted,
                "table": self.table_wanted,
            }[what]
            signal.emit(path)

    def _may_replace(self, path: str) -> bool:
        text = f"{Path(path).name} exists already. Replace it?"
        return QMessageBox.question(self, "Replace the file?", text) == QMessageBox.StandardButton.Yes


def _hint(state: State) -> str:
    if not state.measurements:
        return "The numbers appear here after a run."
    if state.is_edited:
        return "Numbers of the labels as you have edited them."
    if not state.has_result:
        return "Segment again to move the threshold."
    return ""
