"""Modalities on different grids: taken, resampled with a message, or refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.geometry import Orientation, voxel_to_world
from napari_ossnet.engine.scans.alignment import align
from napari_ossnet.engine.tasks import Task, get_task
from napari_ossnet.engine.volume import Volume, read_volume, write_volume


@pytest.fixture
def two_modalities() -> Task:
    return replace(get_task("brats"), modalities=get_task("brats").modalities[:2])


TURNED = np.array([[0.96, -0.28, 0, -3], [0.28, 0.96, 0, 2], [0, 0, 1, 4], [0, 0, 0, 1.0]])


def blob_in_world(affine: np.ndarray, shape: tuple[int, int, int]) -> Volume:
    """A smooth ball of 12 mm around the world's (12, 14, 16), sampled on any grid."""
    indices = np.stack(np.meshgrid(*[np.arange(size) for size in shape], indexing="ij"), axis=-1).reshape(-1, 3)
    distance = np.linalg.norm(voxel_to_world(affine, indices) - (12, 14, 16), axis=1)
    data = 100 * np.exp(-((distance / 8) ** 4)).reshape(1, *shape)
    return Volume(data=data.astype(np.float32), affine=affine, channel_names=("blob",))


def stored_as(volume: Volume, codes: str) -> Volume:
    orientation = Orientation.between(volume.affine, volume.shape, codes)
    return replace(
        volume,
        data=np.ascontiguousarray(orientation.to_task(volume.data)),
        affine=volume.affine @ orientation.scan_from_task,
    )


@pytest.mark.parametrize("codes", ["LPS", "RAS", "SAL", "PIR"])
def test_the_same_voxels_in_another_axis_order_are_taken_exactly(two_modalities: Task, codes: str) -> None:
    first = blob_in_world(TURNED, (25, 29, 33))
    second = replace(first, data=first.data * 2 + 1)
    scan, messages = align(two_modalities, [first, stored_as(second, codes)])
    assert np.array_equal(scan.data[1], second.data[0])
    assert messages == []
    assert scan.channel_names == ("flair", "t1")


def test_rounded_headers_are_the_same_grid(two_modalities: Task) -> None:
    first = blob_in_world(np.eye(4), (25, 29, 33))
    second = replace(first, affine=np.eye(4) + 1e-4 * np.eye(4)[:, [1, 2, 3, 0]])
    scan, messages = align(two_modalities, [first, second])
    assert np.array_equal(scan.data[1], first.data[0])
    assert messages == []


def test_another_grid_is_resampled_with_a_message(two_modalities: Task) -> None:
    first = blob_in_world(np.eye(4), (25, 29, 33))
    fine = TURNED @ np.diag([0.5, 0.5, 0.8, 1.0])
    fine[:3, 3] = (0, -6, -2)
    second = blob_in_world(fine, (80, 80, 50))
    scan, messages = align(two_modalities, [first, second])
    assert np.abs(scan.data[1] - first.data[0]).max() < 2
    assert scan.shape == first.shape
    assert np.array_equal(scan.affine, first.affine)
    assert len(messages) == 1
    assert messages[0].level == "warning"
    assert messages[0].text == (
        "The T1 image (80 x 80 x 50 voxels of 0.5 x 0.5 x 0.8 mm) was resampled to the grid of the FLAIR image "
        "(25 x 29 x 33 voxels of 1 x 1 x 1 mm)."
    )


def test_resampling_agrees_with_simpleitk(two_modalities: Task, tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    first = blob_in_world(np.eye(4), (25, 29, 33))
    around = TURNED @ np.diag([1.3, 0.7, 0.9, 1.0])
    around[:3, 3] = (-6, -22, -8)
    second = blob_in_world(around, (50, 90, 60))
    images = []
    for name, volume in (("first", first), ("second", second)):
        write_volume(tmp_path / f"{name}.nii.gz", volume.data[0], volume)
        images.append(sitk.ReadImage(str(tmp_path / f"{name}.nii.gz")))
    oracle = sitk.GetArrayFromImage(sitk.Resample(images[1], images[0], sitk.Transform(), sitk.sitkLinear)).T
    scan, _ = align(two_modalities, [first, second])
    # Half a voxel around the field of view ITK clamps where we fade; the blob is zero there.
    assert np.abs(scan.data[1] - oracle).max() < 0.05


def test_what_one_image_does_not_show_is_its_background_and_said(two_modalities: Task) -> None:
    first = blob_in_world(np.eye(4), (25, 29, 33))
    second = blob_in_world(np.eye(4), (25, 22, 33))
    second = replace(second, data=second.data - 50)
    scan, messages = align(two_modalities, [first, second])
    assert np.all(scan.data[1, :, 24:] == scan.data[1, 0, 0, 0])
    assert len(messages) == 2
    assert "covers 9" in messages[1].text or "covers 8" in messages[1].text


def test_a_larger_field_of_view_is_no_lack(two_modalities: Task) -> None:
    """A brain that fills a quarter of the first image's field is covered by a tight second image."""
    first = blob_in_world(np.eye(4), (60, 60, 60))
    tight = np.eye(4)
    tight[:3, 3] = (0, 2, 4)
    _, messages = align(two_modalities, [first, blob_in_world(tight, (25, 25, 25))])
    assert len(messages) == 1


def test_an_image_of_elsewhere_is_refused(two_modalities: Task) -> None:
    first = blob_in_world(np.eye(4), (25, 29, 33))
    elsewhere = np.eye(4)
    elsewhere[:3, 3] = (0, 0, 20)
    with pytest.raises(InputError, match=r"T1 image covers \d+% of what the FLAIR image shows, 80% are needed"):
        align(two_modalities, [first, blob_in_world(elsewhere, (25, 29, 33))])


def test_voxels_that_are_no_numbers_are_what_is_said_of_an_image_that_another_is_to_cover(two_modalities: Task) -> None:
    first = blob_in_world(np.eye(4), (25, 29, 33))
    data = first.data.copy()
    data[0, 0, 0, :2] = np.nan
    with pytest.raises(InputError, match="FLAIR image holds 2 NaN"):
        align(two_modalities, [replace(first, data=data), blob_in_world(np.eye(4), (29, 29, 33))])


def test_a_file_without_a_place_is_laid_on_voxel_by_voxel_and_said(two_modalities: Task) -> None:
    first = blob_in_world(TURNED, (25, 29, 33))
    lost = replace(first, affine=np.diag([-1.0, 1, 1, 1]), affine_codes=(0, 0), data=first.data + 1)
    scan, messages = align(two_modalities, [first, lost])
    assert np.array_equal(scan.data[1], first.data[0] + 1)
    assert "T1 image does not say where it lies" in messages[0].text
    _, messages = align(two_modalities, [lost, first])
    assert "FLAIR image does not say where it lies" in messages[0].text


def test_a_file_without_a_place_and_of_another_shape_is_refused(two_modalities: Task) -> None:
    first = blob_in_world(TURNED, (25, 29, 33))
    lost = replace(blob_in_world(TURNED, (25, 29, 30)), affine_codes=(0, 0))
    with pytest.raises(InputError, match="does not say where it lies, and T1 has another shape"):
        align(two_modalities, [first, lost])


def test_a_real_modality_on_a_coarser_grid_is_resampled(two_modalities: Task, a_data_folder: Path) -> None:
    first = read_volume(a_data_folder / "ms_brain" / "patient07_flair.nii.gz")
    second = read_volume(a_data_folder / "ms_brain" / "patient07_t1.nii.gz")
    coarse = replace(
        second,
        data=np.ascontiguousarray(second.data[:, ::2, ::2, ::2]),
        affine=second.affine @ np.diag([2.0, 2.0, 2.0, 1.0]),
    )
    scan, messages = align(two_modalities, [first, coarse])
    assert len(messages) == 1
    inner = (slice(2, -2),) * 3
    assert np.array_equal(scan.data[1][inner][::2, ::2, ::2], second.data[0][inner][::2, ::2, ::2])
    assert np.corrcoef(scan.data[1].ravel(), second.data[0].ravel())[0, 1] > 0.95
