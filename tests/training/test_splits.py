"""Splits: by name, by file, by chance; nothing is missing without a word."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ossnet_training.splits import make_split, read_split

from napari_ossnet.engine.errors import InputError

NAMES = [f"case_{number}" for number in range(10)]


def test_the_published_brats_split_has_324_and_45_cases() -> None:
    split = read_split("brats2020")
    assert (len(split.training), len(split.validation)) == (324, 45)
    assert len({*split.training, *split.validation}) == 369


def test_the_hippocampus_validates_on_twenty_named_cases(a_data_folder: Path) -> None:
    names = [path.name.removesuffix(".nii.gz") for path in (a_data_folder / "hippocampus" / "images").iterdir()]
    split = make_split(sorted(names), "hippocampus", fraction=0.5, seed=0)
    assert (len(split.training), len(split.validation)) == (188, 20)


def test_a_random_split_depends_on_the_seed_alone() -> None:
    first = make_split(NAMES, "", fraction=0.3, seed=1)
    assert first == make_split(NAMES, "", fraction=0.3, seed=1)
    assert first != make_split(NAMES, "", fraction=0.3, seed=2)
    assert len(first.validation) == 3
    assert sorted(first.training + first.validation) == NAMES


def test_a_file_without_training_names_trains_on_all_others(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"validation": ["case_3"]}), encoding="utf-8")
    split = make_split(NAMES, str(path), fraction=0.1, seed=0)
    assert split.validation == ("case_3",)
    assert len(split.training) == 9


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"validation": ["case_11"]}', "case_11"),
        ('{"training": ["case_1"], "validation": ["case_1"]}', "same cases"),
        ('{"train": ["case_1"], "val": ["case_2"], "test": ["case_2"]}', "same cases"),
        ('{"val": ["case_2"], "test": ["case_12"]}', "case_12"),
        ('{"validation": ["case_1"], "held_out": ["case_2"]}', "headings held_out"),
        ('{"validation": "case_1"}', "lists of names"),
        ('{"training": ["case_1"]}', "no validation"),
        ("[1", "JSON"),
    ],
)
def test_a_split_that_can_not_hold_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "mine.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=complaint):
        make_split(NAMES, str(path), fraction=0.1, seed=0)


JSON_SPLIT = '{"train": ["case_1", "case_4"], "Val": ["case_2"], "test": ["case_3", "not_here"]}'
TEXT_SPLIT = "Train:\ncase_1\ncase_4\nVal:\n  case_2\nTest:\ncase_3\nnot_here\n"


@pytest.mark.parametrize(("name", "text"), [("mine.json", JSON_SPLIT), ("mine.txt", TEXT_SPLIT)])
def test_cases_that_are_held_out_neither_train_nor_validate(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8-sig")
    split = make_split(NAMES, str(path), fraction=0.1, seed=0)
    assert (split.training, split.validation) == (("case_1", "case_4"), ("case_2",))


def test_where_all_others_train_those_that_are_held_out_do_not(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text('{"validation": ["case_2"], "test": ["case_3"]}', encoding="utf-8")
    split = make_split(NAMES, str(path), fraction=0.1, seed=0)
    assert split.validation == ("case_2",)
    assert sorted(split.training) == sorted(set(NAMES) - {"case_2", "case_3"})


@pytest.mark.parametrize(
    ("text", "complaint"), [("Fold 1:\ncase_1\nValidation:\ncase_2", "Fold 1"), ("case_1\nVal:\ncase_2", "none")]
)
def test_names_under_other_headings_do_not_train_unasked(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "mine.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=f"headings {complaint}; expected training"):
        read_split(str(path))


def test_an_unknown_split_names_those_that_there_are() -> None:
    with pytest.raises(InputError, match="brats2020, hippocampus"):
        read_split("nothing")
