"""The form as a whole: joins its sections with the logic, says what is wrong before a run, shows how it goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _

from OSSNetLib import nodes
from OSSNetLib.device_section import DeviceSection
from OSSNetLib.engine_import import import_engine
from OSSNetLib.images_section import ImagesSection
from OSSNetLib.installation import Installation, InstallationError
from OSSNetLib.logic import OSSNetSegmentationLogic
from OSSNetLib.result_section import ResultSection
from OSSNetLib.settings import Settings
from OSSNetLib.signals import Signal
from OSSNetLib.weights_section import WeightsSection

#: The progress bar's length; counts of points may be larger than Qt's numbers.
BAR_STEPS = 1000


class Panel:
    """What happens when something in the form is pressed.

    Signals:
        changed: Task, variant, weights or device is another one; see ``choices``.

    Args:
        ui: The form's widgets, as ``slicer.util.childWidgetVariables`` gives them.
        logic: Runs jobs.
        installation: Knows what is missing.
        settings: What is remembered between sessions.
        show_error: Shows a sentence to the user; Slicer's own dialog by default.
    """

    def __init__(
        self,
        ui: Any,
        logic: OSSNetSegmentationLogic,
        installation: Installation,
        settings: Settings,
        show_error: Callable[[str], Any] | None = None,
    ) -> None:
        self.changed = Signal()
        self._ui, self._logic = ui, logic
        self._installation, self._settings = installation, settings
        self._show_error = show_error or slicer.util.errorDisplay
        self._shown_task: Any = None
        self._is_cancelling = False
        self._messages: list[str] = []
        self.images = ImagesSection(ui)
        self.weights = WeightsSection(ui, logic, settings)
        self.device = DeviceSection(ui, logic)
        self.results = ResultSection(ui, logic, settings)
        self._connect()
        self._clear_messages()
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

    def choices(self) -> dict[str, str]:
        """What is chosen in lists that depend on this machine, by the parameter's name."""
        task, entry = self.images.task, self.weights.entry
        return {
            "task": task.name if task is not None else "",
            "variant": self.weights.variant,
            "weights": entry.name if entry is not None else "",
            "device": self.device.name,
        }

    def restore(self, choices: dict[str, str]) -> None:
        """Choose what ``choices`` once gave; what is not there any more is replaced by the best that is."""
        self.images.choose_task(choices["task"])
        if self.images.task is not None:
            self.weights.fill(self.images.task, choices["variant"], choices["weights"])
        self.device.choose(choices["device"] or "auto")
        self.update()

    def problems(self) -> list[str]:
        """What keeps *Segment* from being pressed."""
        missing = self._installation.missing()
        problems = [_("Not installed yet: {names}.").format(names=", ".join(missing))] if missing else []
        return [*problems, *self.images.problems(), *(self.weights.problems() if self.images.task else [])]

    def update(self) -> None:
        """Say what is wrong, and enable what can be pressed."""
        problems, is_busy = self.problems(), self._logic.is_busy
        self._ui.problemsLabel.setText("\n".join(problems))
        self._ui.problemsLabel.setVisible(bool(problems))
        self._ui.imagesNote.setText(self.images.note())
        self._ui.applyButton.setEnabled(is_busy or not problems)
        self._ui.applyButton.setToolTip(
            "\n".join(problems) if problems and not is_busy else _("Start; press again to cancel, what was shown stays")
        )
        self._ui.installButton.setEnabled(not is_busy)
        self._ui.devicesButton.setEnabled(not is_busy and not self._installation.missing())
        self._ui.releaseButton.setEnabled(not is_busy and self._logic.process.is_running)
        self.results.update()

    def is_result_of_chosen_scan(self) -> bool:
        """Whether the logic's result is of a volume that is chosen now: another one may be since the run began."""
        return self._logic.result.volume_node in self.images.images().values()

    def on_scene_closed(self) -> None:
        """Nothing of the old scene is left."""
        self._logic.forget()
        self._tell("")
        self._clear_messages()
        self.update()

    def _connect(self) -> None:
        self._ui.installButton.connect("clicked(bool)", self._on_install)
        self._ui.applyButton.connect("clicked(bool)", self._on_apply)
        self._ui.releaseButton.connect("clicked(bool)", self._on_release)
        self.images.changed.connect(self._on_images_changed)
        self.weights.changed.connect(self._on_choice_changed)
        self.weights.imported.connect(self._on_imported)
        self.device.changed.connect(self._on_choice_changed)
        self._logic.progressed.connect(self._on_progressed)
        self._logic.told.connect(self._on_told)
        self._logic.finished.connect(self._on_finished)
        self._logic.region_finished.connect(self._on_region_finished)
        self._logic.answered.connect(self._on_answered)
        self._logic.failed.connect(self._on_failed)
        self._logic.cancelled.connect(self._on_cancelled)
        self._logic.state_changed.connect(self._on_state_changed)

    def _on_images_changed(self) -> None:
        if self.images.task is not self._shown_task:
            self._shown_task = self.images.task
            self.weights.fill(self.images.task)
        self._leave_other_scans_result()
        self._on_choice_changed()

    def _leave_other_scans_result(self) -> None:
        """A segmentation of another scan must not be written over unasked: the next run makes a new one."""
        output, images = self._ui.segmentationSelector.currentNode(), list(self.images.images().values())
        if output is not None and images:
            reference = nodes.reference_volume(output)
            if reference is not None and all(image.GetID() != reference.GetID() for image in images):
                self._ui.segmentationSelector.setCurrentNode(None)

    def _on_choice_changed(self) -> None:
        self.update()
        self.changed.emit()

    def _on_install(self, *unused: Any) -> None:
        try:
            self._installation.ensure()
        except InstallationError as error:
            self._show_error(str(error))
        self.load_engine()

    def _on_apply(self, *unused: Any) -> None:
        if self._logic.is_busy:
            self._stop()
            return
        memory_gib, is_live = self._ui.memorySpinBox.value, self._ui.liveCheckBox.checked
        self._settings.remember({**self.choices(), "memory_gib": memory_gib, "is_live": is_live})
        self._clear_messages()
        self._logic.segment(
            self.images.task.name,
            self.images.images(),
            self._ui.segmentationSelector.currentNode(),
            weights=self.weights.entry.name,
            device=self.device.name,
            memory_bytes=int(memory_gib * 2**30) or None,
            threshold=self._ui.thresholdSlider.value,
            is_live=is_live,
        )

    def _stop(self) -> None:
        """The first press asks the job to stop; a second one is for a job that does not answer."""
        if self._is_cancelling:
            self._logic.kill()
            return
        self._is_cancelling = True
        self._ui.applyButton.setText(_("Cancelling... (press again to stop it at once)"))
        self._logic.cancel()

    def _on_release(self, *unused: Any) -> None:
        self._logic.close()
        self.update()
        self._tell(_("The engine's process has ended; its memory is free."))

    def _on_state_changed(self, is_busy: bool) -> None:
        self._is_cancelling = False
        self._ui.applyButton.setText(_("Cancel") if is_busy else _("Segment"))
        self._ui.progressBar.setMaximum(0)
        self._ui.progressBar.setVisible(is_busy)
        if is_busy:
            self._tell(_("Starting"))
        self.update()

    def _on_progressed(self, words: dict[str, Any]) -> None:
        done, total = words["points_done"], words["points_total"]
        # A bar without a maximum is Qt's sign for work of unknown length.
        self._ui.progressBar.setMaximum(BAR_STEPS if total else 0)
        self._ui.progressBar.setValue(round(BAR_STEPS * done / total) if total else 0)
        text = words["stage"].capitalize()
        text += _(", step {step:g}").format(step=words["step"]) if words["step"] else ""
        remaining = words["remaining_s"]
        text += _(", about {seconds:.0f} s left").format(seconds=remaining) if remaining is not None else ""
        self._tell(text)

    def _on_told(self, text: str, is_warning: bool) -> None:
        line = _("Warning: {text}").format(text=text) if is_warning else text
        if line not in self._messages:
            self._messages.append(line)
        self._ui.messagesLabel.setText("\n".join(self._messages))
        self._ui.messagesLabel.setVisible(True)

    def _on_finished(self, report: dict[str, Any]) -> None:
        node = self._logic.result.segmentation_node
        if self.is_result_of_chosen_scan():
            self._ui.segmentationSelector.setCurrentNode(node)
        self._ui.show3DButton.setSegmentationNode(node)
        if not report["volume_ml"]:
            self._on_told(_("Nothing was found: check task and images, or lower the threshold."), True)
        self._tell(
            _("Done in {seconds:.1f} s, {volume:.2f} mL.").format(
                seconds=report["elapsed_s"], volume=report["volume_ml"]
            )
        )

    def _on_region_finished(self, node: Any, report: dict[str, Any]) -> None:
        self._tell(
            _("Refined: {name}, {volume:.3f} mL inside the region.").format(
                name=node.GetName(), volume=report["volume_ml"]
            )
        )

    def _on_imported(self, entry: dict[str, Any]) -> None:
        """Weights may be made for another task than the one at hand, also for one that was not known before."""
        self.images.fill()
        self.images.choose_task(entry["task"])
        self.weights.fill(self.images.task, weights=entry["name"])
        self._tell(_("Imported {title} for {task}.").format(title=entry["title"], task=self.images.task.title))

    def _on_answered(self, command: str, words: dict[str, Any]) -> None:
        if command == "export":
            self._tell(_("Written: {path}.").format(path=words["path"]))
        elif command in ("devices", "download", "remove"):
            self._tell(_("Done."))

    def _on_failed(self, sentence: str) -> None:
        self._tell(sentence)
        self._show_error(sentence)

    def _on_cancelled(self) -> None:
        self._tell(_("Cancelled; what was shown stays."))

    def _clear_messages(self) -> None:
        self._messages.clear()
        self._ui.messagesLabel.setText("")
        self._ui.messagesLabel.setVisible(False)

    def _tell(self, text: str) -> None:
        self._ui.progressLabel.setText(text)
