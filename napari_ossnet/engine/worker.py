"""The engine as a child process: commands come as JSON lines on stdin, events go as JSON lines to stdout.

It serves a host in whose own process long work must not run (3D Slicer). One process lives long: torch is imported
once, a scan is encoded once. The protocol, a JSON object a line:

- commands: ``{"command": NAME, "id": N, ...}``; jobs run in turn, ``cancel`` and ``quit`` act at once;
- events: ``{"event": NAME, "id": N, ...}`` with the id of the command that they answer. Each job ends with exactly one
  of ``done``, ``result``, ``failed`` and ``cancelled``.

When stdin ends, the parent is gone: the process ends as well, also in the middle of a run, and takes the exchange
folder with it if the parent had made that for it (``--own-exchange``).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import queue
import shutil
import sys
import threading
from collections.abc import Callable, Generator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import napari_ossnet
from napari_ossnet.engine import catalogue, wire
from napari_ossnet.engine.errors import EngineError, InputError
from napari_ossnet.engine.events import Event, Message, Progress, Snapshot
from napari_ossnet.engine.exchange import Exchange
from napari_ossnet.engine.results.segmentation import Segmentation
from napari_ossnet.engine.session import SegmentationSession
from napari_ossnet.engine.torch_errors import is_out_of_memory, out_of_memory
from napari_ossnet.engine.volume import Volume

Words = wire.Words
#: Seconds that a run gets to come to its next event once the parent is gone.
GRACE_S = 5.0


class Worker:
    """Runs commands one after the other and writes what happens.

    Args:
        exchange: Where arrays are handed over.
        output: Takes a JSON line an event.
        session: Does the work.
        on_orphaned: Called when the parent is gone without having said ``quit``.
    """

    def __init__(
        self,
        exchange: Exchange,
        output: TextIO,
        session: SegmentationSession | None = None,
        on_orphaned: Callable[[], None] | None = None,
    ) -> None:
        self._exchange = exchange
        self._output = output
        self._session = session or SegmentationSession()
        self._on_orphaned = on_orphaned
        self._scan: wire.HandedScan | None = None
        self._writing = threading.Lock()
        self._commands: queue.Queue[Words | None] = queue.Queue()
        self._cancelled: set[Any] = set()
        self._handlers: dict[str, Callable[[Words], Words]] = {
            "segment": self._segment,
            "rethreshold": self._rethreshold,
            "refine_region": self._refine_region,
            "super_resolved": self._super_resolved,
            "export": self._export,
            "weights": self._weights,
            "download": self._download,
            "import": self._import,
            "remove": self._remove,
            "devices": self._devices,
            "sample": self._sample,
            "release": self._release,
        }

    def run(self, commands: TextIO) -> None:
        """Serves until ``quit`` or the end of the commands."""
        reader = threading.Thread(target=self._read, args=(commands,), daemon=True)
        reader.start()
        self._send({"event": "ready", "version": napari_ossnet.__version__, "pid": os.getpid()})
        while (command := self._commands.get()) is not None:
            self._answer(command)

    def _read(self, commands: TextIO) -> None:
        """Takes commands in while a job runs, so that ``cancel`` and the parent's end are noticed at once."""
        for line in commands:
            if not line.strip():
                continue
            try:
                command = json.loads(line)
                name = command["command"]
            except (json.JSONDecodeError, KeyError, TypeError):
                self._send({"event": "failed", "id": None, "kind": "InputError", "text": f"Not a command: {line!r}."})
                continue
            if name == "cancel":
                self._cancelled.add(command.get("id"))
                self._send({"event": "cancelling", "id": command.get("id")})
            elif name == "quit":
                break
            else:
                self._commands.put(command)
        else:
            if self._on_orphaned is not None:
                self._on_orphaned()
        self._commands.put(None)
        # A run that does not reach its next event in time ends with the process: no orphan stays behind.
        timer = threading.Timer(GRACE_S, os._exit, args=(0,))
        timer.daemon = True
        timer.start()
        self._cancelled.add(_EVERYTHING)

    def _answer(self, command: Words) -> None:
        number = command.get("id")
        try:
            handler = self._handlers.get(command["command"])
            if handler is None:
                raise InputError(f"There is no command '{command['command']}'; choose {', '.join(self._handlers)}.")
            answer = handler(command)
        except _CancelledError:
            answer = {"event": "cancelled"}
        except EngineError as error:
            answer = {"event": "failed", "kind": type(error).__name__, "text": str(error)}
        except ImportError as error:
            text = f"A Python package that the engine needs is missing or broken ({error}); install it again."
            answer = {"event": "failed", "kind": "ImportError", "text": text}
        except Exception as error:  # the parent must hear of a programming error too; it would wait for ever
            if is_out_of_memory(error):
                answer = {"event": "failed", "kind": "OutOfMemoryError", "text": str(out_of_memory())}
            else:
                answer = {"event": "failed", "kind": type(error).__name__, "text": f"The engine failed: {error!r}."}
        self._cancelled.discard(number)
        self._send({**answer, "id": number})

    def _send(self, words: Words) -> None:
        line = json.dumps(words)
        # A parent that is gone reads nothing any more; stdin's end stops the process.
        with self._writing, contextlib.suppress(BrokenPipeError):
            self._output.write(line + "\n")
            self._output.flush()

    def _until_cancelled(self, number: Any, steps: Generator[Event, None, Any]) -> Generator[Event, None, Any]:
        """The events of a generator, whose return value becomes this one's; a cancelled job closes it."""
        try:
            while True:
                if not self._cancelled.isdisjoint({number, _EVERYTHING}):
                    raise _CancelledError
                try:
                    event = next(steps)
                except StopIteration as stop:
                    return stop.value
                yield event
        finally:
            steps.close()

    def _follow(self, command: Words, steps: Generator[Event, None, Any], shape: tuple[int, int, int] | None) -> Any:
        """Reports every event of a job and returns its result.

        Args:
            command: What was asked for; ``is_live`` false spares the snapshots.
            steps: The job.
            shape: Voxels of the mask to come, for the snapshots; None where there are none to show.
        """
        number = command.get("id")
        events = self._until_cancelled(number, steps)
        while True:
            try:
                event = next(events)
            except StopIteration as stop:
                return stop.value
            if isinstance(event, Progress):
                self._send({**wire.progress_to_words(event), "id": number})
            elif isinstance(event, Message):
                self._send({**wire.message_to_words(event), "id": number})
            elif isinstance(event, Snapshot) and shape is not None and command.get("is_live", True):
                self._send({**wire.snapshot_to_words(event, shape, self._exchange), "id": number})

    def _segment(self, command: Words) -> Words:
        scan = self._scan_of(command)
        for message in scan.messages:
            self._send({**wire.message_to_words(message), "id": command.get("id")})
        request = wire.request_from_words(command, scan)
        result: Segmentation = self._follow(command, self._session.segment(request), scan.volume.shape)
        words = wire.result_to_words(result, self._exchange)
        return {**words, "has_super_resolved_image": self._session.has_super_resolved_image}

    def _scan_of(self, command: Words) -> wire.HandedScan:
        """The scan of a command; the one before where the same files are named, so that it is not encoded again."""
        if self._scan is None or not self._scan.is_of(command):
            self._scan = wire.scan_from_words(command, self._exchange)
        return self._scan

    def _rethreshold(self, command: Words) -> Words:
        steps = self._session.rethreshold(float(command["threshold"]))
        return wire.result_to_words(self._follow(command, steps, None), self._exchange)

    def _refine_region(self, command: Words) -> Words:
        start, stop = (_triple(command[name]) for name in ("start", "stop"))
        steps = self._session.refine_region(start, stop, float(command["factor"]))
        return wire.result_to_words(self._follow(command, steps, None), self._exchange)

    def _super_resolved(self, command: Words) -> Words:
        volume: Volume = self._follow(command, self._session.super_resolved_image(), None)
        return {"event": "done", "volume": wire.volume_to_words(volume, self._exchange)}

    def _export(self, command: Words) -> Words:
        from napari_ossnet.engine.files.export import export_result
        from napari_ossnet.engine.results.report_page import write_report_page

        result, scan = self._session.result, self._scan
        if result is None or scan is None:
            raise InputError("There is no result to export yet; segment a scan first.")
        path = Path(command["path"])
        if path.suffix.lower() == ".html":
            write_report_page(path, scan.volume, result, scan.image_names)
        else:
            export_result(result, path)
        return {"event": "done", "path": str(path)}

    def _weights(self, command: Words) -> Words:
        entries = catalogue.list_entries(command.get("task"))
        return {"event": "done", "entries": [wire.entry_to_words(entry) for entry in entries]}

    def _download(self, command: Words) -> Words:
        entry = catalogue.get_entry(command["name"])
        path = self._follow(command, catalogue.download(entry), None)
        return {"event": "done", "path": str(path)}

    def _import(self, command: Words) -> Words:
        return {"event": "done", "entry": wire.entry_to_words(catalogue.import_weights(command["path"]))}

    def _remove(self, command: Words) -> Words:
        catalogue.remove(command["name"])
        return {"event": "done"}

    def _devices(self, command: Words) -> Words:
        from napari_ossnet.engine.device import list_devices

        return {"event": "done", "devices": [asdict(device) for device in list_devices()]}

    def _sample(self, command: Words) -> Words:
        from napari_ossnet.engine.phantom import demo_phantom

        volume = demo_phantom().volume
        return {"event": "done", "volume": wire.volume_to_words(volume, self._exchange)}

    def _release(self, command: Words) -> Words:
        self._session.release()
        self._scan = None
        return {"event": "done"}


class _CancelledError(Exception):
    """The parent cancelled the job under way."""


_EVERYTHING = object()


def _triple(values: list[int]) -> tuple[int, int, int]:
    i, j, k = (int(value) for value in values)
    return i, j, k


def main() -> None:
    """Serves the process that started this one."""
    parser = argparse.ArgumentParser(description="The engine as a child process; JSON lines in, JSON lines out.")
    parser.add_argument("--exchange", required=True, help="An existing folder for arrays.")
    parser.add_argument(
        "--own-exchange", action="store_true", help="Remove that folder if the parent is gone without a word."
    )
    arguments = parser.parse_args()
    # Whatever libraries print goes to stderr: stdout belongs to the protocol.
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    remove = partial(shutil.rmtree, arguments.exchange, ignore_errors=True)
    worker = Worker(Exchange(arguments.exchange), output, on_orphaned=remove if arguments.own_exchange else None)
    worker.run(sys.stdin)
    output.flush()


if __name__ == "__main__":
    main()
