"""Scores as tables and pictures: a CSV with all of them, a Markdown table of means, a box plot a variant."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_ossnet.engine.files.atomic import atomic_path
from ossnet_training.evaluation import FIGURES, Score
from ossnet_training.run_folder import write_text

_HEADINGS = {"dice": "Dice", "iou": "IoU", "hd95_mm": "HD95 (mm)", "volume_error": "volume error"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """A mean with the half width of its 95 % interval (Student's t), over the finite values among ``count``."""

    value: float
    half_width: float
    count: int
    left_out: int

    def __str__(self) -> str:
        text = f"{self.value:.4g} ± {self.half_width:.2g}" if math.isfinite(self.half_width) else f"{self.value:.4g}"
        return f"{text} ({self.left_out} not finite)" if self.left_out else text


def mean_with_interval(values: Sequence[float]) -> Mean:
    """Mean and 95 % interval; values that are not finite are left out and counted."""
    from scipy.stats import t

    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return Mean(value=math.nan, half_width=math.nan, count=len(values), left_out=len(values))
    half_width = math.nan
    if len(finite) > 1:
        half_width = float(t.ppf(0.975, len(finite) - 1) * np.std(finite, ddof=1) / math.sqrt(len(finite)))
    return Mean(
        value=float(np.mean(finite)),
        half_width=half_width,
        count=len(values),
        left_out=len(values) - len(finite),
    )


def write_scores(path: Path, scores: Sequence[Score]) -> None:
    """One row a case and region.

    Raises:
        OutputError: The file can't be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in dataclasses.fields(Score)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(dataclasses.asdict(score) for score in scores)
    write_text(path, text.getvalue())


def markdown_table(scores: Mapping[str, Sequence[Score]]) -> str:
    """Means with 95 % intervals, a row for each name and region."""
    lines = [
        "| | region | cases | " + " | ".join(_HEADINGS[figure] for figure in FIGURES) + " | s a case |",
        "|---|---|---|" + "---|" * (len(FIGURES) + 1),
    ]
    for name, all_scores in scores.items():
        for region in dict.fromkeys(score.region for score in all_scores):
            chosen = [score for score in all_scores if score.region == region]
            cells = [str(mean_with_interval([getattr(score, figure) for score in chosen])) for figure in FIGURES]
            seconds = f"{np.mean([score.elapsed_s for score in chosen]):.2g}"
            lines.append(f"| {name} | {region} | {len(chosen)} | {' | '.join(cells)} | {seconds} |")
    return "\n".join(lines) + "\n"


def draw_boxes(path: Path, scores: Mapping[str, Sequence[Score]]) -> None:
    """A box plot of Dice and of HD95, a box for each name and region.

    Raises:
        OutputError: The picture can't be written.
    """
    from matplotlib.figure import Figure

    groups = [
        (f"{name}, {region}", [score for score in some if score.region == region])
        for name, some in scores.items()
        for region in dict.fromkeys(score.region for score in some)
    ]
    figure = Figure(figsize=(max(6.0, 0.36 * len(groups) + 2), 8), layout="constrained")
    for axis, figure_name in zip(figure.subplots(2, 1, sharex=True), ("dice", "hd95_mm"), strict=True):
        values = [
            [getattr(s, figure_name) for s in some if math.isfinite(getattr(s, figure_name))] for _, some in groups
        ]
        axis.boxplot(values, tick_labels=[label for label, _ in groups], showmeans=True)
        axis.set_ylabel(_HEADINGS[figure_name])
        axis.grid(axis="y", alpha=0.3)
    axis.tick_params(axis="x", rotation=90)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)
