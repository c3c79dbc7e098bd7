"""NIfTI and MGZ: their types, scales, places and axes, and what is damaged."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.volume import read_volume, stem_of, write_mask

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


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32", "float64", ">i2", ">f4"])
def test_voxels_of_any_real_type_become_float32(save: Callable[..., Path], dtype: str) -> None:
    array = np.arange(9 * 10 * 11).reshape(9, 10, 11).astype(dtype)
    volume = read_volume(save(array))
    assert volume.data.dtype == np.float32
    assert volume.data.dtype.isnative
    assert np.array_equal(volume.data[0], array.astype(np.float64))
    assert np.allclose(volume.affine, OBLIQUE, atol=1e-5)


def test_scale_factors_are_applied(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.arange(1000, dtype=np.int16).reshape(10, 10, 10), np.eye(4))
    image.header.set_slope_inter(0.5, -1024)
    nib.save(image, tmp_path / "scaled.nii.gz")
    volume = read_volume(tmp_path / "scaled.nii.gz")
    assert volume.data[0, 0, 0, 3] == -1022.5
    assert volume.data.dtype == np.float32


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz", "scan.mgz", "scan.mgh", "scan.img", "SCAN.NII.GZ"])
def test_every_format_of_nibabel_gives_the_same_scan(tmp_path: Path, an_array: np.ndarray, name: str) -> None:
    kinds = {".mgz": nib.MGHImage, ".mgh": nib.MGHImage, ".img": nib.Nifti1Pair}
    kind = kinds.get(Path(name).suffix, nib.Nifti1Image)
    affine = orthogonal(OBLIQUE)
    nib.save(kind(an_array, affine), tmp_path / name.lower())
    (tmp_path / name.lower()).rename(tmp_path / name)
    volume = read_volume(tmp_path / name)
    assert np.array_equal(volume.data[0], an_array)
    assert np.allclose(volume.affine, affine, atol=1e-4)
    assert volume.channel_names == (stem_of(name),)
    assert volume.sources == (tmp_path / name,)


def test_nifti_2_is_read_from_a_packed_file(tmp_path: Path, an_array: np.ndarray) -> None:
    nib.save(nib.Nifti2Image(an_array, OBLIQUE), tmp_path / "scan.nii.gz")
    assert np.array_equal(read_volume(tmp_path / "scan.nii.gz").data[0], an_array)


@pytest.mark.parametrize("codes", [(0, 0), (1, 0), (0, 2), (1, 1), (4, 2)])
def test_a_mask_keeps_the_place_and_the_codes_of_its_scan(
    tmp_path: Path, an_array: np.ndarray, codes: tuple[int, int]
) -> None:
    image = nib.Nifti1Image(an_array, None)
    image.header.set_zooms((1.0, 2.0, 3.0))
    image.set_qform(orthogonal(OBLIQUE) if codes[0] else None, codes[0])
    image.set_sform(orthogonal(OBLIQUE) if codes[1] else None, codes[1])
    nib.save(image, tmp_path / "scan.nii.gz")
    volume = read_volume(tmp_path / "scan.nii.gz")
    assert volume.affine_codes == codes

    write_mask(tmp_path / "mask.nii.gz", (an_array > 100).astype(np.uint8), volume)

    scan, mask = nib.load(tmp_path / "scan.nii.gz"), nib.load(tmp_path / "mask.nii.gz")
    assert mask.get_data_dtype() == np.uint8
    assert np.allclose(mask.affine, scan.affine, atol=1e-5)
    assert (int(mask.header["qform_code"]), int(mask.header["sform_code"])) == codes
    assert np.array_equal(np.asarray(mask.dataobj), an_array > 100)
    if codes[0]:
        assert np.allclose(mask.get_qform(), scan.get_qform(), atol=1e-5)


@pytest.mark.parametrize(("unit", "mm"), [("meter", 1e3), ("micron", 1e-3), ("mm", 1.0), ("unknown", 1.0)])
def test_metres_and_microns_become_millimetres(tmp_path: Path, an_array: np.ndarray, unit: str, mm: float) -> None:
    affine = orthogonal(OBLIQUE)
    affine[:3] /= mm
    image = nib.Nifti1Image(an_array, affine)
    image.header.set_xyzt_units(unit, "sec")
    nib.save(image, tmp_path / "scan.nii.gz")
    assert np.allclose(read_volume(tmp_path / "scan.nii.gz").affine, orthogonal(OBLIQUE), rtol=1e-4)


@pytest.mark.parametrize("moved_mm", [0.0, 4.0])
def test_two_places_in_one_file_are_noticed(tmp_path: Path, an_array: np.ndarray, moved_mm: float) -> None:
    sform = orthogonal(OBLIQUE)
    sform[2, 3] += moved_mm
    image = nib.Nifti1Image(an_array, sform)
    image.set_qform(orthogonal(OBLIQUE), 1)
    image.set_sform(sform, 2)
    nib.save(image, tmp_path / "scan.nii.gz")
    volume = read_volume(tmp_path / "scan.nii.gz")
    assert volume.place_gap_mm == pytest.approx(moved_mm, abs=1e-4)
    assert np.allclose(volume.affine, sform, atol=1e-5)


def test_a_finer_mask_of_a_scan_without_a_place_still_says_where_it_lies(tmp_path: Path) -> None:
    affine = np.diag([-0.5, 0.5, 0.5, 1.0])
    affine[:3, 3] = (7, -3, 2)
    write_mask(tmp_path / "region.nii.gz", np.ones((8, 8, 8), np.uint8), (affine, (0, 0)))
    assert np.allclose(nib.load(tmp_path / "region.nii.gz").affine, affine)


def test_a_sheared_scan_gets_a_mask_sheared_alike(tmp_path: Path, save: Callable[..., Path]) -> None:
    sheared = np.eye(4)
    sheared[0, 2] = 0.25
    volume = read_volume(save(np.ones((9, 9, 9), np.float32), sheared))
    write_mask(tmp_path / "mask.nii.gz", np.ones((9, 9, 9), np.uint8), replace(volume, affine_codes=(1, 1)))
    mask = nib.load(tmp_path / "mask.nii.gz")
    assert np.allclose(mask.affine, sheared)
    # A qform has no shear, and whoever prefers it would put the mask elsewhere.
    assert (int(mask.header["qform_code"]), int(mask.header["sform_code"])) == (0, 1)
    assert read_volume(tmp_path / "mask.nii.gz").place_gap_mm == 0


def test_a_fourth_axis_becomes_channels(save: Callable[..., Path]) -> None:
    array = np.random.default_rng(1).normal(size=(9, 10, 11, 4)).astype(np.float32)
    volume = read_volume(save(array, name="four.nii.gz"))
    assert np.array_equal(volume.data, np.moveaxis(array, -1, 0))
    assert volume.shape == (9, 10, 11)
    assert volume.channel_names == ("four 0", "four 1", "four 2", "four 3")


@pytest.mark.parametrize("shape", [(9, 10, 11, 1), (9, 10, 11, 1, 1), (1, 9, 10, 11)])
def test_axes_of_length_one_around_a_scan_are_dropped(
    save: Callable[..., Path], an_array: np.ndarray, shape: tuple[int, ...]
) -> None:
    volume = read_volume(save(an_array.reshape(shape)))
    assert np.array_equal(volume.data[0], an_array)


def test_a_vector_nifti_with_five_axes_has_channels(save: Callable[..., Path]) -> None:
    array = np.random.default_rng(1).normal(size=(9, 10, 11, 1, 4)).astype(np.float32)
    assert np.array_equal(read_volume(save(array)).data, np.moveaxis(array[..., 0, :], -1, 0))


@pytest.mark.parametrize("shape", [(9, 10), (9, 10, 11, 2, 3)])
def test_too_few_or_too_many_axes_are_refused(save: Callable[..., Path], shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"scan\.nii\.gz has \d axes"):
        read_volume(save(np.ones(shape, np.float32)))


@pytest.mark.parametrize("lost", [1, 4, 8, 100, 1000])
@pytest.mark.parametrize("name", ["scan.nii.gz", "scan.mgz"])
def test_a_truncated_packed_file_is_refused_even_if_only_its_last_byte_is_missing(
    tmp_path: Path, an_array: np.ndarray, name: str, lost: int
) -> None:
    kind = nib.MGHImage if name.endswith(".mgz") else nib.Nifti1Image
    nib.save(kind(an_array, np.eye(4)), tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[:-lost])
    with pytest.raises(InputError, match="cut short or damaged"):
        read_volume(tmp_path / name)


def test_a_flipped_byte_in_a_packed_file_is_noticed(save: Callable[..., Path], an_array: np.ndarray) -> None:
    path = save(an_array)
    packed = bytearray(gzip.compress(gzip.decompress(path.read_bytes()), compresslevel=0))
    packed[len(packed) // 2] ^= 0x55
    path.write_bytes(packed)
    with pytest.raises(InputError, match="cut short or damaged"):
        read_volume(path)


def test_a_forbidden_file_is_refused(
    save: Callable[..., Path], an_array: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(an_array)

    def forbid(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(gzip, "open", forbid)
    with pytest.raises(InputError, match=r"scan\.nii\.gz can't be read .*Permission denied"):
        read_volume(path)


def test_an_odd_header_is_repaired_without_a_word(
    save: Callable[..., Path], an_array: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    path = save(an_array, name="scan.nii")
    header = bytearray(path.read_bytes())
    header[80:84] = np.float32(-2).tobytes()  # pixdim[1]
    path.write_bytes(header)
    assert np.array_equal(read_volume(path).data[0], an_array)
    assert caplog.records == []
    nib.load(path)
    assert len(caplog.records) == 1, "nibabel itself does remark on it"


def test_colours_are_refused(tmp_path: Path) -> None:
    colours = np.zeros((9, 9, 9), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(colours, np.eye(4)), tmp_path / "colours.nii.gz")
    with pytest.raises(InputError, match=r"colour image \(R, G, B\)"):
        read_volume(tmp_path / "colours.nii.gz")


def test_analyze_files_say_nothing_of_their_place(an_array: np.ndarray, tmp_path: Path) -> None:
    image = nib.AnalyzeImage(an_array, np.eye(4))
    nib.save(image, tmp_path / "old.img")
    volume = read_volume(tmp_path / "old.hdr")
    assert volume.affine_codes == (0, 0)
    write_mask(tmp_path / "mask.nii.gz", (volume.data[0] > 100).astype(np.uint8), volume)
    assert np.allclose(nib.load(tmp_path / "mask.nii.gz").affine, volume.affine)
