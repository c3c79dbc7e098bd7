"""Every layout of a data set is found and read, and a folder that is none is told apart."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from ossnet_training.cases import find_cases, guess_layout

from napari_ossnet.engine.errors import InputError


def _touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_brats_folders_give_channels_in_the_published_order(tmp_path: Path) -> None:
    _touch(tmp_path, *(f"B_001/B_001_{part}.nii.gz" for part in ("t2", "flair", "t1", "t1ce", "seg")), "readme.txt")
    (case,) = find_cases(tmp_path)
    assert case.name == "B_001"
    assert [path.name for path in case.images] == [f"B_001_{c}.nii.gz" for c in ("flair", "t1", "t1ce", "t2")]


def test_lits_labels_find_their_volumes_in_other_folders(tmp_path: Path) -> None:
    _touch(tmp_path, "a/volume-0.nii", "a/segmentation-0.nii", "b/volume-10.nii", "c/segmentation-10.nii")
    cases = find_cases(tmp_path)
    assert [(case.name, case.images[0].parent.name) for case in cases] == [("volume-0", "a"), ("volume-10", "b")]


def test_a_decathlon_description_is_followed(tmp_path: Path) -> None:
    listed = [{"image": "./imagesTr/h_1.nii.gz", "label": "./labelsTr/h_1.nii.gz"}]
    (tmp_path / "dataset.json").write_text(json.dumps({"training": listed}), encoding="utf-8")
    (case,) = find_cases(tmp_path)
    assert (case.name, case.label) == ("h_1", tmp_path / "labelsTr" / "h_1.nii.gz")
    (tmp_path / "dataset.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="Decathlon"):
        find_cases(tmp_path)


def test_a_csv_may_have_a_column_a_channel(tmp_path: Path) -> None:
    table = tmp_path / "cases.csv"
    table.write_text("name,t1,t2,label\none,a.nii,b.nii,c.nii\n", encoding="utf-8")
    (case,) = find_cases(table)
    assert (case.name, case.images) == ("one", (tmp_path / "a.nii", tmp_path / "b.nii"))
    assert case.columns == ("t1", "t2")
    table.write_text("name,t1,t2,label\none,a.nii,,c.nii\n", encoding="utf-8")
    with pytest.raises(InputError, match="line 2: nothing under t2"):
        find_cases(table)


def test_a_csv_may_come_from_a_spreadsheet(tmp_path: Path) -> None:
    table = tmp_path / "cases.csv"
    table.write_text("label,image\nc.nii,a.nii\n", encoding="utf-8-sig")
    (case,) = find_cases(table)
    assert (case.name, case.columns) == ("c", ("image",))
    table.write_text("name,image,label\nMüller,a.nii,c.nii\n", encoding="latin-1")
    with pytest.raises(InputError, match="isn't a CSV file in UTF-8"):
        find_cases(table)
    table.write_text("image,label\na.nii,c.nii\na,b.nii,c.nii\n", encoding="utf-8")
    with pytest.raises(InputError, match="line 3: more fields than the header's 2"):
        find_cases(table)


def test_files_that_macos_leaves_beside_scans_are_no_cases(tmp_path: Path, a_data_set: Path) -> None:
    _touch(a_data_set, "images/._case_0.nii.gz", "labels/._case_0.nii.gz", "images/._case_0_0000.nii.gz")
    assert [case.name for case in find_cases(a_data_set)] == [f"case_{n}" for n in range(6)]
    _touch(
        tmp_path, *(f"b/B/{mark}B_{part}.nii" for mark in ("", "._") for part in ("flair", "t1", "t1ce", "t2", "seg"))
    )
    (case,) = find_cases(tmp_path / "b")
    assert not any(path.name.startswith(".") for path in (*case.images, case.label))
    _touch(tmp_path, "c/volume-0.nii", "c/segmentation-0.nii", "c/._volume-0.nii", "c/._segmentation-0.nii")
    (case,) = find_cases(tmp_path / "c")
    assert case.images == (tmp_path / "c" / "volume-0.nii",)


def test_folders_of_images_and_labels_are_paired_by_name(a_data_set: Path) -> None:
    assert guess_layout(a_data_set) == "pairs"
    assert [case.name for case in find_cases(a_data_set)] == [f"case_{n}" for n in range(6)]


def test_one_file_a_channel_is_found_by_its_number(tmp_path: Path) -> None:
    _touch(tmp_path, "imagesTr/a_0001.nii.gz", "imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz")
    (case,) = find_cases(tmp_path)
    assert [path.name for path in case.images] == ["a_0000.nii.gz", "a_0001.nii.gz"]


@pytest.mark.parametrize("content", ["", "note.txt"])
def test_a_folder_that_is_no_data_set_is_told_what_one_looks_like(tmp_path: Path, content: str) -> None:
    if content:
        _touch(tmp_path, content)
    with pytest.raises(InputError, match=r"looks like no data set.*brats.*lits.*decathlon.*pairs"):
        find_cases(tmp_path)


def test_a_folder_that_is_missing_is_named(tmp_path: Path, a_case_writer: Callable[..., None]) -> None:
    with pytest.raises(InputError, match="nowhere"):
        find_cases(tmp_path / "nowhere")


def test_a_layout_that_the_data_do_not_have_is_said(a_data_set: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="pool layout; expected one of auto, brats"):
        find_cases(a_data_set, "pool")
    table = tmp_path / "cases.csv"
    table.write_text("image,label\na.nii,b.nii\n", encoding="utf-8")
    for layout in ("brats", "lits"):
        with pytest.raises(InputError, match=f"no labelled case in the {layout} layout"):
            find_cases(table, layout)
