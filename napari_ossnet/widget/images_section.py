"""Owns the section in which the task is chosen and an image for each of its modalities."""

from __future__ import annotations

from functools import partial

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QGridLayout, QLabel, QVBoxLayout, QWidget

from napari_ossnet.widget.forms import Choice, Note, button
from napari_ossnet.widget.state import ModalityRow, State


class ImagesSection(QWidget):
    """Task and images."""

    task_picked = Signal(str)
    #: Modality and ``ImageChoice`` or None.
    image_picked = Signal(str, object)
    demo_wanted = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.task = Choice("What is to be found, and in which kind of scan")
        self.task.on_picked(self.task_picked.emit)
        self.description = Note("muted")
        self.demo = button(
            "Open the demo scan",
            "A synthetic brain with a tumour, made on this machine; nothing is downloaded",
            self.demo_wanted.emit,
        )
        self.images: dict[str, Choice] = {}
        self.notes: dict[str, Note] = {}
        self._rows = QGridLayout()
        self._rows.setColumnStretch(1, 1)
        self._rows.setVerticalSpacing(2)
        self._names: tuple[tuple[str, str], ...] = ()
        self._build_layout()

    def show_state(self, state: State) -> None:
        """Shows the task, the choices and what is said about them."""
        self.task.offer(((task.name, task.title, task.description) for task in state.tasks), state.settings.task)
        self.task.setEnabled(not state.is_busy)
        self.description.say(next((task.description for task in state.tasks if task.name == state.settings.task), ""))
        self.demo.setVisible(not state.images)
        self.demo.setEnabled(not state.is_busy)
        names = tuple((row.name, row.title) for row in state.rows)
        if names != self._names:
            self._rebuild_rows(state.rows)
            self._names = names
        for row in state.rows:
            self._show_row(row, state)

    def _build_layout(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.task)
        layout.addWidget(self.description)
        layout.addLayout(self._rows)
        layout.addWidget(self.demo)

    def _rebuild_rows(self, rows: tuple[ModalityRow, ...]) -> None:
        while (item := self._rows.takeAt(0)) is not None:
            item.widget().deleteLater()
        self.images, self.notes = {}, {}
        for index, row in enumerate(rows):
            choice = Choice(f"The image layer (or one channel of it) that is the {row.title} image")
            choice.on_picked(partial(self.image_picked.emit, row.name))
            note = Note("muted")
            self.images[row.name], self.notes[row.name] = choice, note
            self._rows.addWidget(QLabel(row.title), 2 * index, 0)
            self._rows.addWidget(choice, 2 * index, 1)
            self._rows.addWidget(note, 2 * index + 1, 0, 1, 2)

    def _show_row(self, row: ModalityRow, state: State) -> None:
        choice = self.images[row.name]
        options = [(None, "(none)", "No image")] + [(image, image.title, image.title) for image in state.images]
        choice.offer(options, row.choice)
        choice.setEnabled(not state.is_busy and bool(state.images))
        if not state.images:
            # One sentence below says that a scan is needed; four lines would only repeat it.
            self.notes[row.name].say("")
            return
        self.notes[row.name].say(row.note, "warning" if row.is_problem else "muted")
