"""Owns the life of a job as the user sees it: started, told about, cancelled, failed, over."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from napari_ossnet.engine.errors import DeviceError, EngineError
from napari_ossnet.engine.events import Message, Progress
from napari_ossnet.widget.progress_text import progress_note
from napari_ossnet.widget.state import BACKGROUND_JOBS, Job, ProgressNote
from napari_ossnet.widget.store import Store
from napari_ossnet.widget.worker import Steps, Worker

_log = logging.getLogger(__name__)


class JobRunner:
    """Runs jobs in the worker and keeps the store's ``job``, ``progress``, ``status`` and ``error`` true."""

    def __init__(self, store: Store, worker: Worker) -> None:
        self._store = store
        self._worker = worker
        #: Called after any job has ended, with the job.
        self.on_idle: Callable[[Job], None] = lambda job: None

    def start(
        self,
        job: Job,
        make_steps: Callable[[], Steps],
        *,
        on_result: Callable[[Any], None],
        on_value: Callable[[Any], None] = lambda value: None,
    ) -> bool:
        """Starts a job; whatever ran before is cancelled, but nothing gives way to a background job.

        Args:
            job: What is told to the user.
            make_steps: Makes the generator, in the worker's thread.
            on_result: Gets its return value.
            on_value: Gets every value that is neither progress nor a message.

        Returns:
            Whether it was started.
        """
        if job in BACKGROUND_JOBS and self._store.state.is_busy:
            return False
        if job not in BACKGROUND_JOBS:
            self._store.update(error="", status="", run_messages=(), is_cpu_offered=False)
        self._store.update(job=job, is_cancelling=False, progress=ProgressNote(text=f"{job.value}…"))
        self._worker.start(
            make_steps,
            on_event=lambda event: self._on_event(job, event, on_value),
            on_result=on_result,
            on_error=self._on_error,
            on_stopped=lambda: self._on_stopped(job),
        )
        return True

    def cancel(self) -> None:
        """Asks the running job to stop; what it has shown stays."""
        if self._store.state.is_busy and not self._store.state.is_cancelling:
            self._store.update(is_cancelling=True, progress=ProgressNote(text="Cancelling…"))
            self._worker.cancel()

    def stop(self, job: Job) -> None:
        """Asks the worker to stop if it is at this job, which the user is not told of."""
        if self._store.state.job is job:
            self._worker.cancel()

    def shut_down(self) -> None:
        """Ends the thread; nothing arrives any more."""
        self._worker.shut_down()

    def _on_event(self, job: Job, event: Any, on_value: Callable[[Any], None]) -> None:
        if isinstance(event, Progress):
            if job not in BACKGROUND_JOBS and not self._store.state.is_cancelling:
                self._store.update(progress=progress_note(event))
        elif isinstance(event, Message):
            if job not in BACKGROUND_JOBS:
                self._store.update(run_messages=(*self._store.state.run_messages, event.text))
        else:
            on_value(event)

    def _on_error(self, error: Exception) -> None:
        if not isinstance(error, EngineError):
            # A mistake of ours, not the user's: the traceback goes to the log, the window stays usable.
            _log.error("Unexpected error in the worker", exc_info=error)
            self._store.update(error=f"Something unexpected went wrong ({type(error).__name__}: {error}).")
            return
        is_cpu_offered = isinstance(error, DeviceError) and self._store.settings.device != "cpu"
        self._store.update(error=str(error), is_cpu_offered=is_cpu_offered)

    def _on_stopped(self, job: Job) -> None:
        status = self._store.state.status
        if self._store.state.is_cancelling:
            status = "Cancelled. What had been found by then stays."
        self._store.update(job=Job.NONE, is_cancelling=False, progress=ProgressNote(), status=status)
        self.on_idle(job)
