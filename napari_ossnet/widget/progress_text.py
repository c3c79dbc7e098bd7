"""Owns how progress is put into words and into the length of a bar."""

from __future__ import annotations

from napari_ossnet.engine.events import Progress
from napari_ossnet.widget.state import ProgressNote

_STAGES = {
    "weights": "Loading the network",
    "preparing": "Preparing the scan",
    "encoding": "Encoding the scan",
    "refining": "Refining",
    "surface": "Extracting the surface",
    "measuring": "Measuring",
    "download": "Downloading",
}


def progress_note(progress: Progress) -> ProgressNote:
    """One line and a bar: the stage, the step, points done and to do, the time left as far as it is known."""
    parts = [_STAGES[progress.stage]]
    if progress.stage == "refining" and progress.step:
        parts[0] = f"Step {progress.step:g}"
    fraction = None
    if progress.points_total > 0:
        fraction = min(1.0, progress.points_done / progress.points_total)
        parts.append(_amount(progress))
    if progress.remaining_s is not None:
        parts.append(f"{duration(progress.remaining_s)} left")
    return ProgressNote(text=" · ".join(parts), fraction=fraction)


def duration(seconds: float) -> str:
    """A time as people say it: ``12 s``, ``3 min``, ``1 h 20 min``."""
    whole = max(0, round(seconds))
    if whole < 90:
        return f"{whole} s"
    minutes = round(whole / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def size(count: int) -> str:
    """A number of bytes as people read it."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def _amount(progress: Progress) -> str:
    if progress.stage == "download":
        return f"{size(progress.points_done)} of {size(progress.points_total)}"
    return f"{progress.points_done:,} of {progress.points_total:,} points"
