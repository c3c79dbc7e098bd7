"""Decoded cases: once, as the network sees them; and the checks before training, each with the case's name."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from ossnet_training import cache
from ossnet_training.cache import cache_cases, class_numbers, label_on_grid
from ossnet_training.cases import find_cases
from ossnet_training.geometry import task_of
from ossnet_training.recipe_files import load_recipe

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.tasks import get_task, prepare
from napari_ossnet.engine.volume import Volume

TASK = get_task("hippocampus")


def test_a_case_is_decoded_once_and_again_when_its_file_changes(
    a_data_set: Path, tmp_path: Path, a_case_writer: Callable[..., None]
) -> None:
    cases = find_cases(a_data_set)[:1]
    (first,) = cache_cases(cases, TASK, (), tmp_path / "cache")
    stamp = (first.folder / "grid.npy").stat().st_mtime_ns
    (again,) = cache_cases(cases, TASK, (), tmp_path / "cache")
    assert again.folder == first.folder
    assert (again.folder / "grid.npy").stat().st_mtime_ns == stamp
    a_case_writer(a_data_set, "case_0", 77)
    (changed,) = cache_cases(cases, TASK, (), tmp_path / "cache")
    assert changed.folder != first.folder


def test_processes_that_start_cold_cache_the_same_case_at_once(
    a_data_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases, together = find_cases(a_data_set)[:1], threading.Barrier(4, timeout=60)
    place = cache.label_on_grid

    def wait_for_all(*given: object) -> np.ndarray:
        together.wait()
        return place(*given)

    monkeypatch.setattr(cache, "label_on_grid", wait_for_all)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: cache_cases(cases, TASK, (), tmp_path / "cache"), range(4)))
    assert len({case.folder for (case,) in found}) == 1
    assert all(case.label().any() and case.grid().any() for (case,) in found)


def test_a_case_that_another_process_has_cached_meanwhile_is_left_as_it_is(
    a_data_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases, folder = find_cases(a_data_set)[:1], tmp_path / "cache"
    place = cache.label_on_grid

    def be_overtaken(*given: object) -> np.ndarray:
        monkeypatch.setattr(cache, "label_on_grid", place)
        (faster,) = cache_cases(cases, TASK, (), folder)
        (faster.folder / "in_use").touch()
        return place(*given)

    monkeypatch.setattr(cache, "label_on_grid", be_overtaken)
    (case,) = cache_cases(cases, TASK, (), folder)
    assert (case.folder / "in_use").is_file()
    assert list(folder.iterdir()) == [case.folder]


def test_files_that_another_process_reads_need_not_be_replaced(
    a_data_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases, folder, replace = find_cases(a_data_set)[:1], tmp_path / "cache", Path.replace

    def refuse(*_: object) -> None:
        monkeypatch.setattr(Path, "replace", replace)
        cache_cases(cases, TASK, (), folder)
        raise PermissionError(errno.EACCES, "used by another process")

    monkeypatch.setattr(Path, "replace", refuse)
    (case,) = cache_cases(cases, TASK, (), folder)
    assert case.label().any()


def test_half_a_case_is_made_whole(a_data_set: Path, tmp_path: Path) -> None:
    cases = find_cases(a_data_set)[:1]
    (case,) = cache_cases(cases, TASK, (), tmp_path / "cache")
    (case.folder / "label.npy").unlink()
    (case,) = cache_cases(cases, TASK, (), tmp_path / "cache")
    assert case.label().any()


def test_a_label_in_another_orientation_than_its_scan_lies_on_it_all_the_same(a_data_set: Path, tmp_path: Path) -> None:
    cases = find_cases(a_data_set)[:1]
    (before,) = cache_cases(cases, TASK, (), tmp_path / "cache")
    image = nib.load(cases[0].images[0])
    turned = image.as_reoriented(np.array([[0, -1], [1, -1], [2, 1]]))
    nib.save(nib.Nifti1Image(np.asarray(turned.dataobj), turned.affine), cases[0].images[0])
    (after,) = cache_cases(cases, TASK, (), tmp_path / "cache")
    assert after.folder != before.folder
    np.testing.assert_array_equal(after.label(), before.label())
    np.testing.assert_array_equal(after.grid(), before.grid())


def test_label_and_grid_lie_on_each_other(a_data_set: Path, tmp_path: Path) -> None:
    (case,) = cache_cases(find_cases(a_data_set)[:1], TASK, (), tmp_path / "cache")
    grid, label = case.grid(), case.label()
    assert grid.shape == (1, *TASK.grid_shape)
    assert label.shape == TASK.grid_shape
    # The image is noise around its label's number.
    assert grid[0][label == 2].mean() > grid[0][label == 1].mean() > grid[0][label == 0].mean() + 0.5


@pytest.mark.parametrize("flip", [False, True])
def test_a_label_follows_the_scan_into_the_grid_in_any_orientation(flip: bool) -> None:
    affine = np.diag([-1.0 if flip else 1.0, 1.0, 1.0, 1.0])
    rng = np.random.default_rng(0)
    truth = np.zeros((20, 24, 18), dtype=np.uint8)
    truth[3:9, 5:11, 2:9] = 1
    data = (truth * 5.0 + rng.normal(0, 0.1, truth.shape)).astype(np.float32)
    prepared = prepare(TASK, Volume(data=data[None], affine=affine, channel_names=("mr",)))
    label = label_on_grid(truth, prepared)
    assert label.sum() == truth.sum()
    assert prepared.grid[0][label == 1].min() > prepared.grid[0][label == 0].max()


@pytest.mark.parametrize("spacing", [(2.0, 1.0, 3.0), (1.0, 4.0, 0.5)])
def test_a_label_reaches_the_faces_of_its_scan_as_the_image_does(spacing: tuple[float, float, float]) -> None:
    shape = tuple(round(extent / width) for extent, width in zip((24, 36, 30), spacing, strict=True))
    data = np.random.default_rng(0).normal(5, 1, (1, *shape)).astype(np.float32)
    volume = Volume(data=data, affine=np.diag([*spacing, 1.0]), channel_names=("mr",))
    prepared = prepare(TASK, volume)
    label = label_on_grid(np.ones(shape, dtype=np.uint8), prepared)
    # Beyond the scan, the grid has one value everywhere.
    filled = prepared.grid[0] != prepared.grid[0, -1, -1, -1]
    assert filled.sum() == 24 * 36 * 30
    np.testing.assert_array_equal(label > 0, filled)


def test_a_name_that_is_a_path_stays_in_the_cache(a_data_set: Path, tmp_path: Path) -> None:
    table, folder = a_data_set / "cases.csv", tmp_path / "cache"
    rows = [
        f"{a_data_set}/P1,images/case_0.nii.gz,labels/case_0.nii.gz",
        "../P2,images/case_1.nii.gz,labels/case_1.nii.gz",
    ]
    table.write_text("name,image,label\n" + "\n".join(rows), encoding="utf-8")
    cached = cache_cases(find_cases(table), TASK, (), folder)
    assert {case.folder.parent for case in cached} == {folder}
    assert {path.name for path in a_data_set.iterdir()} == {"images", "labels", "cases.csv"}
    assert sorted(case.name for case in cached) == sorted([f"{a_data_set}/P1", "../P2"])


def test_all_broken_cases_are_named_at_once(
    a_data_set: Path, tmp_path: Path, a_case_writer: Callable[..., None]
) -> None:
    holes = np.zeros((16, 17, 16), dtype=np.float32)
    holes[4:8, 4:8, 4:8] = 1.5
    a_case_writer(a_data_set, "case_0", 0, label=holes)
    a_case_writer(a_data_set, "case_1", 1, label=np.zeros((16, 17, 16), dtype=np.uint8))
    a_case_writer(a_data_set, "case_2", 2, label=np.full((16, 17, 16), 9, dtype=np.uint8))
    a_case_writer(a_data_set, "case_3", 3, label=np.ones((16, 17, 17), dtype=np.uint8))
    (a_data_set / "images" / "case_4.nii.gz").unlink()
    (a_data_set / "labels" / "case_5.nii.gz").write_text("not a scan", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        cache_cases(find_cases(a_data_set), TASK, (), tmp_path / "cache")
    lines = str(caught.value).splitlines()
    for name, complaint in {
        "case_0": "whole numbers, found 1.5",
        "case_1": "empty",
        "case_2": "found 9",
        "case_3": "(16, 17, 17)",
        "case_4": "missing case_4.nii.gz",
        "case_5": "case_5",
    }.items():
        assert any(f"Case {name}:" in line and complaint in line for line in lines), (name, lines)


def test_labels_of_strings_are_refused(a_data_set: Path, tmp_path: Path) -> None:
    path = a_data_set / "labels" / "case_0.nii.gz"
    raw = np.zeros((16, 17, 16), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(raw, np.eye(4)), path)
    with pytest.raises(InputError, match="case_0"):
        cache_cases(find_cases(a_data_set)[:1], TASK, (), tmp_path / "cache")


def test_a_class_that_is_never_there_is_noticed(
    a_data_set: Path, tmp_path: Path, a_case_writer: Callable[..., None]
) -> None:
    for number in range(6):
        label = np.zeros((16, 17, 16), dtype=np.uint8)
        label[5:9, 5:9, 5:9] = 1
        a_case_writer(a_data_set, f"case_{number}", number, label=label)
    with pytest.raises(InputError, match="class posterior"):
        cache_cases(find_cases(a_data_set), TASK, (), tmp_path / "cache")


def test_labels_are_mapped_to_classes() -> None:
    label = np.array([0, 3, 7, 3], dtype=np.float32)
    assert class_numbers(label, TASK, ((3, 2), (7, 1))).tolist() == [0, 2, 1, 2]
    # The one class of a task of this program takes every label above 0.
    assert class_numbers(np.array([0, 1, 2, 4]), get_task("brats"), ()).tolist() == [0, 1, 1, 1]


def test_one_class_of_a_recipes_own_takes_its_own_label_alone() -> None:
    words = ["geometry.name=tumours", 'geometry.classes=[{ name = "tumour", label = 2 }]']
    task = task_of(load_recipe("lits", words))
    assert class_numbers(np.array([0, 2, 2]), task, ()).tolist() == [0, 1, 1]
    with pytest.raises(InputError, match=r"among \[0, 2\], found 1; map them"):
        class_numbers(np.array([0, 1, 2]), task, ())
    assert class_numbers(np.array([0, 1, 2]), task, ((1, 0), (2, 1))).tolist() == [0, 0, 1]


def test_a_label_below_zero_can_be_mapped() -> None:
    label = np.array([[-1, 0], [2, -1]], dtype=np.int16)
    assert class_numbers(label, TASK, ((-1, 0), (2, 2))).tolist() == [[0, 0], [2, 0]]
    assert class_numbers(label.astype(np.float32), TASK, ((-1, 1), (2, 2))).tolist() == [[1, 0], [2, 1]]
