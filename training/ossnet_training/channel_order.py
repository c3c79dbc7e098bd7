"""Which image of a case is which channel of the task, where the data set names them, as a CSV file's header does."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.scans.assignment import guess_modality
from napari_ossnet.engine.tasks import Task
from ossnet_training.cases import Case

logger = logging.getLogger(__name__)


def in_task_order(cases: Sequence[Case], task: Task) -> list[Case]:
    """The cases with their images in the task's order of channels, as the columns' names have it.

    Columns whose names say nothing are taken as they stand, with a warning that says so.

    Args:
        cases: All of one data set, so that they have the same columns.
        task: Whose channels they hold.

    Raises:
        InputError: Some columns are called by the task's channels, but not each of them by another.
    """
    columns = cases[0].columns if cases else ()
    if len(columns) < 2 or task.channels < 2:
        return list(cases)
    called = {column: _channel(task, column) for column in columns}
    if not any(called.values()):
        logger.warning(
            "the columns %s are taken for the channels %s, in this order",
            ", ".join(columns),
            ", ".join(task.modality_names),
        )
        return list(cases)
    column_of = {channel: column for column, channel in called.items()}
    if len(columns) != task.channels or set(column_of) != set(task.modality_names):
        read = ", ".join(f"{column} ({channel or 'unknown'})" for column, channel in called.items())
        raise InputError(
            f"The images of a case must be one each for {', '.join(task.modality_names)}, found {read}; call each "
            "column by its channel."
        )
    order = [columns.index(column_of[channel]) for channel in task.modality_names]
    return [dataclasses.replace(case, images=tuple(case.images[place] for place in order)) for case in cases]


def _channel(task: Task, column: str) -> str | None:
    """The channel that a column is called by."""
    word = column.strip().lower()
    return next((name for name in task.modality_names if name.lower() == word), None) or guess_modality(task, column)
