"""Judging runs and putting them side by side: scores kept in each run's folder, one table and picture for all."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from napari_ossnet.engine.checkpoints import load_checkpoint
from napari_ossnet.engine.device import choose_device
from napari_ossnet.engine.errors import InputError
from ossnet_training.cases import Case, find_cases
from ossnet_training.config import Recipe
from ossnet_training.evaluation import Protocol, Score, cases_by_name, evaluate_cases, threshold_scores
from ossnet_training.pool_cases import PoolCase, find_pool_cases
from ossnet_training.reports import draw_boxes, markdown_table, write_scores
from ossnet_training.run_folder import find_run, weights_of, write_text
from ossnet_training.splits import make_split, read_split
from ossnet_training.synthesis.pool import MANIFEST


def scores_path(folder: Path, protocol: Protocol) -> Path:
    """Where a run keeps its scores."""
    return folder / f"scores-{protocol}.csv"


def judge(
    source: str, *, data: str | None, split: str | None, protocol: Protocol, device: str, limit: int = 0
) -> Iterator[list[Score]]:
    """Scores of a run's best weights, or of any weights, case by case.

    Args:
        source: A run, a weights file, or a name in the catalogue.
        data: The data set; None takes the run's.
        split: Whose validation cases are judged; None takes the run's own, or all cases where there is no run.
        protocol: See `evaluate_cases`.
        device: As `ossnet segment` takes it.
        limit: Only the first so many cases; 0 takes all.

    Raises:
        EngineError: Weights, data or split can't be used.
    """
    chosen, recipe = cases_to_judge(source, data=data, split=split, limit=limit)
    loaded = load_checkpoint(weights_of(source))
    yield from evaluate_cases(
        loaded.network,
        loaded.card.task,
        chosen,
        device=torch.device(choose_device(device)),
        protocol=protocol,
        label_map=recipe.data.label_map if recipe else (),
    )


def judge_thresholds(
    source: str, *, data: str | None, split: str | None, limit: int = 0
) -> Iterator[tuple[Score, Score]]:
    """Scores of thresholds of the first channel on the cases that `judge` takes."""
    chosen, recipe = cases_to_judge(source, data=data, split=split, limit=limit)
    task = load_checkpoint(weights_of(source)).card.task
    yield from threshold_scores(task, chosen, label_map=recipe.data.label_map if recipe else ())


def cases_to_judge(
    source: str, *, data: str | None, split: str | None, limit: int = 0
) -> tuple[list[Case | PoolCase], Recipe | None]:
    """The cases that a run or other weights are judged on, and the run's recipe where there is a run."""
    recipe, names = _recipe_of(source), None
    if data is None and recipe is None:
        raise InputError(f"{source} is no run, so that its data isn't known; name the data set with --data.")
    cases, own_names = _cases(data or (recipe.data.path if recipe else ""), source, recipe)
    if split is not None:
        names = read_split(split).validation
    elif recipe is not None or own_names:
        names = own_names or _validation_names(recipe, source, cases)
    chosen = list(cases) if names is None else cases_by_name(cases, names)
    if not chosen:
        raise InputError("None of the split's cases is in the data set; check --data and --split.")
    return chosen[: limit or None], recipe


def output_folder(source: str, output: Path | None) -> Path:
    """Where scores go: the folder asked for, else the run's, else the present one."""
    if output is not None:
        return output
    try:
        return find_run(source).path
    except InputError:
        return Path()


def write_report(folder: Path, scores: dict[str, list[Score]], title: str) -> Path:
    """A Markdown table and a box plot of one or several runs in a folder."""
    draw_boxes(folder / f"{title}.png", scores)
    table = folder / f"{title}.md"
    write_text(table, markdown_table(scores))
    return table


def keep_scores(folder: Path, scores: Sequence[Score], protocol: Protocol) -> None:
    """Keep a run's scores beside its weights."""
    write_scores(scores_path(folder, protocol), scores)


def kept_scores(name: str, protocol: Protocol) -> list[Score]:
    """What `keep_scores` wrote for a run.

    Raises:
        InputError: There is no such run, or it hasn't been evaluated.
    """
    run = find_run(name)
    path = scores_path(run.path, protocol)
    if not path.is_file():
        raise InputError(f"The run {run.name} has no scores yet; make them with: ossnet-train evaluate {name}.")
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Score(
                case=row["case"],
                region=row["region"],
                **{key: float(value) for key, value in row.items() if key not in ("case", "region")},
            )
            for row in csv.DictReader(file)
        ]


def _recipe_of(source: str) -> Recipe | None:
    try:
        return find_run(source).recipe()
    except InputError:
        return None


def _cases(path: str, source: str, recipe: Recipe | None) -> tuple[list[Case | PoolCase], tuple[str, ...]]:
    """All cases, and the names that validate where the data set says so itself, as a pool does."""
    if (Path(path).expanduser() / MANIFEST).is_file():
        pool, split = find_pool_cases(Path(path).expanduser(), load_checkpoint(weights_of(source)).card.task)
        return list(pool), split.validation
    return list(find_cases(path, recipe.data.layout if recipe else "auto")), ()


def _validation_names(recipe: Recipe | None, source: str, cases: Sequence[Case | PoolCase]) -> tuple[str, ...]:
    """The names that the run itself set apart, not those that its recipe would set apart today."""
    run = find_run(source)
    if run.split.is_file():
        return read_split(str(run.split)).validation
    names = [case.name for case in cases]
    assert recipe is not None
    return make_split(names, recipe.data.split, fraction=recipe.data.validation_fraction, seed=recipe.seed).validation
