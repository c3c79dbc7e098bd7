"""The form as a whole: joins its sections with the logic, says what is wrong before a run, shows how it goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer

from OSSNetLib.images_section import ImagesSection
from OSSNetLib.installation import Installation, InstallationError
from OSSNetLib.logic import OSSNetSegmentationLogic, import_engine
from OSSNetLib.result_section import ResultSection
from OSSNetLib.weights_section import WeightsSection

CPU_NOTICE = "On the CPU a run takes from seconds to minutes; a graphics card is far faster."


class Panel:
    """What happens when something in the form is pressed.

    Args:
        ui: The form's widgets, as ``slicer.util.childWidgetVariables`` gives them.
        logic: Runs jobs.
        installation: Knows what is missing.
        show_error: Shows a sentence to the user; Slicer's own dialog by default.
    """

    def __init__(
        self,
        ui: Any,
        logic: OSSNetSegmentationLogic,
        installation: Installation,
        show_error: Callable[[str], Any] | None = None,
    ) -> None:
        self._ui = ui
        self._logic = logic
        self._installation = installation
        self._show_error = show_error or slicer.util.errorDisplay
        self._devices = [{"name": "auto", "title": "Automatic", "free_bytes": None}]
        self.images = ImagesSection(ui)
        self.weights = WeightsSection(ui, logic)
        self.results = ResultSection(ui, logic)
        self._connect()
        self._on_state_changed(False)
        self.load_engine()

    def load_engine(self) -> None:
        """Show tasks and weights if the engine's packages are there, else the button that installs them."""
        try:
            import_engine("tasks")
            import_engine("catalogue")
        except ImportError:
            self._ui.installButton.setVisible(True)
        else:
            self._ui.installButton.setVisible(bool(self._installation.missing()))
            self.images.fill()
        self.update()

    def choose_task(self, name: str) -> None:
        """Show a task."""
        self.images.choose_task(name)

    def problems(self) -> list[str]:
        """What keeps *Segment* from being pressed."""
        missing = self._installation.missing()
        problems = [f"Not installed yet: {', '.join(missing)}."] if missing else []
        return [*problems, *self.images.problems(), *(self.weights.problems() if self.images.task else [])]

    def update(self) -> None:
        """Say what is wrong, and enable what can be pressed."""
        problems = self.problems()
        self._ui.problemsLabel.setText("\n".join(problems))
        self._ui.problemsLabel.setVisible(bool(problems))
        self._ui.imagesNote.setText(self.images.note())
        self._ui.applyButton.setEnabled(self._logic.is_busy or not problems)
        self.results.update()

    def on_scene_closed(self) -> None:
        """Nothing of the old scene is left."""
        self._logic.forget()
        self.results.clear()
        self._tell("")
        self.update()

    def _connect(self) -> None:
        self._ui.installButton.connect("clicked(bool)", self._on_install)
        self._ui.applyButton.connect("clicked(bool)", self._on_apply)
        self._ui.releaseButton.connect("clicked(bool)", self._on_release)
        self._ui.devicesButton.connect("clicked(bool)", self._on_list_devices)
        self.images.changed.connect(self._on_images_changed)
        self.weights.changed.connect(self.update)
        self._logic.progressed.connect(self._on_progressed)
        self._logic.told.connect(self._on_told)
        self._logic.finished.connect(self._on_finished)
        self._logic.region_finished.connect(self._on_region_finished)
        self._logic.answered.connect(self._on_answered)
        self._logic.failed.connect(self._on_failed)
        self._logic.cancelled.connect(self._on_cancelled)
        self._logic.state_changed.connect(self._on_state_changed)

    def _on_images_changed(self) -> None:
        task = self.images.task
        if task is not None and task.name != self._shown_task:
            self._shown_task = task.name
            self.weights.fill(task.name)
        self.update()

    _shown_task = ""

    def _on_install(self, *_: Any) -> None:
        try:
            self._installation.ensure()
        except InstallationError as error:
            self._show_error(str(error))
        self.load_engine()

    def _on_apply(self, *_: Any) -> None:
        if self._logic.is_busy:
            # A second press is for a job that does not answer.
            (self._logic.kill if self._is_cancelling else self._logic.cancel)()
            self._is_cancelling = True
            self._ui.applyButton.setText("Cancelling... (press again to stop it at once)")
            return
        memory_gib = self._ui.memorySpinBox.value
        self._logic.segment(
            self.images.task.name,
            self.images.images(),
            self._ui.segmentationSelector.currentNode(),
            weights=self.weights.entry.name,
            device=self._devices[max(self._ui.deviceComboBox.currentIndex, 0)]["name"],
            memory_bytes=int(memory_gib * 2**30) or None,
            threshold=self._ui.thresholdSlider.value,
            is_live=self._ui.liveCheckBox.checked,
        )

    _is_cancelling = False

    def _on_release(self, *_: Any) -> None:
        self._logic.close()
        self.results.clear()
        self._tell("The engine's process has ended; its memory is free.")

    def _on_list_devices(self, *_: Any) -> None:
        self._logic.ask("devices")

    def _on_state_changed(self, is_busy: bool) -> None:
        self._is_cancelling = False
        self._ui.applyButton.setText("Cancel" if is_busy else "Segment")
        self._ui.progressBar.setVisible(is_busy)
        self._ui.releaseButton.setEnabled(not is_busy)
        if hasattr(self, "images"):
            self.update()

    def _on_progressed(self, words: dict[str, Any]) -> None:
        done, total = words["points_done"], words["points_total"]
        self._ui.progressBar.setMaximum(total)
        self._ui.progressBar.setValue(done)
        text = words["stage"].capitalize()
        text += f", step {words['step']:g}" if words["step"] else ""
        remaining = words["remaining_s"]
        text += f", about {remaining:.0f} s left" if remaining is not None else ""
        self._tell(text)

    def _on_told(self, text: str, is_warning: bool) -> None:
        self._ui.messagesLabel.setText(f"Warning: {text}" if is_warning else text)

    def _on_finished(self, report: dict[str, Any]) -> None:
        self._ui.segmentationSelector.setCurrentNode(self._logic.result.segmentation_node)
        self._ui.show3DButton.setSegmentationNode(self._logic.result.segmentation_node)
        self._tell(f"Done in {report['elapsed_s']:.1f} s, {report['volume_ml']:.2f} mL.")

    def _on_region_finished(self, node: Any) -> None:
        self._tell(f"Refined: {node.GetName()}.")

    def _on_answered(self, command: str, words: dict[str, Any]) -> None:
        if command == "devices":
            self._devices = [self._devices[0], *words["devices"]]
            self._ui.deviceComboBox.clear()
            for device in self._devices:
                free = f", {device['free_bytes'] / 2**30:.1f} GiB free" if device["free_bytes"] else ""
                self._ui.deviceComboBox.addItem(device["title"] + free)
            is_cpu_only = all(device["name"] in ("auto", "cpu") for device in self._devices)
            self._ui.deviceNote.setText(CPU_NOTICE if is_cpu_only else "")
        elif command == "export":
            self._tell(f"Written: {words['path']}.")

    def _on_failed(self, sentence: str) -> None:
        self._tell(sentence)
        self._show_error(sentence)

    def _on_cancelled(self) -> None:
        self._tell("Cancelled; what was shown stays.")

    def _tell(self, text: str) -> None:
        self._ui.progressLabel.setText(text)
