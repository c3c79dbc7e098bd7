"""Owns a run: turns parameters into commands for the engine's process, and its answers into nodes and signals.

It never touches a form. The scene is touched on the main thread only, in the slots of the process.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from OSSNetLib import nodes
from OSSNetLib.engine_process import EngineProcess, engine_folder
from OSSNetLib.results import NodeDeletedError, RunResult
from OSSNetLib.signals import Signal


def import_engine(module: str) -> Any:
    """A light module of the engine (no torch in it), e.g. ``tasks``; its packages must be installed.

    Raises:
        ImportError: They are not.
    """
    folder = str(engine_folder())
    if folder not in sys.path:
        sys.path.append(folder)
    return __import__(f"napari_ossnet.engine.{module}", fromlist=[module])


class OSSNetSegmentationLogic:
    """Runs one job at a time.

    Signals:
        progressed: Words of a ``progress`` event.
        told: A sentence, and whether it is a warning.
        snapshot_shown: The step, in voxels.
        finished: The engine's report, after the nodes are filled.
        region_finished: The node of a refined region.
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
        self.result: RunResult | None = None
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
        task = import_engine("tasks").get_task(task_name)
        first = images[task.modalities[0].name]
        transforms = {node.GetTransformNodeID() for node in images.values()}
        if len(transforms) > 1:
            self.failed.emit("The images lie below different transforms; harden the transforms, or use the same one.")
            return
        self.result = RunResult(first, task, segmentation_node)
        words = {name: self._image_to_words(node) for name, node in images.items()}
        self._start("segment", task=task_name, images=words, **settings)

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
        """Stop the job under way; what it has shown stays."""
        if self._job is not None:
            self.process.cancel(self._job[0])

    def kill(self) -> None:
        """Stop the engine's process at once: for a job that does not answer ``cancel``."""
        if self._job is not None:
            self.process.kill()
            self._end_job()
            self.cancelled.emit()

    def close(self) -> None:
        """End the process; after that a new job would start another."""
        self.process.stop()
        self._job = None

    def forget(self) -> None:
        """The scene was closed: stop what runs, and let go of its nodes."""
        if self.is_busy:
            self.kill()
        self.result = None

    def _start(self, command: str, **words: Any) -> None:
        if self._job is not None:
            self.failed.emit("The engine is still busy; cancel the running job first.")
            return
        try:
            self._job = (self.process.send(command, **words), command)
        except (OSError, FileNotFoundError) as error:
            self.failed.emit(str(error))
            return
        self.state_changed.emit(True)

    def _image_to_words(self, node: Any) -> dict[str, Any]:
        name = f"image-{node.GetID()}.npy"
        np.save(self.process.exchange_folder / name, nodes.volume_to_array(node))
        return {"data": name, "affine": nodes.volume_to_affine(node).tolist(), "channels": [node.GetName() or "image"]}

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
            self.cancel()
            self.told.emit(str(error), True)

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
        self._end_job()
        if self.result is None:
            return
        try:
            if command == "refine_region":
                self.region_finished.emit(self.result.add_region(labels, np.array(words["affine"]), self._factor))
            else:
                self.result.finish(labels, meshes, words["report"])
                self.finished.emit(words["report"])
        except NodeDeletedError as error:
            self.failed.emit(str(error))

    def _on_done(self, words: dict[str, Any]) -> None:
        command = self._job[1] if self._job else ""
        self._end_job()
        self.answered.emit(command, words)

    def _on_failed(self, words: dict[str, Any]) -> None:
        self._end_job()
        self.failed.emit(words["text"])

    def _on_cancelled(self, words: dict[str, Any]) -> None:
        self._end_job()
        self.cancelled.emit()

    def _on_died(self, sentence: str) -> None:
        self._end_job()
        self.failed.emit(sentence)

    def _end_job(self) -> None:
        self._job = None
        if self.result is not None:
            self.result.discard_previews()
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
