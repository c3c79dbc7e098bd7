"""Owns the section in which a folder of scans is segmented into another."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QFileDialog,
    QGridLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_ossnet.widget.forms import Note, button
from napari_ossnet.widget.state import BatchRow, State

HEADERS = ("Case", "Outcome", "mL")


class BatchSection(QWidget):
    """Batch."""

    input_picked = Signal(str)
    output_picked = Signal(str)
    run_wanted = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.input = QLineEdit(placeholderText="Folder with a folder or a file a case")
        self.output = QLineEdit(placeholderText="Folder for masks, reports, results.csv")
        self.input.editingFinished.connect(lambda: self.input_picked.emit(self.input.text()))
        self.output.editingFinished.connect(lambda: self.output_picked.emit(self.output.text()))
        self.choose_input = button("…", "Choose the folder with the scans", lambda: self._ask(self.input_picked))
        self.choose_output = button("…", "Choose the folder for the results", lambda: self._ask(self.output_picked))
        self.run = button(
            "Segment the folder",
            "With the task, weights, device and threshold chosen above; finished cases are skipped",
            self.run_wanted.emit,
        )
        self.note = Note("muted")
        self.table = self._build_table()
        self._rows: tuple[BatchRow, ...] = ()
        self._build_layout()

    def show_state(self, state: State) -> None:
        """Shows the folders and the cases that are done."""
        for edit, text in ((self.input, state.settings.batch_input), (self.output, state.settings.batch_output)):
            if not edit.hasFocus() and edit.text() != text:
                edit.setText(text)
        blockers = state.torch_problems + state.weights_problems
        has_folders = bool(state.settings.batch_input and state.settings.batch_output)
        self.run.setEnabled(has_folders and not blockers and not state.is_busy)
        self.note.say("" if has_folders else "Choose both folders.")
        if state.batch != self._rows:
            self._rows = state.batch
            self._show_rows()

    def _build_table(self) -> QTableWidget:
        table = QTableWidget(0, len(HEADERS))
        table.setHorizontalHeaderLabels(HEADERS)
        table.horizontalHeader().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        table.verticalHeader().setVisible(False)
        table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        table.setMinimumHeight(140)
        table.setVisible(False)
        return table

    def _build_layout(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        grid = QGridLayout()
        grid.setColumnStretch(1, 1)
        for row, (title, edit, choose) in enumerate(
            (("In", self.input, self.choose_input), ("Out", self.output, self.choose_output))
        ):
            choose.setMaximumWidth(32)
            grid.addWidget(QLabel(title), row, 0)
            grid.addWidget(edit, row, 1)
            grid.addWidget(choose, row, 2)
        layout.addLayout(grid)
        layout.addWidget(self.run)
        layout.addWidget(self.note)
        layout.addWidget(self.table)

    def _show_rows(self) -> None:
        self.table.setVisible(bool(self._rows))
        self.table.setRowCount(len(self._rows))
        for index, row in enumerate(self._rows):
            volume = "" if row.volume_ml is None else f"{row.volume_ml:.2f}"
            for column, text in enumerate((row.case, row.outcome, volume)):
                item = QTableWidgetItem(text)
                item.setToolTip(text)
                self.table.setItem(index, column, item)

    def _ask(self, signal: Signal) -> None:
        path = QFileDialog.getExistingDirectory(self, "Choose a folder")
        if path:
            signal.emit(path)
