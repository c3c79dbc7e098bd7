"""Several variants at equal cost in one table: each is trained for the same minutes, then judged by the same code.

Every training and every evaluation is a process of its own, so that one's memory is not counted as another's, and a
variant that fails does not stop the others. What is done already is not done again.
"""

from __future__ import annotations

import dataclasses
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_ossnet.engine.checkpoints import read_card
from napari_ossnet.engine.errors import InputError
from ossnet_training.callbacks import selection_score
from ossnet_training.comparing import are_scores_current, kept_scores, refuse_different_cases
from ossnet_training.config import Recipe
from ossnet_training.costs import read_costs
from ossnet_training.evaluation import Score
from ossnet_training.recipe_files import load_recipe
from ossnet_training.reports import draw_boxes, mean_with_interval
from ossnet_training.run_folder import RunFolder, data_path, runs_home, write_text

logger = logging.getLogger(__name__)

#: Runs a command line of ours and gives its exit code.
Command = Callable[[Sequence[str]], int]

_COLUMNS = (
    "region",
    "cases",
    "Dice",
    "IoU",
    "HD95 (mm)",
    "parameters",
    "training memory (GB)",
    "s a case",
    "steps",
    "minutes",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSettings:
    """What a table compares, and at which cost."""

    recipe: str
    data: str
    variants: tuple[str, ...]
    minutes: float
    settings: tuple[str, ...] = ()
    seed: int = 0
    output: Path = Path()


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One run of a table; ``variant`` is its row, of which the better of several runs is shown."""

    variant: str
    run: RunFolder
    words: tuple[str, ...]


def plan_table(table: TableSettings) -> list[Entry]:
    """The runs of a table, all of their settings checked.

    Raises:
        InputError: A setting is wrong, or a run of that name was made with other settings.
    """
    if not table.variants or table.minutes <= 0:
        raise InputError("A table needs --variants, for example c,x,unet-3d, and --minutes above 0.")
    entries = []
    for variant in table.variants:
        # The paper's 2D U-Net is the best of three orientations.
        axes: tuple[int | None, ...] = (0, 1, 2) if variant == "unet-2d" else (None,)
        for axis in axes:
            axis_words = () if axis is None else (f"network.slice_axis={axis}",)
            own = (f"variant={variant}", f"seed={table.seed}", *axis_words)
            part = variant if axis is None else f"{variant}-axis{axis}"
            name = f"{Path(table.recipe).stem}-{part}-seed{table.seed}-{table.minutes:g}min"
            entry = Entry(variant=variant, run=RunFolder(path=runs_home() / name), words=(*table.settings, *own))
            _check(entry, table)
            entries.append(entry)
    return entries


def make_table(table: TableSettings, run_command: Command | None = None) -> Iterator[str]:
    """Train and judge what isn't yet, and write ``table.md`` and ``table.png`` anew after every variant.

    Yields:
        What is being done, in words.

    Raises:
        InputError: See `plan_table`; runs were judged on different cases; or some failed, after all others were done.
    """
    run_command = run_command or run_in_process
    entries, failed = plan_table(table), []
    for entry in entries:
        yield f"{entry.run.name}: {'trained already' if is_trained(entry.run, table.minutes) else 'training'}"
        if not is_trained(entry.run, table.minutes) and run_command(_fit_words(entry, table)):
            failed.append(entry.run.name)
            continue
        if not are_scores_current(entry.run, "dense"):
            yield f"{entry.run.name}: judging"
            if run_command(("evaluate", entry.run.name)):
                failed.append(entry.run.name)
                continue
        write_table(table, entries)
    if failed:
        raise InputError(
            f"{len(failed)} of {len(entries)} runs failed: {', '.join(failed)}; see what they said above. The same "
            "command goes on from there."
        )


def run_in_process(words: Sequence[str]) -> int:
    """Run one of our command lines as a process of its own; Ctrl-C stops both."""
    code = subprocess.run([sys.executable, "-m", "ossnet_training.cli", *words], check=False).returncode
    if code == 130:
        raise KeyboardInterrupt
    return code


def is_trained(run: RunFolder, minutes: float) -> bool:
    """Whether a run has had its minutes and was validated after them."""
    costs = read_costs(run)
    return costs is not None and run.best.is_file() and costs.elapsed_s >= 60 * minutes


def write_table(table: TableSettings, entries: Sequence[Entry]) -> None:
    """Write what is known so far as ``table.md`` and ``table.png``."""
    lines = [f"| | {' | '.join(_COLUMNS)} |", "|---|" + "---|" * len(_COLUMNS)]
    shown: dict[str, list[Score]] = {}
    for variant in table.variants:
        ready = [entry for entry in entries if entry.variant == variant and _is_done(entry.run, table)]
        if not ready:
            lines.append(f"| {variant} | not yet |" + " |" * (len(_COLUMNS) - 1))
            continue
        best = max(ready, key=lambda entry: selection_score(read_card(entry.run.best).dice or {}))
        title = variant if len(ready) == 1 else f"{variant} (best of {len(ready)}: {best.words[-1].split('.')[-1]})"
        # The picture has no room for which of several runs it is.
        shown[variant] = kept_scores(str(best.run.path), "dense")
        lines += _rows(title, best.run, shown[variant])
    refuse_different_cases(shown)
    write_text(table.output / "table.md", "\n".join(lines) + "\n")
    if shown:
        draw_boxes(table.output / "table.png", shown)


def _is_done(run: RunFolder, table: TableSettings) -> bool:
    return is_trained(run, table.minutes) and are_scores_current(run, "dense")


def _rows(title: str, run: RunFolder, scores: Sequence[Score]) -> list[str]:
    costs = read_costs(run)
    assert costs is not None
    rows = []
    for region in dict.fromkeys(score.region for score in scores):
        some = [score for score in scores if score.region == region]
        means = [mean_with_interval([getattr(s, figure) for s in some]) for figure in ("dice", "iou", "hd95_mm")]
        cells = [
            region,
            str(len(some)),
            *map(str, means),
            f"{costs.parameters:,}",
            f"{costs.peak_bytes / 1e9:.2f}",
            f"{np.mean([score.elapsed_s for score in some]):.2g}",
            f"{costs.steps:,}",
            f"{costs.elapsed_s / 60:.1f}",
        ]
        rows.append(f"| {title} | {' | '.join(cells)} |")
    return rows


def _check(entry: Entry, table: TableSettings) -> None:
    """Refuse wrong settings, and a run of this name that has others or was made from other data."""
    wanted = load_recipe(table.recipe, entry.words)
    if not entry.run.config.is_file():
        return
    if _comparable(entry.run.recipe()) != _comparable(wanted):
        raise InputError(
            f"The run {entry.run.name} was made with other settings ({entry.run.config}); move it away, or give the "
            "same settings as then."
        )
    if entry.run.data() != data_path(table.data):
        raise InputError(
            f"The run {entry.run.name} was made from other data ({entry.run.data()}); move it away, or give the same "
            "--data as then."
        )


def _comparable(recipe: Recipe) -> Recipe:
    """A recipe without what the command line says beside it, and without what only the model card says."""
    data = dataclasses.replace(recipe.data, path="")
    return dataclasses.replace(recipe, minutes=0.0, data=data, title="", training_data="", licence="", citation="")


def _fit_words(entry: Entry, table: TableSettings) -> tuple[str, ...]:
    options = ("--data", table.data, "--minutes", f"{table.minutes:g}", "--name", entry.run.name, "--resume", "auto")
    return ("fit", table.recipe, *options, *entry.words)
