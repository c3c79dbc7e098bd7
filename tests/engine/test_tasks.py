"""Tasks are data: what they say, and that they survive being written into weights."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.tasks import TASKS, Task, get_task


@pytest.mark.parametrize("name", TASKS)
def test_a_task_survives_the_way_through_json(name: str) -> None:
    task = get_task(name)
    assert Task.from_json(task.to_json()) == task
    assert hash(Task.from_json(task.to_json())) == hash(task)


def test_fields_with_a_default_may_be_missing_from_old_weights() -> None:
    record = json.loads(get_task("lits").to_json())
    del record["foreground_ml"], record["foreground_hint"], record["modalities"][0]["words"]
    task = Task.from_json(json.dumps(record))
    assert task.foreground_ml is None
    assert task.modalities[0].words == ()


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"name": "x"}'])
def test_what_is_no_task_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="task definition"):
        Task.from_json(text)


@pytest.mark.parametrize("part", ["", "modalities", "classes"])
def test_unknown_fields_are_refused(part: str) -> None:
    record = json.loads(get_task("brats").to_json())
    (record[part][0] if part else record)["colour"] = 1
    with pytest.raises(InputError, match="colour"):
        Task.from_json(json.dumps(record))


def test_an_unknown_task_is_answered_with_those_there_are() -> None:
    with pytest.raises(InputError, match="brats, lits, hippocampus"):
        get_task("kidney")


def test_published_grids_and_padding() -> None:
    """Spec sections 2 and 3: 8 and 8, 8 and 8, 3 before and 2 after."""
    brats = get_task("brats")
    assert brats.box_start == (8, 8, 3)
    after = [g - b - s for g, b, s in zip(brats.grid_shape, brats.box_shape, brats.box_start, strict=True)]
    assert after == [8, 8, 2]
    assert brats.modality_names == ("flair", "t1", "t1ce", "t2")
    assert get_task("lits").box_start == (0, 0, 0)
    assert get_task("lits").grid_shape == (512, 512, 512)


def test_one_class_is_a_sigmoid_and_more_are_a_softmax() -> None:
    assert get_task("brats").output_classes == 1
    assert get_task("hippocampus").output_classes == 3


@pytest.mark.parametrize("name", TASKS)
def test_every_task_is_consistent(name: str) -> None:
    task = get_task(name)
    assert task.name == name
    assert (task.spacing_mm is None) == (task.placement == "resize")
    labels = [segment.label for segment in task.classes]
    assert labels == list(range(1, len(labels) + 1))
    assert all(0 <= value <= 255 for segment in task.classes for value in segment.color)
    assert all(size % 2 == 0 for size in task.grid_shape)
    assert all(word == word.lower() for modality in task.modalities for word in modality.words)


def test_tasks_and_scans_are_known_without_importing_torch() -> None:
    code = (
        "import sys, napari_ossnet.engine.tasks, napari_ossnet.engine.scans.assignment\n"
        "slow = {'torch', 'nibabel', 'SimpleITK', 'scipy', 'skimage'} & set(sys.modules)\n"
        "assert not slow, slow"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
