"""The door to scans: the value itself, what is no scan, writing, and real files of every kind."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_ossnet.engine.errors import InputError, OutputError
from napari_ossnet.engine.volume import Volume, read_volume, refuse_unknown_output, stem_of, write_mask, write_volume


@pytest.fixture
def an_array() -> np.ndarray:
    return np.random.default_rng(0).normal(100, 30, (9, 10, 11)).astype(np.float32)


@pytest.mark.parametrize("kept", [0, 100, 348, 400, 2000])
@pytest.mark.parametrize("name", ["scan.nii", "scan.mgh", "scan.nrrd", "scan.mha"])
def test_a_truncated_plain_file_is_refused(tmp_path: Path, an_array: np.ndarray, name: str, kept: int) -> None:
    if name.endswith((".nrrd", ".mha")):
        pytest.importorskip("SimpleITK")
    write_volume(tmp_path / name, an_array, (np.eye(4), (1, 1)))
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: min(kept, len(whole) - 50)])
    with pytest.raises(InputError, match=name):
        read_volume(tmp_path / name)


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz", "scan.mgz", "scan.nrrd", "scan.dcm", "scan.png", "scan"])
def test_text_is_no_scan_whatever_it_is_called(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("No voxels in here.\n" * 50, encoding="utf-8")
    with pytest.raises(InputError, match=name):
        read_volume(tmp_path / name)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no file .*nowhere\.nii\.gz"):
        read_volume(tmp_path / "nowhere.nii.gz")


def test_an_affine_that_can_not_be_inverted_is_refused(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.ones((9, 9, 9), np.float32), np.eye(4))
    image.set_sform(np.diag([1.0, 1.0, 0.0, 1.0]), 1)
    nib.save(image, tmp_path / "flat.nii.gz")
    with pytest.raises(InputError, match="can't be inverted"):
        read_volume(tmp_path / "flat.nii.gz")


def test_a_volume_checks_its_own_parts() -> None:
    data = np.zeros((2, 9, 9, 9), np.float32)
    with pytest.raises(InputError, match="float32"):
        Volume(data=data.astype(np.float64), affine=np.eye(4), channel_names=("a", "b"))
    with pytest.raises(InputError, match="channels, i, j, k"):
        Volume(data=data[0], affine=np.eye(4), channel_names=("a",))
    with pytest.raises(InputError, match="names"):
        Volume(data=data, affine=np.eye(4), channel_names=("a",))


# --- writing ---


def test_an_unknown_suffix_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"must end in one of \.nii\.gz"):
        refuse_unknown_output(tmp_path / "mask.txt")
    with pytest.raises(OutputError):
        write_mask(tmp_path / "mask.jpg", np.zeros((2, 2, 2), np.uint8), (np.eye(4), (1, 1)))
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mask(tmp_path / "mask.nii.gz", np.ones((9, 9, 9), np.uint8), (np.eye(4), (1, 1)))
    before = (tmp_path / "mask.nii.gz").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(nib, "save", full)
    with pytest.raises(OutputError, match="No space left"):
        write_mask(tmp_path / "mask.nii.gz", np.zeros((9, 9, 9), np.uint8), (np.eye(4), (1, 1)))
    assert [path.name for path in tmp_path.iterdir()] == ["mask.nii.gz"]
    assert (tmp_path / "mask.nii.gz").read_bytes() == before


def test_stems_lose_known_suffixes_only() -> None:
    assert stem_of("a/b/case.01_T1.nii.gz") == "case.01_T1"
    assert stem_of("case.01") == "case.01"
    assert stem_of("Case.NRRD") == "Case"


# --- real files ---


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("complex_image.nii.gz", "complex"),
        ("nifti1.hdr", r"no voxels: nifti1\.img is missing"),
        ("LICENSE.nibabel", "no known kind"),
    ],
)
def test_real_files_that_are_no_scans_are_refused(a_data_folder: Path, name: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read_volume(a_data_folder / "odd" / name)


@pytest.mark.parametrize(
    ("name", "shape", "codes"),
    [
        ("odd/functional.nii", (20, 17, 21, 3), (2, 2)),
        ("odd/minimal.nii.gz", (1, 64, 64, 10), (0, 0)),
        ("odd/someones_epi.nii.gz", (1, 53, 61, 33), (4, 4)),
        ("odd/test.mgz", (2, 3, 4, 5), (1, 1)),
        ("ms_brain/patient07_flair.nii.gz", (1, 182, 218, 182), (1, 0)),
        ("ct_liver/ct.nii.gz", (1, 122, 101, 112), (0, 2)),
    ],
)
def test_real_files_agree_with_nibabel(
    a_data_folder: Path, name: str, shape: tuple[int, ...], codes: tuple[int, int]
) -> None:
    volume = read_volume(a_data_folder / name)
    wanted = nib.load(a_data_folder / name)
    data = wanted.get_fdata()
    data = np.moveaxis(data, -1, 0) if data.ndim == 4 else data[None]
    assert volume.data.shape == shape
    assert np.allclose(volume.data, data, rtol=1e-6)
    assert np.allclose(volume.affine, wanted.affine)
    assert volume.affine_codes == codes
