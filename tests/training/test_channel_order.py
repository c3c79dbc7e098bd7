"""Channels are told by the names that a data set gives them, and by their place only where the names say nothing."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from ossnet_training.cases import Case, find_cases
from ossnet_training.channel_order import in_task_order
from ossnet_training.cli import main
from ossnet_training.comparing import cases_to_judge
from ossnet_training.geometry import task_of
from ossnet_training.planning import gather_cases
from ossnet_training.recipe_files import load_recipe

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.tasks import get_task

BRATS = get_task("brats")


def _cases(*columns: str) -> list[Case]:
    images = tuple(Path(f"{column}.nii") for column in columns)
    return [Case(name="one", images=images, label=Path("label.nii"), columns=columns)]


def _names(cases: list[Case]) -> list[str]:
    return [path.stem for path in cases[0].images]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (("t1", "t1ce", "t2", "flair"), ["flair", "t1", "t1ce", "t2"]),
        (("image_T2w", "T1-Gd", "t1n", "FLAIR"), ["FLAIR", "t1n", "T1-Gd", "image_T2w"]),
    ],
)
def test_columns_called_by_the_tasks_modalities_may_stand_in_any_order(
    columns: tuple[str, ...], expected: list[str]
) -> None:
    assert _names(in_task_order(_cases(*columns), BRATS)) == expected


@pytest.mark.parametrize(
    ("columns", "complaint"),
    [
        (("t1", "t1ce", "t2", "scan"), r"scan \(unknown\)"),
        (("t1", "t1w", "t2", "flair"), r"t1w \(t1\)"),
        (("t1", "flair"), "one each for flair, t1, t1ce, t2"),
    ],
)
def test_columns_of_which_only_some_are_known_are_refused(columns: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        in_task_order(_cases(*columns), BRATS)


def test_columns_whose_names_say_nothing_keep_their_order_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert _names(in_task_order(_cases("a", "b", "c", "d"), BRATS)) == ["a", "b", "c", "d"]
    assert "a, b, c, d are taken for the channels flair, t1, t1ce, t2, in this order" in caplog.text
    caplog.clear()
    assert _names(in_task_order(_cases("image"), BRATS)) == ["image"]
    assert _names(in_task_order(_cases("image"), get_task("lits"))) == ["image"]
    assert caplog.text == ""


def test_a_csv_with_its_columns_the_other_way_round_trains_and_judges_the_same_channels(
    a_recipe: Path, a_data_set: Path, tmp_path: Path
) -> None:
    lines = ["dark,bright,label"]
    for case in find_cases(a_data_set):
        image = nib.load(case.images[0])
        dark = tmp_path / f"dark_{case.images[0].name}"
        nib.save(nib.Nifti1Image(-np.asarray(image.dataobj), image.affine), dark)
        lines.append(f"{dark},{case.images[0]},{case.label}")
    table = tmp_path / "cases.csv"
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    words = ['geometry.modalities=["bright", "dark"]', "geometry.name=two", f"data.path={table}", "epochs=1"]
    recipe = load_recipe(str(a_recipe), words)
    cases, _ = gather_cases(recipe, task_of(recipe))
    grid, label = cases["case_0"].grid(), cases["case_0"].label()
    assert grid[0][label > 0].mean() > grid[0][label == 0].mean()
    assert grid[1][label > 0].mean() < grid[1][label == 0].mean()
    assert main(["fit", str(a_recipe), "--name", "two", *words]) == 0
    judged, _ = cases_to_judge("two", data=None, split=None)
    assert all(case.images[1].name.startswith("dark_") for case in judged)
