"""Judging runs and putting them side by side: scores kept in each run's folder, one table and picture for all."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import torch

from napari_ossnet.engine.checkpoints import load_checkpoint, read_card
from napari_ossnet.engine.device import choose_device
from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.tasks import Task
from ossnet_training.cases import Case, find_cases
from ossnet_training.channel_order import in_task_order
from ossnet_training.config import Recipe
from ossnet_training.evaluation import Protocol, Score, cases_by_name, evaluate_cases, threshold_scores
from ossnet_training.geometry import label_map_problems
from ossnet_training.pool_cases import PoolCase, find_pool_cases, is_pool
from ossnet_training.reports import draw_boxes, markdown_table, write_scores
from ossnet_training.run_folder import RunFolder, data_path, find_run, weights_of, write_text
from ossnet_training.splits import make_split, read_split, some_names

#: Pairs of a label number and the class number that it stands for.
LabelMap = Sequence[tuple[int, int]]


def scores_path(folder: Path, protocol: Protocol) -> Path:
    """Where a run keeps its scores."""
    return folder / f"scores-{protocol}.csv"


def judge(
    source: str,
    *,
    data: str | None,
    split: str | None,
    protocol: Protocol,
    device: str,
    limit: int = 0,
    label_map: LabelMap | None = None,
) -> Iterator[list[Score]]:
    """Scores of a run's best weights, or of any weights, case by case.

    Args:
        source: A run, a weights file, or a name in the catalogue.
        data: The data set; None takes the run's.
        split: Whose validation cases are judged; None takes the run's own, or all cases where there is no run.
        protocol: See `evaluate_cases`.
        device: As `ossnet segment` takes it.
        limit: Only the first so many cases; 0 takes all.
        label_map: Pairs of a label number and the class number that it stands for; None takes the run's.

    Raises:
        EngineError: Weights, data, split or label map can't be used.
    """
    chosen, recipe = cases_to_judge(source, data=data, split=split, limit=limit)
    loaded = load_checkpoint(weights_of(source))
    yield from evaluate_cases(
        loaded.network,
        loaded.card.task,
        chosen,
        device=torch.device(choose_device(device)),
        protocol=protocol,
        label_map=_label_map(label_map, recipe, loaded.card.task),
    )


def judge_thresholds(
    source: str, *, data: str | None, split: str | None, limit: int = 0, label_map: LabelMap | None = None
) -> Iterator[tuple[Score, Score]]:
    """Scores of thresholds of the first channel on the cases that `judge` takes."""
    chosen, recipe = cases_to_judge(source, data=data, split=split, limit=limit)
    task = read_card(weights_of(source)).task
    yield from threshold_scores(task, chosen, label_map=_label_map(label_map, recipe, task))


def _label_map(given: LabelMap | None, recipe: Recipe | None, task: Task) -> LabelMap:
    """The map asked for, else the run's; weights without their run know none."""
    if given is None:
        return recipe.data.label_map if recipe is not None else ()
    problems = label_map_problems(given, task)
    if problems:
        raise InputError(f"--label-map: {'; '.join(problems)}.")
    return given


def cases_to_judge(
    source: str, *, data: str | None, split: str | None, limit: int = 0
) -> tuple[list[Case | PoolCase], Recipe | None]:
    """The cases that a run or other weights are judged on, and the run's recipe where there is a run."""
    run = _run_of(source)
    if data is None and run is None:
        raise InputError(f"{source} is no run, so that its data isn't known; name the data set with --data.")
    own = run if run is not None and _is_data_of(run, data) else None
    cases, pool_names = _cases(source, data, own)
    if split is not None:
        names = read_split(split).validation
    else:
        names = _validation_names(run, cases, pool_names, is_own=own is not None)
    chosen = cases_by_name(cases, names)
    return chosen[: limit or None], run.recipe() if run is not None else None


def output_folder(
    source: str,
    output: Path | None,
    *,
    data: str | None,
    split: str | None,
    limit: int,
    label_map: LabelMap | None = None,
) -> Path:
    """Where scores go: the folder asked for, else the run's, else the present one.

    Only scores of all cases that a run itself set apart, by its own labels, go into its folder, where `kept_scores`
    takes them for that.
    """
    if output is not None:
        return output
    run = _run_of(source)
    is_whole = split is None and not limit and label_map is None
    return run.path if run is not None and is_whole and _is_data_of(run, data) else Path()


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
        InputError: There is no such run, it hasn't been evaluated, or only weights that it has bettered since.
    """
    run = find_run(name)
    path = scores_path(run.path, protocol)
    command = f"ossnet-train evaluate {name}{'' if protocol == 'dense' else f' --protocol {protocol}'}"
    if not path.is_file():
        raise InputError(f"The run {run.name} has no scores yet; make them with: {command}.")
    if not are_scores_current(run, protocol):
        raise InputError(
            f"The scores of the run {run.name} are older than its best weights; make them anew: {command}."
        )
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Score(
                case=row["case"],
                region=row["region"],
                **{key: float(value) for key, value in row.items() if key not in ("case", "region")},
            )
            for row in csv.DictReader(file)
        ]


def are_scores_current(run: RunFolder, protocol: Protocol) -> bool:
    """Whether a run's best weights have scores that are newer than they."""
    scores = scores_path(run.path, protocol)
    return scores.is_file() and (not run.best.is_file() or scores.stat().st_mtime >= run.best.stat().st_mtime)


def refuse_different_data(names: Sequence[str]) -> None:
    """Let runs pass that were made from the same data: cases of equal names elsewhere are other cases.

    Raises:
        InputError: Two of them weren't.
    """
    data = {name: find_run(name).data() for name in names}
    for first, other in pairwise(data):
        if data[first] != data[other]:
            raise InputError(
                f"{first} was judged on cases of {data[first]}, {other} on cases of {data[other]}; train and judge "
                "both on the same."
            )


def refuse_different_cases(scores: Mapping[str, Sequence[Score]]) -> None:
    """Let runs pass that were judged on the same cases.

    Raises:
        InputError: Two of them weren't.
    """
    judged = {name: {score.case for score in some} for name, some in scores.items()}
    for first, other in pairwise(judged):
        pairs = ((first, judged[first] - judged[other]), (other, judged[other] - judged[first]))
        found = "; ".join(f"only {name} on {some_names(sorted(cases))}" for name, cases in pairs if cases)
        if found:
            raise InputError(
                f"{first} and {other} were judged on different cases ({found}); train and judge both on the same."
            )


def _run_of(source: str) -> RunFolder | None:
    try:
        return find_run(source)
    except InputError:
        return None


def _is_data_of(run: RunFolder, data: str | None) -> bool:
    return data is None or data_path(data) == run.data()


def _cases(source: str, data: str | None, own: RunFolder | None) -> tuple[list[Case | PoolCase], tuple[str, ...]]:
    """All cases, and the names that validate where the data set says so itself, as a pool does.

    A run's layout is that of its own data; of other data it says nothing.
    """
    layout = own.recipe().data.layout if own is not None else "auto"
    path = own.data() if own is not None else Path(data or "").expanduser()
    task = read_card(weights_of(source)).task
    if is_pool(path, layout):
        pool, split = find_pool_cases(path, task)
        return list(pool), split.validation
    return list(in_task_order(find_cases(path, layout), task)), ()


def _validation_names(
    run: RunFolder | None, cases: Sequence[Case | PoolCase], pool_names: tuple[str, ...], *, is_own: bool
) -> tuple[str, ...]:
    """The names that the run itself set apart, not those that its recipe would set apart today.

    A pool that the run wasn't made from has its own; without a run, all cases are judged.
    """
    if run is not None and run.split.is_file() and (is_own or not pool_names):
        return read_split(str(run.split)).validation
    names = tuple(case.name for case in cases)
    if run is None or pool_names:
        return pool_names or names
    settings = run.recipe()
    return make_split(
        names, settings.data.split, fraction=settings.data.validation_fraction, seed=settings.seed
    ).validation
