"""Which cases a cohort has, and its table."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from napari_ossnet.engine.cohort import find_cases, write_table
from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.tasks import TASKS

MODALITIES = ("flair", "t1", "t1ce", "t2")


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


class TestFindingCases:
    def test_labels_beside_the_images_are_left_out(self, tmp_path: Path) -> None:
        for name in (*MODALITIES, "seg"):
            (tmp_path / "p1").mkdir(exist_ok=True)
            (tmp_path / "p1" / f"p1_{name}.nii.gz").touch()
        (case,) = find_cases(TASKS["brats"], tmp_path)
        assert case.name == "p1"
        assert {Path(image).name for image in case.images} == {f"p1_{name}.nii.gz" for name in MODALITIES}

    def test_without_folders_each_file_is_a_case(self, tmp_path: Path) -> None:
        for name in ("one.nii.gz", "two.mha", "notes.txt", ".hidden.nii"):
            (tmp_path / name).touch()
        assert [case.name for case in find_cases(TASKS["lits"], tmp_path)] == ["one", "two"]

    def test_a_folder_of_slices_is_one_image(self, tmp_path: Path) -> None:
        (tmp_path / "ct1").mkdir()
        (tmp_path / "ct1" / "IM0001").touch()
        (case,) = find_cases(TASKS["lits"], tmp_path)
        assert case.images == (str(tmp_path / "ct1"),)

    def test_two_images_whose_masks_would_have_one_name_are_refused(self, tmp_path: Path) -> None:
        (tmp_path / "one.nii.gz").touch()
        (tmp_path / "one.mha").touch()
        with pytest.raises(InputError, match="one"):
            find_cases(TASKS["lits"], tmp_path)

    @pytest.mark.parametrize("name", ["", "gone"])
    def test_nothing_to_do_is_an_error(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(InputError, match=r"There is no (case|folder)"):
            find_cases(TASKS["lits"], tmp_path / name)


def test_a_report_that_comes_while_the_table_is_written_gets_into_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def report(case: str) -> None:
        content = {"evaluated_locations": 1, "volume_ml": 2.0, "weights": {"name": "w", "sha256": "0"}}
        (tmp_path / f"{case}.json").write_text(json.dumps(content), encoding="utf-8")

    report("first")
    replace, others = Path.replace, ["second"]

    def replace_late(self: Path, target: Path) -> Path:
        if others:
            report(others.pop())
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", replace_late)
    write_table(tmp_path)
    assert [row["case"] for row in rows_of(tmp_path)] == ["first", "second"]
