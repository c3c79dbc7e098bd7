"""The part of the form that says where the network runs."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from OSSNetLib.logic import OSSNetSegmentationLogic
from OSSNetLib.signals import Signal


class DeviceSection:
    """Devices: automatic and the CPU at once, graphics cards once they were looked for.

    Signals:
        changed: Another device was chosen.

    Args:
        ui: The form's widgets.
        logic: Looks for devices through the engine's process, for that needs torch.
    """

    def __init__(self, ui: Any, logic: OSSNetSegmentationLogic) -> None:
        self.changed = Signal()
        self._ui, self._logic = ui, logic
        self._names: list[str] = []
        self._is_filling = False
        self._show([])
        ui.deviceNote.setVisible(False)
        ui.deviceComboBox.connect("currentIndexChanged(int)", self._on_chosen)
        ui.devicesButton.connect("clicked(bool)", self._on_look)
        logic.answered.connect(self._on_answered)
        logic.finished.connect(self._on_finished)

    @property
    def name(self) -> str:
        """The chosen device, as torch spells it, or ``auto``."""
        return self._names[max(self._ui.deviceComboBox.currentIndex, 0)]

    def choose(self, name: str) -> None:
        """Choose a device, also one that was not looked for yet."""
        if name not in self._names:
            self._names.append(name)
            self._ui.deviceComboBox.addItem(name)
        self._ui.deviceComboBox.setCurrentIndex(self._names.index(name))

    def _show(self, devices: list[dict[str, Any]]) -> None:
        chosen = self.name if self._names else "auto"
        self._is_filling = True
        self._names = ["auto"]
        self._ui.deviceComboBox.clear()
        self._ui.deviceComboBox.addItem(_("Automatic"))
        for device in devices or [{"name": "cpu", "title": _("CPU"), "free_bytes": None}]:
            free = device["free_bytes"]
            text = _("{title}, {free:.1f} GiB free") if free else "{title}"
            self._ui.deviceComboBox.addItem(text.format(title=device["title"], free=(free or 0) / 2**30))
            self._names.append(device["name"])
        self._is_filling = False
        # A device that is gone (an external card, another machine's scene) is not silently replaced.
        self.choose(chosen)

    def _on_chosen(self, *unused: Any) -> None:
        if not self._is_filling:
            self.changed.emit()

    def _on_look(self, *unused: Any) -> None:
        self._logic.ask("devices")

    def _on_answered(self, command: str, words: dict[str, Any]) -> None:
        if command == "devices":
            self._show(words["devices"])
            self._say_if_slow(all(device["name"] == "cpu" for device in words["devices"]))

    def _on_finished(self, report: dict[str, Any]) -> None:
        self._say_if_slow(str(report["device"]).startswith("cpu"))

    def _say_if_slow(self, is_cpu: bool) -> None:
        notice = _("On the CPU a run takes from seconds to minutes; a graphics card is far faster.")
        self._ui.deviceNote.setText(notice if is_cpu else "")
        self._ui.deviceNote.setVisible(is_cpu)
