"""Owns the engine's child process: starts it, speaks its JSON lines, hears of its death, leaves no orphan.

The child serves many runs, so that torch is imported once and a scan is encoded once. Everything here happens on the
main thread, driven by QProcess: Slicer's event loop starves Python threads. Qt is imported where it is needed, so that
what is built on this runs without Slicer's Qt side.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from OSSNetLib.signals import Signal

#: What the child gets to end by itself before it is killed, and to be gone after that.
STOP_MS = 1000
KILL_MS = 2000


def engine_folder() -> Path:
    """The folder that holds ``napari_ossnet``: beside the module when installed, three levels up in a checkout.

    Raises:
        FileNotFoundError: It is in neither place.
    """
    here = Path(__file__).resolve()
    for folder in (here.parents[1], here.parents[3]):
        if (folder / "napari_ossnet" / "engine").is_dir():
            return folder
    raise FileNotFoundError(
        f"The engine (folder napari_ossnet) is neither beside {here.parents[1]} nor in {here.parents[3]}; "
        "install the extension again."
    )


class EngineProcess:
    """One child process, started when it is first needed.

    Signals:
        received: A word dictionary from the child (see ``napari_ossnet/engine/worker.py``).
        died: A sentence: the child is gone although nobody asked it to.

    Args:
        program: Python to run it with; ``PythonSlicer`` by default.
    """

    def __init__(self, program: str | None = None) -> None:
        self.received = Signal()
        self.died = Signal()
        self._program = program
        self._process: Any = None
        self._buffer = b""
        self._errors = b""
        self._number = 0
        self._is_stopping = False
        self._exchange: Path | None = None
        #: The interpreter's id, where the program is a launcher that only waits for it.
        self._launched_pid: int | None = None

    @property
    def is_running(self) -> bool:
        """Whether the child lives."""
        return self._process is not None

    @property
    def exchange_folder(self) -> Path:
        """Where arrays are handed over; made with the child and removed with it."""
        if self._exchange is None:
            self._exchange = Path(tempfile.mkdtemp(prefix="ossnet-"))
        return self._exchange

    def send(self, command: str, **words: Any) -> int:
        """Hand a command to the child, starting it if need be; gives the number that its answers carry.

        Raises:
            OSError: The engine or Slicer's Python is missing, or can't be started.
        """
        if self._process is None:
            self._start()
        self._number += 1
        self._write({"command": command, "id": self._number, **words})
        return self._number

    def cancel(self, number: int) -> None:
        """Ask the child to stop the job of that number; it says at once that it heard, and stops at its next event."""
        if self._process is not None:
            self._write({"command": "cancel", "id": number})

    def call_later(self, delay_ms: int, receiver: Callable[[], Any]) -> None:
        """Call something on the main thread after a while."""
        import qt

        qt.QTimer.singleShot(delay_ms, receiver)

    def kill(self) -> None:
        """End the child at once and wait for it, but not for ever; nobody is told that it died."""
        self._end(is_patient=False)

    def stop(self) -> None:
        """Let the child end, kill it if it does not, and remove the exchange folder."""
        self._end(is_patient=True)

    def _end(self, *, is_patient: bool) -> None:
        process, self._process = self._process, None
        self._is_stopping = True
        if process is not None:
            if is_patient:
                process.write(b'{"command": "quit"}\n')
                process.closeWriteChannel()
            if not is_patient or not process.waitForFinished(STOP_MS):
                self._kill_launched()
                process.kill()
                process.waitForFinished(KILL_MS)
            process.deleteLater()
        self._is_stopping = False
        self._launched_pid = None
        if self._exchange is not None:
            shutil.rmtree(self._exchange, ignore_errors=True)
            self._exchange = None

    def _kill_launched(self) -> None:
        """End the interpreter behind ``PythonSlicer``: that is a launcher, whose death leaves the interpreter alive."""
        if self._launched_pid is not None:
            # Windows has no SIGKILL; there SIGTERM ends a process at once.
            with contextlib.suppress(OSError):
                os.kill(self._launched_pid, getattr(signal, "SIGKILL", signal.SIGTERM))

    def _start(self) -> None:
        import qt

        program = self._program or shutil.which("PythonSlicer")
        if program is None:
            raise FileNotFoundError("PythonSlicer is not on the path of this Slicer; install Slicer again.")
        self._buffer = self._errors = b""
        environment = qt.QProcessEnvironment.systemEnvironment()
        paths = [str(engine_folder()), environment.value("PYTHONPATH", "")]
        environment.insert("PYTHONPATH", os.pathsep.join(path for path in paths if path))
        environment.insert("PYTHONUNBUFFERED", "1")
        environment.insert("PYTHONIOENCODING", "utf-8")
        # Without a parent PythonQt deletes it as soon as Python lets go of it, be it within a signal of its own.
        process = qt.QProcess(qt.QCoreApplication.instance())
        process.setProcessEnvironment(environment)
        process.readyReadStandardOutput.connect(self._on_output)
        process.readyReadStandardError.connect(self._on_errors)
        process.finished.connect(self._on_finished)
        process.errorOccurred.connect(self._on_error)
        folder = str(self.exchange_folder)
        process.start(program, ["-m", "napari_ossnet.engine.worker", "--exchange", folder, "--own-exchange"])
        if process.state() == qt.QProcess.NotRunning:
            # On Windows the failure comes within ``start``, before anything could hear of a death.
            process.deleteLater()
            raise OSError(
                f"The engine's process could not be started ({process.errorString()}). Press Segment to try again."
            )
        self._process = process

    def _write(self, words: dict[str, Any]) -> None:
        self._process.write(json.dumps(words).encode() + b"\n")

    def _on_output(self) -> None:
        if self._process is None:
            return
        self._buffer += bytes(self._process.readAllStandardOutput().data())
        *lines, self._buffer = self._buffer.split(b"\n")
        for line in lines:
            # A receiver may have stopped the child: what it still had to say is of no interest then.
            if line.strip() and self._process is not None:
                self._take_line(line)

    def _take_line(self, line: bytes) -> None:
        try:
            words = json.loads(line)
        except ValueError:
            # A launcher may print something of its own before the interpreter starts.
            self._errors = (self._errors + line + b"\n")[-4000:]
            return
        if words.get("event") == "ready" and words["pid"] != self._process.processId():
            self._launched_pid = words["pid"]
        self.received.emit(words)

    def _on_errors(self) -> None:
        if self._process is not None:
            # The end of it is what a death is explained with.
            self._errors = (self._errors + bytes(self._process.readAllStandardError().data()))[-4000:]

    def _on_finished(self, *unused: Any) -> None:
        self._report_death("The engine's process ended unexpectedly (crashed, ran out of memory, or was stopped).")

    def _on_error(self, error: Any) -> None:
        import qt

        process = self._process
        # A crash is an error as well; ``finished`` follows it.
        if process is not None and error == qt.QProcess.FailedToStart:
            self._report_death(f"The engine's process could not be started ({process.errorString()}).")

    def _report_death(self, sentence: str) -> None:
        if self._process is None or self._is_stopping:
            return
        self._on_output()
        self._on_errors()
        last = self._errors.decode(errors="replace").strip().splitlines()[-1:]
        self._end(is_patient=False)
        self.died.emit(
            " ".join([sentence, *(f"Its last words: {line}" for line in last), "Press Segment to try again."])
        )
