"""The part of the form where a network is chosen, downloaded or imported."""

from __future__ import annotations

from typing import Any

import qt

from OSSNetLib.logic import OSSNetSegmentationLogic, import_engine
from OSSNetLib.signals import Signal


class WeightsSection:
    """The catalogue's weights for a task.

    Signals:
        changed: Other weights were chosen, or they have arrived.

    Args:
        ui: The form's widgets.
        logic: Downloads and imports through the engine's process.
    """

    def __init__(self, ui: Any, logic: OSSNetSegmentationLogic) -> None:
        self.changed = Signal()
        self._ui = ui
        self._logic = logic
        self._entries: list[Any] = []
        self._task_name = ""
        ui.weightsComboBox.connect("currentIndexChanged(int)", self._on_chosen)
        ui.downloadButton.connect("clicked(bool)", self._on_download)
        ui.importButton.connect("clicked(bool)", self._on_import)
        logic.answered.connect(self._on_answered)

    def fill(self, task_name: str, chosen: str = "") -> None:
        """Show what there is for a task, the best that is at hand first chosen."""
        catalogue = import_engine("catalogue")
        self._task_name = task_name
        self._entries = catalogue.list_entries(task_name)
        self._ui.weightsComboBox.blockSignals(True)
        self._ui.weightsComboBox.clear()
        for entry in self._entries:
            self._ui.weightsComboBox.addItem(f"{entry.title} ({entry.variant})")
        self._ui.weightsComboBox.blockSignals(False)
        names = [entry.name for entry in self._entries]
        if chosen not in names:
            local = [entry for entry in self._entries if catalogue.local_path(entry) is not None]
            chosen = max(local, key=lambda entry: entry.published_dice or 0.0).name if local else ""
        if chosen in names:
            self._ui.weightsComboBox.setCurrentIndex(names.index(chosen))
        self._on_chosen()

    @property
    def entry(self) -> Any:
        """The chosen entry of the catalogue, or None."""
        index = self._ui.weightsComboBox.currentIndex
        return self._entries[index] if 0 <= index < len(self._entries) else None

    @property
    def is_local(self) -> bool:
        """Whether the chosen weights are on this machine."""
        return self.entry is not None and import_engine("catalogue").local_path(self.entry) is not None

    def problems(self) -> list[str]:
        """What keeps the network from being used, a sentence each."""
        if self.entry is None:
            return ["There are no weights for this task; import a file."]
        return [] if self.is_local else ["These weights are not on this machine yet; press Download or Import."]

    def _on_chosen(self, *_: Any) -> None:
        entry = self.entry
        parts = []
        if entry is not None:
            parts = ["on this machine" if self.is_local else "not on this machine"]
            parts += [f"{entry.size_bytes / 2**20:.0f} MiB"] if entry.size_bytes else []
            parts += [f"Dice {entry.published_dice:.3f} (as reported)"] if entry.published_dice else []
            parts += [f"licence: {entry.licence}"]
        self._ui.weightsNote.setText(", ".join(parts))
        self._ui.downloadButton.setEnabled(entry is not None and not self.is_local and not self._logic.is_busy)
        self.changed.emit()

    def _on_download(self, *_: Any) -> None:
        if self.entry is not None:
            self._logic.ask("download", name=self.entry.name)

    def _on_import(self, *_: Any) -> None:
        path = qt.QFileDialog.getOpenFileName(None, "Import weights", "", "Weights (*.safetensors *.pt *.pth)")
        path = path[0] if isinstance(path, tuple) else path
        if path:
            self._logic.ask("import", path=path)

    def _on_answered(self, command: str, words: dict[str, Any]) -> None:
        if command in ("download", "import"):
            entry = self.entry
            chosen = words["entry"]["name"] if command == "import" else entry.name if entry else ""
            self.fill(self._task_name, chosen)
