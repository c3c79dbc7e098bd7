"""For scripts and tests: a segmentation that is waited for, while Slicer's events go on."""

from __future__ import annotations

import time
from typing import Any

import slicer

from OSSNetLib.logic import OSSNetSegmentationLogic
from OSSNetLib.results import RunResult


class SegmentationError(Exception):
    """The run failed or was cancelled; the sentence says why."""


def segment_and_wait(
    images: dict[str, Any],
    task: str,
    segmentation_node: Any = None,
    *,
    logic: OSSNetSegmentationLogic | None = None,
    timeout_s: float | None = None,
    **settings: Any,
) -> RunResult:
    """Segment the scan that volume nodes make, and give the nodes that were filled.

    Args:
        images: Volume node by modality, such as ``{"mr": node}``.
        task: Name of the engine's task.
        segmentation_node: Where the result goes; None makes a new node.
        logic: One whose process is to be used again; by default a new one, which is ended with the run.
        timeout_s: None waits for ever.
        settings: Of the worker's ``segment`` command: variant, weights, device, memory_bytes, threshold, is_live.

    Raises:
        SegmentationError: The run failed, was cancelled, or took too long.
    """
    runner = logic or OSSNetSegmentationLogic()
    failures: list[str] = []
    warnings: list[str] = []

    def keep_warning(text: str, is_warning: bool) -> None:
        if is_warning:
            warnings.append(text)

    def keep_cancellation() -> None:
        # The last warning is why: a node was deleted, or the engine did not answer.
        failures.append(" ".join(["The run was cancelled before its end.", *warnings[-1:]]))

    runner.failed.connect(failures.append)
    runner.told.connect(keep_warning)
    runner.cancelled.connect(keep_cancellation)
    deadline = float("inf") if timeout_s is None else time.monotonic() + timeout_s
    try:
        runner.segment(task, images, segmentation_node, **settings)
        while runner.is_busy:
            if time.monotonic() > deadline:
                runner.kill()
                raise SegmentationError(f"There was no result within {timeout_s:g} s; allow more time.")
            slicer.app.processEvents()
            time.sleep(0.01)
        if failures:
            raise SegmentationError(failures[0])
        return runner.result
    finally:
        runner.failed.disconnect(failures.append)
        runner.told.disconnect(keep_warning)
        runner.cancelled.disconnect(keep_cancellation)
        if logic is None:
            runner.close()
