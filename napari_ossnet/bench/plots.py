"""The benchmark's plots: work against resolution, memory against chunk size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_ossnet.engine.files.atomic import atomic_path


def draw_plots(document: dict[str, Any], beside: Path) -> list[Path]:
    """Writes both plots next to a file and returns their paths.

    Raises:
        OutputError: They can't be written.
    """
    # Figures without pyplot: no screen, no state of a window system.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    paths = []
    for name, draw in (("growth", _draw_growth), ("memory", _draw_memory)):
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        FigureCanvasAgg(figure)
        draw(document, *figure.subplots(1, 2))
        path = beside.with_name(f"{beside.stem}-{name}.png")
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=120)
        paths.append(path)
    return paths


def _draw_growth(document: dict[str, Any], left: Any, right: Any) -> None:
    growth = document["growth"]
    sizes: list[int] = []
    for shape, curve in growth["curves"].items():
        sizes = [point["size"] for point in curve]
        label = f"{shape}, exponent {growth['exponents'][shape]:.2f}"
        left.loglog(sizes, [point["locations"] for point in curve], "o-", label=label)
        right.loglog(sizes, [point["locations"] * point["location_us"] / 1e6 for point in curve], "o-", label=shape)
        left.loglog(sizes, [size**3 for size in sizes], ":", color="grey")
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [str(size) for size in sizes])
    left.set(xlabel="points along an axis", ylabel="locations asked", title="Locations (dotted: every one)")
    right.set(xlabel="points along an axis", ylabel="seconds", title="Traversal and OSS-Net C's decoder")
    left.legend()


def _draw_memory(document: dict[str, Any], left: Any, right: Any) -> None:
    for form, curve in document["memory"]["curves"].items():
        chunks = [point["chunk"] for point in curve]
        left.plot(chunks, [point["peak_bytes"] / 1e9 for point in curve], "o-", label=form)
        right.plot(chunks, [point["chunk_s"] / point["chunk"] * 1e6 for point in curve], "o-", label=form)
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("locations a chunk")
        axes.legend()
    left.set(ylabel="GB above the loaded scan", title="Peak memory, OSS-Net C")
    right.set(ylabel="microseconds a location", title="Time of a location, one chunk")
