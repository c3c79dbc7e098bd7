"""What is refused, and what is said, before a scan is segmented."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.tasks import Task, check_scan, get_task, prepare
from napari_ossnet.engine.volume import Volume, read_volume

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def make_volume(data: np.ndarray, affine: np.ndarray = LPS, **others: object) -> Volume:
    names = tuple(f"channel {index}" for index in range(len(data)))
    return Volume(data=np.ascontiguousarray(data, dtype=np.float32), affine=affine, channel_names=names, **others)


def ellipsoid(shape: tuple[int, int, int], radii: tuple[float, float, float]) -> np.ndarray:
    grids = np.meshgrid(*[np.arange(size) - (size - 1) / 2 for size in shape], indexing="ij")
    return sum((grid / radius) ** 2 for grid, radius in zip(grids, radii, strict=True)) <= 1


@pytest.fixture(scope="module")
def a_brain() -> Volume:
    """Four channels of 1.4 litres of tissue in 2 mm voxels, zero around it."""
    brain = ellipsoid((90, 110, 80), (34, 43, 28))
    noise = np.random.default_rng(0).normal(100, 10, (4, *brain.shape))
    return make_volume(np.where(brain, noise, 0), np.diag([-2.0, -2.0, 2.0, 1.0]))


@pytest.fixture(scope="module")
def a_ct() -> Volume:
    body = ellipsoid((60, 60, 40), (26, 20, 100))
    noise = np.random.default_rng(0).normal(40, 20, body.shape)
    return make_volume(np.where(body, noise, -1000)[None], np.diag([6.0, 6.0, 4.0, 1.0]))


def with_voxel(volume: Volume, value: float) -> Volume:
    data = volume.data.copy()
    data[-1, 40, 40, 30] = value
    return replace(volume, data=data)


# --- refused ---


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinite_voxels_are_counted_and_refused(a_brain: Volume, value: float) -> None:
    with pytest.raises(InputError, match="T2 image holds 1 NaN or infinite voxel,"):
        prepare(get_task("brats"), with_voxel(a_brain, value))


def test_a_constant_image_is_refused_by_name(a_brain: Volume) -> None:
    data = a_brain.data.copy()
    data[1] = 7
    with pytest.raises(InputError, match=r"T1 image is constant \(7 everywhere\)"):
        prepare(get_task("brats"), replace(a_brain, data=data))


def test_an_empty_foreground_is_refused(a_brain: Volume) -> None:
    data = np.zeros_like(a_brain.data)
    data[:, 40, 40, 40] = 100
    with pytest.raises(InputError, match="scan is empty"):
        prepare(get_task("brats"), replace(a_brain, data=data))


def test_a_single_slice_is_refused(a_ct: Volume) -> None:
    with pytest.raises(InputError, match="single slice"):
        prepare(get_task("lits"), make_volume(a_ct.data[..., 20:21]))


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_the_wrong_number_of_channels_is_refused(a_brain: Volume, channels: int) -> None:
    data = np.concatenate([a_brain.data, a_brain.data])[:channels]
    with pytest.raises(InputError, match=rf"needs 4 channels \(flair, t1, t1ce, t2\), the scan has {channels}"):
        prepare(get_task("brats"), make_volume(data))


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((7, 50, 50), 5.0), ((50, 50, 7), 5.0), ((40, 15, 40), 1.0)],
    ids=["7 voxels", "7 slices", "15 mm"],
)
def test_a_tiny_scan_is_refused_with_its_size(shape: tuple[int, int, int], spacing: float) -> None:
    noise = np.random.default_rng(0).normal(size=(1, *shape))
    with pytest.raises(InputError, match=f"too small .*{shape[0]} x {shape[1]} x {shape[2]} voxels"):
        prepare(get_task("hippocampus"), make_volume(noise, np.diag([spacing, spacing, spacing, 1.0])))


def test_the_least_scan_is_accepted() -> None:
    noise = np.random.default_rng(0).normal(size=(1, 8, 16, 20))
    prepare(get_task("hippocampus"), make_volume(noise, np.diag([2.0, 1.0, 1.0, 1.0])))


@pytest.mark.parametrize("task", ["lits", "hippocampus"])
@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("low_res.nii.gz", "too small.*7 x 5 x 3 voxels, 14 x 10 x 6 mm"),
        ("resampled_anat_moved.nii", "too small.*17 x 21 x 3 voxels"),
        ("test.mgz", "too small.*3 x 4 x 5 voxels"),
        ("functional.nii", "too small.*17 x 21 x 3 voxels"),
    ],
)
def test_real_scans_that_can_not_work_are_refused(a_data_folder: Path, task: str, name: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        prepare(get_task(task), read_volume(a_data_folder / "odd" / name))


def test_nan_voxels_of_a_real_scan_are_refused_where_it_is_large_enough(a_data_folder: Path) -> None:
    volume = read_volume(a_data_folder / "odd" / "resampled_anat_moved.nii")
    thick = make_volume(np.repeat(volume.data, 4, axis=3), np.diag([4.0, 4.0, 2.0, 1.0]))
    with pytest.raises(InputError, match=r"MR image holds \d+ NaN or infinite voxels"):
        prepare(get_task("hippocampus"), thick)


# --- said ---


def test_nothing_is_said_about_a_fitting_scan(a_brain: Volume, a_ct: Volume) -> None:
    assert check_scan(get_task("brats"), a_brain) == []
    assert check_scan(get_task("lits"), replace(a_ct, affine=np.diag([4.0, 4.0, 4.0, 1.0]))) == []


def test_checking_says_why_a_scan_will_be_refused(a_brain: Volume) -> None:
    with_nan = with_voxel(a_brain, np.nan)
    with pytest.raises(InputError) as caught:
        prepare(get_task("brats"), with_nan)
    assert check_scan(get_task("brats"), with_nan) == [str(caught.value)]


def said(task: Task, volume: Volume, words: str) -> list[str]:
    return [sentence for sentence in check_scan(task, volume) if words in sentence]


def test_a_ct_for_an_mr_task_is_told_by_its_air(a_ct: Volume) -> None:
    data = np.repeat(a_ct.data, 4, axis=0)
    assert said(get_task("brats"), make_volume(data, a_ct.affine), "looks like a CT scan")
    assert said(get_task("hippocampus"), a_ct, "looks like a CT scan")


def test_a_ct_without_air_is_told_by_its_dicom_header(a_brain: Volume) -> None:
    assert said(get_task("brats"), replace(a_brain, modality="CT"), "its DICOM header says so")


def test_an_mr_for_the_ct_task_is_told(a_brain: Volume) -> None:
    volume = make_volume(a_brain.data[:1], a_brain.affine)
    assert said(get_task("lits"), volume, "does not look like a CT scan (its lowest value is 0")
    assert said(get_task("lits"), replace(volume, modality="MR"), "its DICOM header says MR")


def test_a_ct_stored_without_negative_values_passes_if_its_header_says_ct(a_ct: Volume) -> None:
    volume = replace(a_ct, data=a_ct.data + 1024)
    assert said(get_task("lits"), volume, "does not look like a CT")
    assert not said(get_task("lits"), replace(volume, modality="CT"), "does not look like a CT")


def test_negative_voxels_of_an_mr_are_no_air(a_brain: Volume) -> None:
    data = a_brain.data - 20
    assert not said(get_task("brats"), replace(a_brain, data=data), "CT")


def test_thick_slices_are_told(a_brain: Volume) -> None:
    thick = replace(a_brain, data=a_brain.data[..., ::3], affine=np.diag([-2.0, -2.0, 6.0, 1.0]))
    assert said(get_task("brats"), thick, "large (2 x 2 x 6 mm, about 1 mm is usual")


def test_a_head_with_its_skull_is_told_by_its_volume(a_brain: Volume) -> None:
    larger = replace(a_brain, affine=np.diag([-2.6, -2.6, 2.6, 1.0]))
    assert said(get_task("brats"), larger, "without skull")
    assert said(get_task("brats"), replace(a_brain, affine=np.diag([-1.0, -1.0, 1.0, 1.0])), "whole brain")


def test_a_header_without_a_place_is_told(a_brain: Volume) -> None:
    assert said(get_task("brats"), replace(a_brain, affine_codes=(0, 0)), "taken as LPS")
    assert said(get_task("brats"), replace(a_brain, place_gap_mm=4.0), "up to 4 mm apart")


def test_a_tilted_gantry_is_told(a_ct: Volume) -> None:
    sheared = a_ct.affine.copy()
    sheared[1, 2] = 1.5
    assert said(get_task("lits"), replace(a_ct, affine=sheared), "right angles")


def test_a_whole_head_for_a_task_of_crops_is_told(a_brain: Volume) -> None:
    volume = make_volume(a_brain.data[:1], a_brain.affine)
    assert said(get_task("hippocampus"), volume, "220 mm long, 'hippocampus' sees 64 mm")


@pytest.mark.parametrize(
    ("task", "name", "words"),
    [
        ("lits", "ct_liver/ct.nii.gz", None),
        ("lits", "dicom_head", None),
        ("lits", "ms_brain/patient07_t1.nii.gz", "does not look like a CT"),
        ("lits", "odd/minimal.nii.gz", "does not say how the patient lies"),
        ("hippocampus", "hippocampus/images/hippocampus_190.nii.gz", None),
        ("hippocampus", "ct_liver/ct.nii.gz", "looks like a CT"),
        ("hippocampus", "orientations/RPI.nii.gz", "crop it around the anatomy"),
    ],
)
def test_real_scans_are_judged_rightly(a_data_folder: Path, task: str, name: str, words: str | None) -> None:
    found = check_scan(get_task(task), read_volume(a_data_folder / name))
    assert found == [] if words is None else any(words in sentence for sentence in found)


def test_every_sentence_is_one_sentence(a_ct: Volume) -> None:
    odd = replace(a_ct, affine_codes=(0, 0), data=np.repeat(a_ct.data, 4, axis=0), channel_names=("a", "b", "c", "d"))
    found = check_scan(get_task("brats"), odd)
    assert len(found) >= 3
    assert all(sentence.endswith(".") and "\n" not in sentence and ". " not in sentence for sentence in found)
