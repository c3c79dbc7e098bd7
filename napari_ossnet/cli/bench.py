"""``ossnet bench``: our path beside the published form on this machine, as ratios measured in one run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from napari_ossnet.cli.segment import check_writable
from napari_ossnet.engine.files.atomic import atomic_path


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Measure how fast and how small a segmentation is here, beside the published form and beside dense networks."""

    quick: bool = False
    """About three minutes on two quiet cores, with one scan, one repeat and no liver task; else up to twenty."""
    json: Path | None = None
    """Write all figures to this file, and plots beside it."""
    device: str = "cpu"
    """Where the networks run: cpu, cuda, cuda:n or mps. Memory and peers are measured on the CPU."""
    weights: str | None = None
    """Weights of an OSS-Net C in place of the best at hand: a name from 'ossnet weights list', or a file."""

    def run(self) -> None:
        """Does it and shows the tables.

        Raises:
            EngineError: Something can't be measured, or the file can't be written.
        """
        if self.json is not None:
            check_writable(self.json)
        # Torch comes with these.
        from napari_ossnet.bench.benchmark import run_benchmark
        from napari_ossnet.bench.plan import FULL, QUICK
        from napari_ossnet.bench.table import render
        from napari_ossnet.engine.device import choose_device

        progress = Console(stderr=True, highlight=False)
        document = run_benchmark(
            QUICK if self.quick else FULL,
            lambda line: progress.print(f"[dim]{line} ...[/dim]"),
            str(choose_device(self.device)),
            self.weights,
            self._write,
        )
        if self.json is not None:
            self._draw(document)
        Console().print(render(document))

    def _write(self, document: dict[str, object]) -> None:
        if self.json is not None:
            with atomic_path(self.json) as temporary:
                temporary.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")

    def _draw(self, document: dict[str, object]) -> None:
        from napari_ossnet.bench.plots import draw_plots

        assert self.json is not None
        for path in draw_plots(document, self.json):
            print(f"Plot: {path}")
