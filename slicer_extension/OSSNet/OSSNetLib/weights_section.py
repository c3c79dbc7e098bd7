"""The part of the form where a network is chosen, downloaded, imported or removed."""

from __future__ import annotations

from typing import Any

import slicer
from slicer.i18n import tr as _

from OSSNetLib import dialogs
from OSSNetLib.engine_import import import_engine
from OSSNetLib.logic import OSSNetSegmentationLogic
from OSSNetLib.settings import Settings
from OSSNetLib.signals import Signal

#: Kinds of networks as the engine calls them, in the order in which they are offered, and what the user reads.
VARIANTS = {
    "x": "OSS-Net X",
    "a": "OSS-Net A",
    "b": "OSS-Net B",
    "c": "OSS-Net C",
    "d": "OSS-Net D",
    "o-net": "O-Net",
    "unet-3d": "3D residual U-Net",
    "unet-2d": "2D residual U-Net",
    "pfseg": "PFSeg",
}


class WeightsSection:
    """Variant, and the catalogue's weights of it for a task.

    Signals:
        changed: Other weights were chosen, or they have arrived.
        imported: The entry (a dictionary) of weights that came from a file.

    Args:
        ui: The form's widgets.
        logic: Downloads and imports through the engine's process.
        settings: Knows the folder that was used last.
    """

    def __init__(self, ui: Any, logic: OSSNetSegmentationLogic, settings: Settings) -> None:
        self.changed, self.imported = Signal(), Signal()
        self._ui, self._logic, self._settings = ui, logic, settings
        self._variants: list[str] = [""]
        self._entries: list[Any] = []
        self._task: Any = None
        self._is_filling = False
        ui.variantComboBox.connect("currentIndexChanged(int)", self._on_variant_chosen)
        ui.weightsComboBox.connect("currentIndexChanged(int)", self._on_chosen)
        ui.downloadButton.connect("clicked(bool)", self._on_download)
        ui.importButton.connect("clicked(bool)", self._on_import)
        ui.removeButton.connect("clicked(bool)", self._on_remove)
        logic.answered.connect(self._on_answered)
        logic.state_changed.connect(self.update)

    @property
    def variant(self) -> str:
        """The chosen variant; empty for any."""
        index = self._ui.variantComboBox.currentIndex
        return self._variants[index] if 0 <= index < len(self._variants) else ""

    @property
    def entry(self) -> Any:
        """The chosen entry of the catalogue, or None."""
        index = self._ui.weightsComboBox.currentIndex
        return self._entries[index] if 0 <= index < len(self._entries) else None

    @property
    def is_local(self) -> bool:
        """Whether the chosen weights are on this machine."""
        return self.entry is not None and import_engine("catalogue").local_path(self.entry) is not None

    def fill(self, task: Any, variant: str = "", weights: str = "") -> None:
        """Show what there is for a task; if the wanted weights are not among it, the best that is at hand is chosen."""
        self._task = task
        with_weights = {entry.variant for entry in import_engine("catalogue").list_entries(task.name)}
        self._variants = ["", *VARIANTS, *sorted(with_weights - set(VARIANTS))]
        self._is_filling = True
        self._ui.variantComboBox.clear()
        self._ui.variantComboBox.addItem(_("Any: the best on this machine first"))
        for name in self._variants[1:]:
            title = VARIANTS.get(name, name)
            title = title if name in with_weights else _("{title} (no weights yet)").format(title=title)
            self._ui.variantComboBox.addItem(title)
        self._ui.variantComboBox.setCurrentIndex(self._variants.index(variant) if variant in self._variants else 0)
        self._is_filling = False
        self._fill_weights(weights)

    def problems(self) -> list[str]:
        """What keeps the network from being used, a sentence each."""
        if self.entry is None:
            return [_("There are no weights of this kind for this task; choose another variant, or import a file.")]
        if not self.is_local:
            return [_("These weights are not on this machine yet; press Download, or import their file.")]
        return []

    def update(self, *unused: Any) -> None:
        """Say what is chosen, and enable what can be pressed."""
        entry, is_free = self.entry, not self._logic.is_busy
        self._ui.weightsNote.setText(_note(entry, self.is_local) if entry is not None else "")
        self._ui.downloadButton.setEnabled(is_free and entry is not None and entry.is_published and not self.is_local)
        self._ui.removeButton.setEnabled(is_free and self.is_local and not entry.is_bundled)
        self._ui.importButton.setEnabled(is_free)

    def _fill_weights(self, chosen: str = "") -> None:
        catalogue = import_engine("catalogue")
        self._entries = catalogue.preferred_entries(self._task.name, self.variant or None)
        here = {entry.name for entry in self._entries if catalogue.local_path(entry) is not None}
        self._is_filling = True
        self._ui.weightsComboBox.clear()
        for entry in self._entries:
            where = "" if entry.name in here else _(" (not here yet)")
            self._ui.weightsComboBox.addItem(f"{entry.title}{where}")
        names = [entry.name for entry in self._entries]
        if names:
            self._ui.weightsComboBox.setCurrentIndex(names.index(chosen) if chosen in names else 0)
        self._is_filling = False
        self._on_chosen()

    def _on_variant_chosen(self, *unused: Any) -> None:
        if not self._is_filling and self._task is not None:
            self._fill_weights()

    def _on_chosen(self, *unused: Any) -> None:
        if not self._is_filling:
            self.update()
            self.changed.emit()

    def _on_download(self, *unused: Any) -> None:
        entry = self.entry
        question = _("Download {title} ({size}) from {url}?\n\nLicence: {licence}").format(
            title=entry.title, size=_size(entry), url=entry.url, licence=entry.licence
        )
        if slicer.util.confirmOkCancelDisplay(question, windowTitle="OSS-Net"):
            self._logic.ask("download", name=entry.name)

    def _on_import(self, *unused: Any) -> None:
        path = dialogs.open_file(_("Import weights"), _("Weights (*.safetensors *.pt *.pth)"), self._settings)
        if path:
            self._logic.ask("import", path=path)

    def _on_remove(self, *unused: Any) -> None:
        question = _("Remove the weights {title} from this machine?").format(title=self.entry.title)
        if slicer.util.confirmOkCancelDisplay(question, windowTitle="OSS-Net"):
            self._logic.ask("remove", name=self.entry.name)

    def _on_answered(self, command: str, words: dict[str, Any]) -> None:
        if command == "import":
            self.imported.emit(words["entry"])
        elif command in ("download", "remove"):
            self._fill_weights(self.entry.name if self.entry is not None else "")


def _note(entry: Any, is_local: bool) -> str:
    parts = [_("on this machine") if is_local else _("not on this machine"), _size(entry)]
    parts += [_("Dice {dice:.3f} (as reported)").format(dice=entry.published_dice)] if entry.published_dice else []
    parts += [_("licence: {licence}").format(licence=entry.licence or _("not stated"))]
    return ", ".join(part for part in parts if part)


def _size(entry: Any) -> str:
    return f"{entry.size_bytes / 2**20:.0f} MiB" if entry.size_bytes else ""
