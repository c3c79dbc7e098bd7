"""NRRD, MetaImage and DICOM series, and the step from LPS to RAS."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.geometry import voxel_to_world
from napari_ossnet.engine.volume import read_volume, write_mask, write_volume

OBLIQUE = np.array([[0.9, -0.3, 0.1, -20], [0.35, 1.7, -0.2, 33], [-0.1, 0.3, 2.8, 5], [0, 0, 0, 1.0]])


def orthogonal(affine: np.ndarray) -> np.ndarray:
    """The same place with its axes at right angles, as qform and DICOM can hold it."""
    q, r = np.linalg.qr(affine[:3, :3])
    squared = affine.copy()
    squared[:3, :3] = q * np.sign(np.diag(r)) * np.abs(np.diag(r))
    return squared


@pytest.fixture
def an_array() -> np.ndarray:
    return np.random.default_rng(0).normal(100, 30, (9, 10, 11)).astype(np.float32)


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    def save_nifti(array: np.ndarray, affine: np.ndarray = OBLIQUE, name: str = "scan.nii.gz") -> Path:
        nib.save(nib.Nifti1Image(array, affine), tmp_path / name)
        return tmp_path / name

    return save_nifti


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_nrrd_and_metaimage_lie_where_the_same_nifti_lies(
    tmp_path: Path, save: Callable[..., Path], an_array: np.ndarray, suffix: str
) -> None:
    sitk = pytest.importorskip("SimpleITK")
    affine = orthogonal(OBLIQUE)
    nifti = save(an_array, affine)
    sitk.WriteImage(sitk.ReadImage(str(nifti)), str(tmp_path / f"scan{suffix}"))
    volume, wanted = read_volume(tmp_path / f"scan{suffix}"), read_volume(nifti)
    assert np.array_equal(volume.data, wanted.data)
    assert np.allclose(volume.affine, wanted.affine, atol=1e-4)
    assert volume.affine_codes == (1, 1)


def test_an_nrrd_of_bare_voxels_does_not_say_where_it_lies(tmp_path: Path, an_array: np.ndarray) -> None:
    pytest.importorskip("SimpleITK")
    sizes = " ".join(map(str, an_array.shape))
    head = f"NRRD0004\ntype: float\ndimension: 3\nsizes: {sizes}\nencoding: raw\nendian: little\n\n"
    (tmp_path / "bare.nrrd").write_bytes(head.encode() + an_array.tobytes(order="F"))
    volume = read_volume(tmp_path / "bare.nrrd")
    assert np.array_equal(volume.data[0], an_array)
    assert volume.affine_codes == (0, 0)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_masks_written_for_slicer_come_back_as_they_were(tmp_path: Path, an_array: np.ndarray, suffix: str) -> None:
    sitk = pytest.importorskip("SimpleITK")
    labels = (an_array > 100).astype(np.uint8)
    affine = orthogonal(OBLIQUE)
    write_mask(tmp_path / f"mask{suffix}", labels, (affine, (1, 1)))
    volume = read_volume(tmp_path / f"mask{suffix}")
    assert np.array_equal(volume.data[0], labels)
    assert np.allclose(volume.affine, affine, atol=1e-9)
    image = sitk.ReadImage(str(tmp_path / f"mask{suffix}"))
    assert image.GetPixelIDTypeAsString() == "8-bit unsigned integer"
    # ITK's own idea of where a voxel lies, with its x and y turned to ours.
    point = np.array(image.TransformIndexToPhysicalPoint((3, 4, 5))) * (-1, -1, 1)
    assert np.allclose(point, voxel_to_world(affine, np.array([[3, 4, 5]]))[0])


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii.gz"])
def test_float_channels_are_written_and_read(tmp_path: Path, suffix: str) -> None:
    if suffix != ".nii.gz":
        pytest.importorskip("SimpleITK")
    data = np.random.default_rng(2).normal(size=(4, 9, 10, 11)).astype(np.float32)
    write_volume(tmp_path / f"scan{suffix}", data, (orthogonal(OBLIQUE), (1, 1)))
    assert np.array_equal(read_volume(tmp_path / f"scan{suffix}").data, data)


def test_a_missing_simpleitk_is_answered_with_the_line_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scan.nrrd").write_bytes(b"NRRD0004\n")
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(InputError, match=r'pip install "napari-ossnet\[io\]"'):
        read_volume(tmp_path / "scan.nrrd")


def test_a_complex_image_of_simpleitk_is_refused(tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    sitk.WriteImage(sitk.Image([9, 9, 9], sitk.sitkComplexFloat32), str(tmp_path / "complex.nrrd"))
    with pytest.raises(InputError, match="complex"):
        read_volume(tmp_path / "complex.nrrd")


# --- DICOM ---


def write_slices(folder: Path, positions_mm: list[float], *, uid: str = "1.2.3.4", shear: float = 0.0) -> None:
    """CT slices 12 x 10 with voxels of 2 (across) x 3 (down) mm, each slice filled with its index."""
    sitk = pytest.importorskip("SimpleITK")
    folder.mkdir(exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for index, position in enumerate(positions_mm):
        image = sitk.Image([12, 10, 1], sitk.sitkInt16) + index
        image.SetSpacing((2.0, 3.0, 1.0))
        tags = {
            "0008|0060": "CT",
            "0008|0016": "1.2.840.10008.5.1.4.1.1.2",
            "0020|000e": uid,
            "0020|000d": "1.2.3",
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0020|0032": f"-10\\{-20 + shear * position}\\{position}",
            "0020|0013": str(index),
        }
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{uid}-{index:03d}.dcm"))
        writer.Execute(image)


def test_a_dicom_folder_is_a_scan_in_ras(tmp_path: Path) -> None:
    write_slices(tmp_path / "series", [5 + 2.5 * index for index in range(9)])
    volume = read_volume(tmp_path / "series")
    assert volume.shape == (12, 10, 9)
    assert np.array_equal(volume.data[0, 0, 0], np.arange(9))
    assert np.allclose(volume.affine, [[-2, 0, 0, 10], [0, -3, 0, 20], [0, 0, 2.5, 5], [0, 0, 0, 1]])
    assert volume.modality == "CT"
    assert volume.axis_codes == "LPS"


def test_one_slice_stands_for_its_series(tmp_path: Path) -> None:
    write_slices(tmp_path / "study", [2.5 * index for index in range(9)], uid="1.2.3.4")
    write_slices(tmp_path / "study", [1.0 * index for index in range(11)], uid="1.2.3.5")
    assert read_volume(tmp_path / "study" / "1.2.3.4-004.dcm").shape == (12, 10, 9)
    assert read_volume(tmp_path / "study" / "1.2.3.5-010.dcm").shape == (12, 10, 11)


def test_a_slice_without_a_suffix_is_known_by_its_mark(tmp_path: Path) -> None:
    write_slices(tmp_path / "series", [2.5 * index for index in range(9)])
    for file in (tmp_path / "series").iterdir():
        file.rename(file.with_name(file.stem.replace(".", "_")))
    assert read_volume(tmp_path / "series" / "1_2_3_4-004").shape == (12, 10, 9)


def test_a_folder_of_two_series_asks_which(tmp_path: Path) -> None:
    write_slices(tmp_path / "study", [2.5 * index for index in range(9)], uid="1.2.3.4")
    write_slices(tmp_path / "study", [1.0 * index for index in range(11)], uid="1.2.3.5")
    with pytest.raises(InputError, match=r"2 DICOM series.*1\.2\.3\.4-000\.dcm \(9 files\)"):
        read_volume(tmp_path / "study")


def test_a_localiser_beside_a_series_is_passed_over(tmp_path: Path) -> None:
    write_slices(tmp_path / "study", [2.5 * index for index in range(9)], uid="1.2.3.4")
    write_slices(tmp_path / "study", [0.0], uid="1.2.3.5")
    assert read_volume(tmp_path / "study").shape == (12, 10, 9)


def test_a_missing_slice_is_seen(tmp_path: Path) -> None:
    write_slices(tmp_path / "series", [2.5 * index for index in range(12) if index != 5])
    with pytest.raises(InputError, match=r"not evenly spaced \(2\.50 to 5\.00 mm\)"):
        read_volume(tmp_path / "series")


def test_a_tilted_gantry_is_kept_as_shear(tmp_path: Path) -> None:
    write_slices(tmp_path / "series", [2.0 * index for index in range(9)], shear=0.3)
    assert np.allclose(read_volume(tmp_path / "series").affine[:3, 2], [0, -0.6, 2.0])


def change_slices(folder: Path, numbers: Iterable[int], **values: object) -> None:
    """Gives elements of the numbered slices other values."""
    pydicom = pytest.importorskip("pydicom")
    files = sorted(folder.iterdir())
    for number in numbers:
        image = pydicom.dcmread(files[number])
        for keyword, value in values.items():
            setattr(image, keyword, value)
        image.save_as(files[number])


def test_every_slice_is_rescaled_by_its_own_slope(tmp_path: Path) -> None:
    write_slices(tmp_path / "series", [2.5 * index for index in range(9)])
    change_slices(tmp_path / "series", range(9), RescaleSlope=1, RescaleIntercept=0)
    change_slices(tmp_path / "series", range(1, 9), RescaleSlope=1.375)
    change_slices(tmp_path / "series", [8], RescaleSlope=40000)
    wanted = np.array([0, *(1.375 * np.arange(1, 8)), 320000], dtype=np.float32)
    assert np.array_equal(read_volume(tmp_path / "series").data[0, 3, 4], wanted)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"ImageOrientationPatient": [-1, 0, 0, 0, -1, 0]}, r"not parallel .* 2\.000"),
        ({"PixelSpacing": [3, 2.1]}, r"differ in pixel size \(2\.000 to 3\.000 mm\)"),
        ({"PixelSpacing": None}, "lacks positions, orientation or pixel size"),
    ],
)
def test_a_slice_unlike_the_first_is_seen(tmp_path: Path, values: dict[str, object], words: str) -> None:
    write_slices(tmp_path / "series", [2.5 * index for index in range(9)])
    change_slices(tmp_path / "series", [6], **values)
    with pytest.raises(InputError, match=words):
        read_volume(tmp_path / "series")


def test_slices_that_differ_by_rounding_are_one_series(tmp_path: Path) -> None:
    write_slices(tmp_path / "series", [2.5 * index for index in range(9)])
    rounded = {"ImageOrientationPatient": [1, 0.0004, 0, -0.0004, 1, 0], "PixelSpacing": [3.001, 2]}
    change_slices(tmp_path / "series", [6], **rounded)
    assert read_volume(tmp_path / "series").spacing_mm == pytest.approx((2, 3, 2.5))


def test_a_folder_without_slices_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("SimpleITK")
    with pytest.raises(InputError, match="no DICOM series"):
        read_volume(tmp_path)


@pytest.mark.parametrize("name", ["odd/FLAIR.nrrd", "ct_liver/ct.nii.gz", "orientations/PIL.nii.gz"])
def test_real_voxels_lie_where_simpleitk_says(a_data_folder: Path, name: str) -> None:
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.ReadImage(str(a_data_folder / name))
    volume = read_volume(a_data_folder / name)
    for index in ((0, 0, 0), (5, 17, 31), tuple(size - 1 for size in volume.shape)):
        point = np.array(image.TransformIndexToPhysicalPoint(index)) * (-1, -1, 1)
        assert np.allclose(voxel_to_world(volume.affine, np.array([index]))[0], point, atol=1e-3)
        assert volume.data[(0, *index)] == pytest.approx(image[index], rel=1e-6)


def test_a_real_dicom_series_is_read_whole(a_data_folder: Path) -> None:
    pytest.importorskip("SimpleITK")
    volume = read_volume(a_data_folder / "dicom_head")
    assert volume.shape == (64, 64, 93)
    assert volume.spacing_mm == pytest.approx((3.2, 3.2, 1.5))
    assert volume.modality == "CT"


@pytest.mark.parametrize("name", ["mask.MHA", "mask.Nrrd", "mask.NII.GZ", "mask.Nii.Gz"])
def test_a_suffix_in_capitals_is_written_and_read_like_any(tmp_path: Path, name: str) -> None:
    labels = np.zeros((5, 6, 7), np.uint8)
    labels[2, 3, 4] = 1
    write_mask(tmp_path / name, labels, (orthogonal(OBLIQUE), (1, 1)))
    found = read_volume(tmp_path / name)
    assert np.array_equal(found.data[0], labels)
    assert np.allclose(found.affine, orthogonal(OBLIQUE), atol=1e-4)
