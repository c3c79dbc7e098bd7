"""What a run writes down while it runs: metrics.csv, which survives resuming, and the curves as a picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

from lightning.pytorch.loggers import Logger

from ossnet_training.processes import Processes
from ossnet_training.run_folder import RunFolder, write_text


class MetricsLog(Logger):
    """Rows of metrics.csv; a resumed run keeps the rows up to the step that it goes on from.

    Lightning's own CSV logger deletes the file of the run that it resumes.
    """

    def __init__(self, run: RunFolder, resumed_step: int) -> None:
        super().__init__()
        self._is_kept = Processes.from_environment().rank == 0
        self._run = run
        self._rows: list[dict[str, Any]] = [row for row in run.rows() if row.get("step", 0) <= resumed_step]

    @property
    def name(self) -> str:
        """The run's name."""
        return self._run.name

    @property
    def version(self) -> str:
        """A run has one version: itself."""
        return ""

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Nothing: config.toml has them."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add a row, or fill in the last one of the same step."""
        if not self._is_kept:
            return
        values = {key: float(value) for key, value in metrics.items()}
        if self._rows and self._rows[-1].get("step") == step:
            self._rows[-1].update(values)
        else:
            self._rows.append({"step": float(step or 0), **values})

    def save(self) -> None:
        """Write the file anew, whole."""
        if not self._is_kept:
            return
        columns = list(dict.fromkeys(key for row in self._rows for key in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: f"{value:.6g}" for key, value in row.items()} for row in self._rows)
        write_text(self._run.metrics, text.getvalue())


def draw_curves(run: RunFolder) -> None:
    """Loss, rate and validation Dice over the steps, as a picture.

    Raises:
        OutputError: The picture can't be written.
    """
    from matplotlib.figure import Figure

    from napari_ossnet.engine.files.atomic import atomic_path

    rows = run.rows()
    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots(1, 2)
    for axis, columns in zip(axes, (["loss"], [c for row in rows for c in row if c.startswith("dice")]), strict=True):
        for column in dict.fromkeys(columns):
            points = [(row["step"], row[column]) for row in rows if column in row]
            if points:
                axis.plot(*zip(*points, strict=True), label=column, marker="." if len(points) < 50 else "")
                axis.legend()
        axis.set_xlabel("steps")
    axes[0].set_yscale("log")
    axes[1].set_title("validation")
    with atomic_path(run.curves) as temporary:
        figure.savefig(temporary, dpi=110)
