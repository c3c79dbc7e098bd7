"""Owns what happens when the user saves something: which result it is of, and that the window stays alive meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from napari_ossnet.engine.session import SegmentationSession
from napari_ossnet.widget import exports
from napari_ossnet.widget.job_runner import JobRunner
from napari_ossnet.widget.jobs import ScanMemory, call_steps
from napari_ossnet.widget.runs import Outcome, Runs
from napari_ossnet.widget.state import Job
from napari_ossnet.widget.store import Store
from napari_ossnet.widget.worker import Steps


class Saving:
    """Saves what was found.

    Args:
        store: The state.
        jobs: Runs things in the worker.
        runs: Hold the result.
        session: The engine's door.
        memory: Keeps the scan, whose slices are in the report.
    """

    def __init__(
        self, store: Store, jobs: JobRunner, runs: Runs, *, session: SegmentationSession, memory: ScanMemory
    ) -> None:
        self._store = store
        self._jobs = jobs
        self._runs = runs
        self._session = session
        self._memory = memory

    def mask(self, path: str) -> None:
        """Saves the labels as they are shown, edits included."""
        outcome, mask = self._runs.outcome, self._runs.edited_mask()
        if outcome is not None:
            labels = outcome.segmentation.labels if mask is None else mask.copy()
            self._start(partial(call_steps, exports.save_mask, path, outcome.segmentation, labels))

    def surface(self, path: str) -> None:
        """Saves the surface in full: on the network's own boundary, or around the labels that were edited."""
        outcome, mask = self._runs.outcome, self._runs.edited_mask()
        if outcome is None:
            return
        if outcome.layers.is_edited and mask is not None:
            segmentation = outcome.segmentation
            self._start(partial(call_steps, exports.save_surface_of_mask, path, mask.copy(), segmentation.affine))
            return
        self._start(partial(exports.surface_steps, path, outcome.segmentation, self._session_of(outcome)))

    def report(self, path: str) -> None:
        """Saves the report of the last run: a page with pictures, or JSON for programs."""
        outcome, mask = self._runs.outcome, self._runs.edited_mask()
        if outcome is None:
            return
        edited = mask.copy() if outcome.layers.is_edited and mask is not None else None
        session = self._session_of(outcome)
        self._start(
            partial(exports.report_steps, path, outcome.segmentation, outcome.order, self._memory, edited, session)
        )

    def table(self, path: str) -> None:
        """Saves the table as CSV."""
        self._start(partial(call_steps, exports.save_table, path, self._store.state.measurements))

    def _session_of(self, outcome: Outcome) -> SegmentationSession | None:
        """The session, as long as it has the field of a result."""
        return self._session if self._runs.has_field(outcome) else None

    def _start(self, make_steps: Callable[[], Steps]) -> None:
        if not self._store.state.is_busy:
            self._jobs.start(Job.EXPORT, make_steps, on_result=self._on_saved)

    def _on_saved(self, text: Any) -> None:
        self._store.update(status=text)
