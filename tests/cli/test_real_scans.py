"""Real scans, odd ones among them, from file to mask, by networks of few parameters whose masks are noise."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from napari_ossnet.engine.checkpoints import save_weights
from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.model_card import ModelCard
from napari_ossnet.engine.networks.variants import build_network_from_config, config_for_task
from napari_ossnet.engine.tasks import TASKS

Run = Callable[..., Any]


@pytest.fixture
def some_weights(a_home: Path) -> Callable[[str], str]:
    """Small weights in the catalogue for one of the program's own tasks; returns their name."""

    def save(task_name: str) -> str:
        task = TASKS[task_name]
        config = config_for_task("c", task)
        config |= {
            "encoder_channels": [2] * len(config["encoder_channels"]),
            "decoder_features": 8,
            "decoder_blocks": 1,
        }
        torch.manual_seed(0)
        network = build_network_from_config("c", config)
        card = ModelCard(name="some", title="Some", task=task, variant="c", network_config=config)
        save_weights(a_home / "weights" / "some.safetensors", network, card)
        return "some"

    return save


def same_place(mask: Path, scan: Path) -> bool:
    one, other = nib.load(mask), nib.load(scan)
    return one.shape == other.shape[:3] and np.allclose(one.affine, other.affine, atol=1e-4)


@pytest.mark.slow
def test_four_real_modalities_give_a_mask_on_their_grid(
    ossnet: Run, some_weights: Callable[[str], str], a_data_folder: Path, tmp_path: Path
) -> None:
    images = [a_data_folder / "ms_brain" / f"patient07_{name}.nii.gz" for name in ("t2", "flair", "t1ce", "t1")]
    mask = tmp_path / "m.nii.gz"
    outcome = ossnet("segment", *images, "-o", mask, "--weights", some_weights("brats"), "--step", "8")
    assert outcome.code == 0, outcome.err
    assert "flair = patient07_flair.nii.gz, t1 = patient07_t1.nii.gz, t1ce = patient07_t1ce.nii.gz" in outcome.out
    assert same_place(mask, images[0])


@pytest.mark.slow
def test_a_ct_handed_to_the_mri_task_is_warned_about(
    ossnet: Run, some_weights: Callable[[str], str], a_data_folder: Path, tmp_path: Path
) -> None:
    ct = a_data_folder / "ct_liver" / "ct.nii.gz"
    outcome = ossnet("segment", ct, "-o", tmp_path / "m.nii.gz", "--weights", some_weights("hippocampus"))
    assert outcome.code == 0, outcome.err
    assert "Warning: " in outcome.err
    assert "CT" in outcome.err


def test_a_folder_of_dicom_slices_is_one_image(
    ossnet: Run, some_weights: Callable[[str], str], a_data_folder: Path, tmp_path: Path
) -> None:
    mask = tmp_path / "m.nii.gz"
    outcome = ossnet("segment", a_data_folder / "dicom_head", "-o", mask, "--weights", some_weights("hippocampus"))
    assert outcome.code == 0, outcome.err
    assert nib.load(mask).shape == (64, 64, 93)


def test_a_series_can_get_a_dicom_segmentation(
    ossnet: Run, some_weights: Callable[[str], str], a_data_folder: Path, tmp_path: Path
) -> None:
    pydicom = pytest.importorskip("pydicom")
    pytest.importorskip("highdicom")
    mask, plain = tmp_path / "m.dcm", tmp_path / "m.nii.gz"
    for path in (mask, plain):
        outcome = ossnet("segment", a_data_folder / "dicom_head", "-o", path, "--weights", some_weights("hippocampus"))
        assert outcome.code == 0, outcome.err
    read = pydicom.dcmread(mask)
    assert read.Modality == "SEG"
    assert int(read.pixel_array.sum()) == np.count_nonzero(np.asarray(nib.load(plain).dataobj))


def test_a_dicom_mask_that_fails_after_the_run_takes_nothing_else_with_it(
    ossnet: Run,
    some_weights: Callable[[str], str],
    a_data_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("highdicom")

    def failing(*_: object) -> None:
        raise InputError("The series is of another patient.")

    monkeypatch.setattr("napari_ossnet.engine.files.dicom_seg.write_dicom_seg", failing)
    mask, report, numbers = (tmp_path / name for name in ("m.dcm", "r.json", "n.csv"))
    options = ("--weights", some_weights("hippocampus"), "--report", report, "--numbers", numbers)
    outcome = ossnet("segment", a_data_folder / "dicom_head", "-o", mask, *options)
    assert outcome.code == 2
    assert outcome.err.strip().endswith("ossnet: The series is of another patient.")
    assert sorted(path.name for path in tmp_path.glob("*.*")) == ["n.csv", "r.json"]


def test_a_negative_series_has_its_report_though_dicom_has_no_empty_segmentation(
    ossnet: Run, some_weights: Callable[[str], str], a_data_folder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("highdicom")
    mask, report = tmp_path / "m.dcm", tmp_path / "r.json"
    options = ("--weights", some_weights("hippocampus"), "--threshold", "0.999999", "--report", report)
    outcome = ossnet("segment", a_data_folder / "dicom_head", "-o", mask, *options)
    assert outcome.code == 0, outcome.err
    assert "Mask: none" in outcome.out
    assert not mask.exists()
    assert json.loads(report.read_text(encoding="utf-8"))["volume_ml"] == 0


@pytest.mark.parametrize("name", ["someones_epi.nii.gz", "FLAIR.nrrd", "minimal.nii.gz"])
def test_odd_scans_that_can_be_segmented_are(
    ossnet: Run, some_weights: Callable[[str], str], a_data_folder: Path, tmp_path: Path, name: str
) -> None:
    scan, mask = a_data_folder / "odd" / name, tmp_path / "m.nii.gz"
    outcome = ossnet("segment", scan, "-o", mask, "--weights", some_weights("hippocampus"))
    assert outcome.code == 0, outcome.err
    if name.endswith(".nii.gz"):
        assert same_place(mask, scan)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("complex_image.nii.gz", "complex numbers"),
        ("functional.nii", "20 channels"),
        ("low_res.nii.gz", "7 x 5 x 3 voxels"),
        ("nifti1.hdr", "has no voxels"),
        ("resampled_anat_moved.nii", "17 x 21 x 3 voxels"),
        ("test.mgz", "2 channels"),
        ("LICENSE.nibabel", "no known kind"),
    ],
)
def test_odd_scans_that_can_not_be_segmented_are_refused_in_a_sentence(
    ossnet: Run, some_weights: Callable[[str], str], a_data_folder: Path, tmp_path: Path, name: str, words: str
) -> None:
    mask = tmp_path / "m.nii.gz"
    outcome = ossnet("segment", a_data_folder / "odd" / name, "-o", mask, "--weights", some_weights("hippocampus"))
    assert outcome.code == 2
    assert words in outcome.sentence
    assert not mask.exists()


def test_one_brain_in_eight_axis_orders_gives_one_mask_in_the_world(
    ossnet: Run, some_weights: Callable[[str], str], a_data_folder: Path, tmp_path: Path
) -> None:
    weights = some_weights("hippocampus")
    masks = []
    for scan in sorted((a_data_folder / "orientations").glob("*.nii.gz")):
        mask = tmp_path / scan.name
        outcome = ossnet("segment", scan, "-o", mask, "--weights", weights, "--step", "2", "--progress", "none")
        assert outcome.code == 0, outcome.err
        assert same_place(mask, scan)
        masks.append(np.asarray(nib.as_closest_canonical(nib.load(mask)).dataobj))
    assert len(masks) == 8
    for other in masks[1:]:
        np.testing.assert_array_equal(other, masks[0])
