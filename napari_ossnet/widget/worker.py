"""Owns the one thread in which the engine works, and the way its events come back to the window's thread.

1. The controller hands over a function that makes a generator; each hand-over gets a number, higher than all before.
2. The generator runs in a pool of a single thread (the network's kernels keep their plans per thread, and the session
   is not made for two), so a second job waits until the first has stopped.
3. Every value it yields, its result or its error arrives in the main thread; of the many ``Progress`` values only four
   a second do. Whatever comes from a job that is no longer the latest is dropped there.
4. ``cancel`` asks the job to stop; at its next value its generator is closed, in the thread in which it worked.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator
from threading import Event
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QThreadPool
from superqt.utils import GeneratorWorker

from napari_ossnet.engine.errors import EngineError
from napari_ossnet.engine.events import Progress
from napari_ossnet.widget.torch_loading import torch_problem

if TYPE_CHECKING:
    from warnings import WarningMessage

Steps = Generator[Any, None, Any]

#: Progress is told this often. Each time a window with an OpenGL canvas is composed anew, canvas and all, which costs a
#: software renderer tens of milliseconds on every core: the network would get what is left.
PROGRESS_INTERVAL_S = 0.25

_log = logging.getLogger(__name__)


class _Cancelled:
    """What a cancelled job returns."""


def as_worker_steps(make_steps: Callable[[], Steps]) -> Steps:
    """The generator's values, with every ``RuntimeError`` raised again as an ``EngineError``.

    A generator worker takes a ``RuntimeError`` (torch's out-of-memory error is one) for its own deletion and then
    emits neither ``errored`` nor ``finished``: the button would stay disabled for ever.
    """
    try:
        return (yield from make_steps())
    except RuntimeError as error:
        raise EngineError(f"The run failed ({error}); try the CPU, or a smaller memory budget.") from error
    except ImportError as error:
        raise EngineError(torch_problem() or f"A package is missing: {error}.") from error


class Worker:
    """Runs one generator after the other, outside the window's thread."""

    def __init__(self) -> None:
        self._pool = QThreadPool()
        self._pool.setMaxThreadCount(1)
        self._pool.setExpiryTimeout(-1)
        self._latest = 0
        # Workers stay referenced until they have finished; Qt only borrows them.
        self._running: dict[int, tuple[GeneratorWorker, Event]] = {}

    def start(
        self,
        make_steps: Callable[[], Steps],
        *,
        on_event: Callable[[Any], None],
        on_result: Callable[[Any], None],
        on_error: Callable[[Exception], None],
        on_stopped: Callable[[], None],
    ) -> None:
        """Runs a generator in the worker thread, once what ran before has stopped; that is asked to.

        Args:
            make_steps: Makes the generator; called in the worker thread.
            on_event: Gets every value that it yields, in the main thread.
            on_result: Gets what it returns, unless it was cancelled.
            on_error: Gets what it raises.
            on_stopped: Called last, however it ended.
        """
        self.cancel()
        self._latest += 1
        number, cancelled = self._latest, Event()
        worker = GeneratorWorker(_steps_until_cancelled, make_steps, cancelled)
        self._running[number] = (worker, cancelled)
        worker.yielded.connect(lambda value: self._deliver(number, on_event, value))
        worker.returned.connect(lambda value: self._deliver(number, on_result, value))
        worker.errored.connect(lambda error: self._deliver(number, on_error, error))
        worker.warned.connect(_log_warning)
        worker.finished.connect(lambda: self._finish(number, on_stopped))
        worker.setAutoDelete(False)
        self._pool.start(worker)

    def cancel(self) -> None:
        """Asks whatever runs or waits to stop at its next value."""
        for _, cancelled in self._running.values():
            cancelled.set()

    @property
    def is_running(self) -> bool:
        """Whether any job has not ended yet."""
        return bool(self._running)

    def shut_down(self, timeout_ms: int = 10_000) -> bool:
        """Cancels, drops whatever would still arrive, and waits for the thread; whether it has ended in time."""
        self.cancel()
        self._latest += 1
        try:
            return bool(self._pool.waitForDone(timeout_ms))
        except RuntimeError:
            # When the program ends without closing its window, Qt takes the pool down first, and waits for its threads.
            return True

    def _deliver(self, number: int, receive: Callable[[Any], None], value: Any) -> None:
        if number == self._latest and not isinstance(value, _Cancelled):
            receive(value)

    def _finish(self, number: int, on_stopped: Callable[[], None]) -> None:
        self._running.pop(number, None)
        if number == self._latest:
            on_stopped()


def _steps_until_cancelled(make_steps: Callable[[], Steps], cancelled: Event) -> Steps:
    """The job's values until it is cancelled; then its generator is closed here, in the thread that ran it.

    superqt's own ``quit`` leaves the generator to the garbage collector, that is to any thread, whereas torch's
    inference mode belongs to one.
    """
    steps = as_worker_steps(make_steps)
    told_at = 0.0
    while not cancelled.is_set():
        try:
            value = next(steps)
        except StopIteration as stop:
            return _Cancelled() if cancelled.is_set() else stop.value
        if isinstance(value, Progress) and time.monotonic() - told_at < PROGRESS_INTERVAL_S:
            continue
        if isinstance(value, Progress):
            told_at = time.monotonic()
        if not cancelled.is_set():
            yield value
    steps.close()
    return _Cancelled()


def _log_warning(arguments: tuple[WarningMessage, ...]) -> None:
    _log.info("%s", arguments[0])
