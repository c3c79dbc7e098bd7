"""Which cases a cohort has, and its table."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from napari_ossnet.engine.cohort import find_cases, folders_left_out, refuse_target, write_table
from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.tasks import TASKS

MODALITIES = ("flair", "t1", "t1ce", "t2")


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def names_of(folder: Path, task: str = "lits") -> dict[str, list[str]]:
    """Cases and the names of their images."""
    return {case.name: [Path(image).name for image in case.images] for case in find_cases(TASKS[task], folder)}


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

    @pytest.mark.parametrize("label", ["seg", "ct_mask", "Label", "ct-segmentation", "ct.seg", "ct_gt"])
    def test_a_task_of_one_image_leaves_labels_out_too(self, tmp_path: Path, label: str) -> None:
        touch(tmp_path, "p1/ct.nii.gz", f"p1/{label}.nii.gz")
        assert names_of(tmp_path) == {"p1": ["ct.nii.gz"]}

    def test_labels_beside_flat_images_are_no_cases(self, tmp_path: Path) -> None:
        touch(tmp_path, "p1.nii.gz", "p1_seg.nii.gz", "p2_segovia.nii.gz")
        assert list(names_of(tmp_path)) == ["p1", "p2_segovia"]

    def test_images_that_all_are_called_masks_are_taken(self, tmp_path: Path) -> None:
        touch(tmp_path, "mask_1.nii.gz", "mask_2.nii.gz")
        assert list(names_of(tmp_path)) == ["mask_1", "mask_2"]

    @pytest.mark.parametrize("task", ["lits", "brats"])
    def test_slices_named_dcm_are_one_image(self, tmp_path: Path, task: str) -> None:
        touch(tmp_path, "p1/1.dcm", "p1/2.dcm", "p2/1.DCM", "p2/2.DCM", "p2/readme.txt")
        assert names_of(tmp_path, task) == {"p1": ["p1"], "p2": ["p2"]}

    def test_slices_without_a_suffix_are_told_by_their_mark(self, tmp_path: Path) -> None:
        touch(tmp_path, "p1/IM0001", "p1/DICOMDIR")
        (tmp_path / "p1" / "IM0001").write_bytes(bytes(128) + b"DICM")
        assert names_of(tmp_path) == {"p1": ["p1"]}

    def test_a_flat_folder_of_slices_is_one_case(self, tmp_path: Path) -> None:
        touch(tmp_path, "head/1.dcm", "head/2.dcm")
        (case,) = find_cases(TASKS["lits"], tmp_path / "head")
        assert (case.name, case.images) == ("head", (str(tmp_path / "head"),))

    def test_folders_of_stray_files_are_no_cases(self, tmp_path: Path) -> None:
        touch(tmp_path, "docs/readme.txt", "empty/.DS_Store", "hidden/.1.dcm", "disc/DICOMDIR", "p1/ct.nii")
        (tmp_path / "disc" / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
        assert names_of(tmp_path) == {"p1": ["ct.nii"]}

        assert folders_left_out(tmp_path, find_cases(TASKS["lits"], tmp_path)) == ["disc", "docs", "empty", "hidden"]

    def test_series_in_folders_of_their_own_are_the_images_of_a_case(self, tmp_path: Path) -> None:
        touch(tmp_path, "p1/ct/1.dcm", "p1/ct/2.dcm", "p1/notes/readme.txt", "p2/early/1.dcm", "p2/late/1.dcm")
        assert names_of(tmp_path) == {"p1": ["ct"]}
        assert folders_left_out(tmp_path, find_cases(TASKS["lits"], tmp_path)) == ["p2"], (
            "which of the two is meant is not for us to guess"
        )
        touch(tmp_path, *(f"brain/{name}/1.dcm" for name in MODALITIES))
        assert sorted(names_of(tmp_path, "brats")["brain"]) == sorted(MODALITIES)

    def test_files_beside_folders_are_cases_too(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        touch(tmp_path, "p2/ct.nii", "p1.nii.gz", "p3.mha")
        assert list(names_of(tmp_path)) == ["p1", "p2", "p3"]
        assert not caplog.messages
        touch(tmp_path, "slice.dcm")
        assert list(names_of(tmp_path)) == ["p1", "p2", "p3"]
        assert "folder of its own" in caplog.text

    def test_a_header_and_its_voxels_are_one_image(self, tmp_path: Path) -> None:
        touch(tmp_path, "one.hdr", "one.img", "two/ct.HDR", "two/ct.IMG")
        assert names_of(tmp_path) == {"one": ["one.hdr"], "two": ["ct.HDR"]}

    def test_two_images_whose_masks_would_have_one_name_are_refused(self, tmp_path: Path) -> None:
        (tmp_path / "one.nii.gz").touch()
        (tmp_path / "one.mha").touch()
        with pytest.raises(InputError, match="one"):
            find_cases(TASKS["lits"], tmp_path)

    @pytest.mark.parametrize("name", ["", "gone"])
    def test_nothing_to_do_is_an_error(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(InputError, match=r"There is no (case|folder)"):
            find_cases(TASKS["lits"], tmp_path / name)


@pytest.mark.parametrize("target", ["in", "in/out", "in/../in/out", "link/out"])
def test_results_among_the_cases_are_refused(tmp_path: Path, target: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "in")
    with pytest.raises(InputError, match="two folders"):
        refuse_target(tmp_path / "in", tmp_path / target)
    refuse_target(tmp_path / "in", tmp_path / "in_results")


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
