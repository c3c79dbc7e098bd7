"""Owns the section in which the variant and its weights are chosen, downloaded and imported."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QFormLayout, QHBoxLayout, QVBoxLayout, QWidget

from napari_ossnet.widget.forms import Choice, Note, button
from napari_ossnet.widget.state import State

WEIGHTS_FILTER = "Weights (*.safetensors *.pt *.pth)"


class WeightsSection(QWidget):
    """Variant and weights."""

    variant_picked = Signal(str)
    weights_picked = Signal(str)
    download_wanted = Signal()
    import_wanted = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.variant = Choice("The kind of network")
        self.variant.on_picked(self.variant_picked.emit)
        self.weights = Choice("The trained network: from the catalogue, or imported from a file")
        self.weights.on_picked(self.weights_picked.emit)
        self.details = Note("muted")
        self.download = button(
            "Download", "Fetches these weights once; an interrupted download goes on where it stopped",
            self.download_wanted.emit,
        )  # fmt: skip
        self.import_file = button(
            "Import a file…",
            "Takes weights from a file: a published .pt file, or a .safetensors file of your own training",
            self._ask_for_file,
        )
        self._build_layout()

    def show_state(self, state: State) -> None:
        """Shows what there is for the task."""
        self.variant.offer(((item.name, item.title, item.tooltip) for item in state.variants), state.variant)
        self.weights.offer(((item.name, item.title, item.name) for item in state.weights), _name_of(state))
        self.weights.setVisible(bool(state.weights))
        chosen = state.chosen_weights
        self.details.say("" if chosen is None else "\n".join(chosen.details))
        self.details.setToolTip("" if chosen is None else chosen.tooltip)
        self.download.setVisible(chosen is not None and chosen.can_download)
        for widget in (self.variant, self.weights, self.download, self.import_file):
            widget.setEnabled(not state.is_busy)

    def _build_layout(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Variant", self.variant)
        form.addRow("Weights", self.weights)
        layout.addLayout(form)
        layout.addWidget(self.details)
        buttons = QHBoxLayout()
        buttons.addWidget(self.download)
        buttons.addWidget(self.import_file)
        layout.addLayout(buttons)

    def _ask_for_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Import weights", "", WEIGHTS_FILTER)
        if path:
            self.import_wanted.emit(path)


def _name_of(state: State) -> str | None:
    return None if state.chosen_weights is None else state.chosen_weights.name
