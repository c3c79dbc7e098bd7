"""Owns a run: turns parameters into commands for the engine's process, and its answers into nodes and signals.

It never touches a form. The scene is touched on the main thread only, in the slots of the process.
"""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from OSSNetLib.engine_import import task_of_weights
from OSSNetLib.engine_process import EngineProcess
from OSSNetLib.results import NodeDeletedError, RunResult, output_problem
from OSSNetLib.scan_files import ScanFiles
from OSSNetLib.signals import Signal

_logger = logging.getLogger(__name__)

#: What a cancelled job gets to stop by itself before the child is killed.
CANCEL_MS = 10_000
#: Commands whose result goes to the scene.
RUNS = ("segment", "rethreshold", "refine_region")
#: Where the engine's own sentence speaks of the command line.
SENTENCES = {
    "OutOfMemoryError": "The memory did not suffice; close other programs, set less at Memory, or choose the CPU at "
    "Device, then press Segment again."
}


class OSSNetSegmentationLogic:
    """Runs one job at a time.

    Signals:
        progressed: Words of a ``progress`` event.
        told: A sentence, and whether it is a warning.
        snapshot_shown: The step, in voxels.
        finished: The engine's report, after the nodes are filled.
        image_added: The node of an image that the network has made.
        region_finished: The node of a refined region, and the engine's report on it.
        answered: The answer to a command that is no run (weights, devices, export ...).
        failed: A sentence.
        cancelled: Nothing.
        state_changed: Whether a job is under way.

    Args:
        process: Talks to the engine.
    """

    def __init__(self, process: EngineProcess | None = None) -> None:
        self.process = process or EngineProcess()
        self.process.received.connect(self._on_received)
        self.process.died.connect(self._on_died)
        self.progressed, self.told, self.snapshot_shown = Signal(), Signal(), Signal()
        self.finished, self.region_finished, self.answered = Signal(), Signal(), Signal()
        self.failed, self.cancelled, self.state_changed = Signal(), Signal(), Signal()
        self.image_added = Signal()
        self.result: RunResult | None = None
        #: Whether the engine has a finished result of ``result``, to be exported, moved or refined.
        self.has_result = False
        #: Whether the network has restored an image beside the mask, as PFSeg does.
        self.has_super_resolved_image = False
        self._files = ScanFiles()
        self._job: tuple[int, str] | None = None
        self._factor = 1.0

    @property
    def is_busy(self) -> bool:
        """Whether a job is under way."""
        return self._job is not None

    def segment(self, task_name: str, images: dict[str, Any], segmentation_node: Any = None, **settings: Any) -> None:
        """Segment the scan that volume nodes make.

        Args:
            task_name: Name of the engine's task.
            images: Volume node by modality.
            segmentation_node: Where the result goes; None makes a new node.
            settings: Of the worker's ``segment`` command: variant, weights, device, memory_bytes, threshold, is_live.
        """
        if self.is_busy:
            self.failed.emit("The engine is still busy; cancel the running job first.")
            return
        transforms = {node.GetTransformNodeID() for node in images.values()}
        if len(transforms) > 1:
            self.failed.emit("The images lie below different transforms; harden the transforms, or use the same one.")
            return
        task = task_of_weights(task_name, settings.get("variant"), settings.get("weights"))
        if set(images) != set(task.modality_names):
            needed, given = ", ".join(task.modality_names), ", ".join(images) or "none"
            self.failed.emit(f"The weights need the images {needed}, found {given}; choose other images or weights.")
            return
        volume_node = images[task.modalities[0].name]
        problem = output_problem(segmentation_node, volume_node) if segmentation_node is not None else ""
        if problem:
            self.failed.emit(problem)
            return
        try:
            words = self._files.hand_over(images, self.process.exchange_folder)
        except OSError as error:
            self.failed.emit(f"The scan can't be handed to the engine ({error}); free some disk space.")
            return
        self.has_result, self.has_super_resolved_image, self.result = False, False, None
        if self._start("segment", task=task_name, images=words, **settings):
            self.result = RunResult(volume_node, task, segmentation_node)

    def rethreshold(self, threshold: float) -> None:
        """Move the threshold of the last result."""
        self._start("rethreshold", threshold=threshold)

    def refine_region(self, start: list[int], stop: list[int], factor: float) -> None:
        """Refine a box of the scan's voxels (half-open) beyond its resolution."""
        self._factor = factor
        self._start("refine_region", start=start, stop=stop, factor=factor)

    def ask(self, command: str, **words: Any) -> None:
        """Any other command of the worker; the answer comes by ``answered``."""
        self._start(command, **words)

    def cancel(self) -> None:
        """Stop the job under way; what it has shown stays. A child that does not stop in time is ended."""
        if self._job is not None:
            self.process.cancel(self._job[0])
            self.process.call_later(CANCEL_MS, partial(self._end_overdue, self._job[0]))

    def kill(self) -> None:
        """Stop the engine's process at once: for a job that does not answer ``cancel``."""
        if self._job is not None:
            self.process.kill()
            self.has_result = False
            self._end_job()
            self.cancelled.emit()

    def close(self) -> None:
        """End the process; after that a new job would start another."""
        self.process.stop()
        self.has_result = False
        if self._job is not None:
            self._end_job()

    def forget(self) -> None:
        """The scene was closed: stop a run, and let go of its nodes; what needs no scene, as a download, goes on."""
        if self._job is not None and self._job[1] in RUNS:
            self.kill()
        self.has_result = False
        self.result = None

    def check_nodes(self) -> None:
        """Stop a run whose scan or output was deleted: it would be in vain."""
        if self._job is not None and self._job[1] in RUNS and self.result is not None:
            try:
                self.result.check()
            except NodeDeletedError as error:
                self._abandon(error)

    def _abandon(self, error: NodeDeletedError) -> None:
        self.told.emit(str(error), True)
        self.cancel()

    def _give_up(self, sentence: str) -> None:
        if self._job is not None:
            self.process.cancel(self._job[0])
        self._end_job()
        self.failed.emit(sentence)

    def _end_overdue(self, number: int) -> None:
        if self._job is not None and self._job[0] == number:
            self.told.emit("The engine did not stop by itself, so its process was ended.", True)
            self.kill()

    def _start(self, command: str, **words: Any) -> bool:
        """Whether the command is on its way; if not, it was said why."""
        if self._job is not None:
            self.failed.emit("The engine is still busy; cancel the running job first.")
            return False
        try:
            self._job = (self.process.send(command, **words), command)
        except OSError as error:
            self.failed.emit(str(error))
            return False
        self.state_changed.emit(True)
        return True

    def _on_received(self, words: dict[str, Any]) -> None:
        if self._job is None or words.get("id") != self._job[0]:
            # Late words of a job that is over.
            return
        handler = getattr(self, f"_on_{words['event']}", None)
        if handler is None:
            return
        try:
            handler(words)
        except NodeDeletedError as error:
            self._abandon(error)
        except Exception as error:
            # Whatever the scene refuses, the form must not stay busy, nor the lines after this one unread.
            _logger.exception("The engine's answer could not be shown")
            self._give_up(f"The result can't be shown ({error}); choose None at Output, then press Segment again.")

    def _on_progress(self, words: dict[str, Any]) -> None:
        self.progressed.emit(words)

    def _on_message(self, words: dict[str, Any]) -> None:
        self.told.emit(words["text"], words["level"] == "warning")

    def _on_snapshot(self, words: dict[str, Any]) -> None:
        labels, meshes = self._take(words["labels"]), self._take_surfaces(words)
        if self.result is not None:
            self.result.show(labels, meshes)
            self.snapshot_shown.emit(words["step"])

    def _on_result(self, words: dict[str, Any]) -> None:
        command = self._job[1] if self._job else ""
        labels, meshes = self._take(words["labels"]), self._take_surfaces(words)
        self.has_result = self.result is not None
        if command == "segment":
            self.has_super_resolved_image = words["has_super_resolved_image"]
        self._end_job()
        if self.result is None:
            return
        try:
            if command == "refine_region":
                node = self.result.add_region(labels, meshes, np.array(words["affine"]), self._factor)
                self.region_finished.emit(node, words["report"])
            else:
                self.result.finish(labels, meshes, words["report"])
                self.finished.emit(words["report"])
        except NodeDeletedError as error:
            self.has_result = False
            self.failed.emit(str(error))

    def _on_done(self, words: dict[str, Any]) -> None:
        command = self._job[1] if self._job else ""
        self._end_job()
        if command == "super_resolved" and self.result is not None:
            volume = words["volume"]
            data = self._take(volume["data"])
            node = self.result.add_image(data[0], np.array(volume["affine"]), volume["channels"][0])
            self.image_added.emit(node)
        self.answered.emit(command, words)

    def _on_failed(self, words: dict[str, Any]) -> None:
        self._end_job()
        self.failed.emit(SENTENCES.get(words["kind"], words["text"]))

    def _on_cancelled(self, words: dict[str, Any]) -> None:
        self._end_job()
        self.cancelled.emit()

    def _on_died(self, sentence: str) -> None:
        self.has_result = False
        self._end_job()
        self.failed.emit(sentence)

    def _end_job(self) -> None:
        self._job = None
        if self.result is not None:
            self.result.settle()
        self.state_changed.emit(False)

    def _take(self, name: str) -> np.ndarray:
        """An array that the child has handed over; its file is removed."""
        path: Path = self.process.exchange_folder / name
        array = np.load(path)
        path.unlink()
        return array

    def _take_surfaces(self, words: dict[str, Any]) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        return {
            surface["label"]: (self._take(surface["vertices"]), self._take(surface["faces"]))
            for surface in words["surfaces"]
        }
