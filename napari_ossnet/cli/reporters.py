"""How a run shows itself on the command line: a bar with the step and the time left, lines of JSON, or nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Generator
from dataclasses import asdict
from typing import Any, Literal, Protocol, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, SpinnerColumn, TaskID, TaskProgressColumn, TextColumn
from rich.progress import Progress as Bar

from napari_ossnet.engine.completion import complete
from napari_ossnet.engine.events import Event, Message, Progress, Snapshot

ProgressKind = Literal["bar", "json", "none"]
Result = TypeVar("Result")

_STAGE_TITLES = {
    "weights": "Reading the weights",
    "preparing": "Preparing the scan",
    "encoding": "Encoding the scan",
    "surface": "Building the surface",
    "measuring": "Measuring",
    "download": "Downloading",
}


class Reporter(Protocol):
    """Where a command says what happens."""

    def event(self, event: Event) -> None:
        """Shows one event of a run."""

    def fact(self, kind: str, text: str, **values: Any) -> None:
        """States a fact about the run: ``text`` for people, or ``values`` for programs under ``kind``."""

    def close(self) -> None:
        """Ends whatever is still drawn."""


def make_reporter(kind: ProgressKind) -> Reporter:
    """The reporter for the option ``--progress``."""
    reporters: dict[ProgressKind, type[Reporter]] = {"bar": BarReporter, "json": JsonReporter, "none": QuietReporter}
    return reporters[kind]()


def drive(steps: Generator[Event, None, Result], reporter: Reporter) -> Result:
    """Runs a generator to its end, showing its events, and returns its result."""
    try:
        return complete(steps, reporter.event)
    finally:
        reporter.close()


class QuietReporter:
    """No progress: warnings go to the error stream, facts to the output."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)

    def event(self, event: Event) -> None:
        """Shows messages only."""
        if isinstance(event, Message):
            self._show(event)

    def fact(self, kind: str, text: str, **values: Any) -> None:
        """Prints the text."""
        print(text, flush=True)

    def close(self) -> None:
        """Nothing is drawn."""

    def _show(self, message: Message) -> None:
        style, word = ("yellow", "Warning: ") if message.level == "warning" else ("", "")
        self._console.print(f"{word}{escape(message.text)}", style=style)


class BarReporter(QuietReporter):
    """A bar that names the step and the time left, and a line that stays for every finished step."""

    def __init__(self) -> None:
        super().__init__()
        self._bar: Bar | None = None
        self._task: TaskID | None = None

    def event(self, event: Event) -> None:
        """Moves the bar, or prints a line above it."""
        if isinstance(event, Message):
            self._show(event)
        elif isinstance(event, Snapshot):
            locations = f"{event.evaluated_locations:,} locations"
            self._console.print(f"[dim]step {event.step:>4g}   {locations:>20}   {event.elapsed_s:6.1f} s[/dim]")
        elif self._console.is_terminal:
            self._move(event)

    def close(self) -> None:
        """Takes the bar off the screen."""
        if self._bar is not None:
            self._bar.stop()
        self._bar = self._task = None

    def _move(self, progress: Progress) -> None:
        if self._bar is None:
            columns = ("[bold]{task.description}", BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[left]}"))
            self._bar = Bar(SpinnerColumn(), *columns, console=self._console, transient=True)
            self._bar.start()
            self._task = self._bar.add_task("", total=None, left="")
        assert self._task is not None
        self._bar.update(
            self._task,
            description=title_of(progress),
            # None makes the bar pulse: the stage can't say how far it is.
            total=progress.points_total or None,
            completed=progress.points_done,
            left=_time_left(progress),
        )


class JsonReporter:
    """One line of JSON an event on the standard output, for programs."""

    def event(self, event: Event) -> None:
        """Prints one line; of a snapshot its figures, not its voxels."""
        if isinstance(event, Snapshot):
            self._line("snapshot", _snapshot_values(event))
        else:
            self._line("message" if isinstance(event, Message) else "progress", asdict(event))

    def fact(self, kind: str, text: str, **values: Any) -> None:
        """Prints the values, or the text where there are none."""
        self._line(kind, values or {"text": text})

    def close(self) -> None:
        """Nothing is drawn."""

    def _line(self, kind: str, values: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps({"event": kind, **values}, default=str) + "\n")
        sys.stdout.flush()


def title_of(progress: Progress) -> str:
    """What is being done, for people."""
    if progress.stage == "refining":
        return f"Step {progress.step:g}"
    return _STAGE_TITLES[progress.stage]


def _time_left(progress: Progress) -> str:
    if progress.remaining_s is None:
        return f"{progress.elapsed_s:.0f} s so far"
    minutes, seconds = divmod(round(progress.remaining_s), 60)
    return f"{minutes}:{seconds:02d} min left" if minutes else f"{seconds} s left"


def _snapshot_values(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "step": snapshot.step,
        "shape": list(snapshot.labels.shape),
        "occupied_samples": int((snapshot.labels > 0).sum()),
        "first_voxel": list(snapshot.first_voxel),
        "evaluated_locations": snapshot.evaluated_locations,
        "elapsed_s": snapshot.elapsed_s,
        "threshold": snapshot.threshold,
        "is_final": snapshot.is_final,
    }
