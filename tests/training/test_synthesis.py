"""Synthetic scans for training: where heads come from, how scans are kept, that seeds reproduce."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from ossnet_training.cases import find_cases
from ossnet_training.cli import main
from ossnet_training.pool_cases import is_pool
from ossnet_training.synthesis.abdomen_anatomy import make_abdomen
from ossnet_training.synthesis.abdomen_canvas import LIVER_PARTS, Organ
from ossnet_training.synthesis.abdomen_contrast import make_abdomen_pair, scan_abdomen
from ossnet_training.synthesis.heads import label_sources, scan_sources
from ossnet_training.synthesis.label_heads import read_label_head
from ossnet_training.synthesis.pairs import synthesise_pairs
from ossnet_training.synthesis.pool import MANIFEST, describe, load_scan, read_manifest, write_scan
from ossnet_training.synthesis.scan_heads import cluster_tissues
from ossnet_training.synthesis.synthesise import SynthesisSettings, synthesise

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.phantom.scan import SyntheticScan
from napari_ossnet.engine.phantom.tissues import Tissue
from napari_ossnet.engine.volume import read_volume

LIA = np.array([[-1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]], dtype=float)


@pytest.fixture
def a_small_scan() -> SyntheticScan:
    rng = np.random.default_rng(0)
    image = rng.uniform(0.1, 2, (4, 12, 10, 8)).astype(np.float32)
    image[:, :2] = 0
    labels = np.zeros((12, 10, 8), dtype=np.uint8)
    labels[5:8, 4:6, 3:5] = 3
    return SyntheticScan(
        image=image, labels=labels, box=(slice(30, 42), slice(40, 50), slice(5, 13)), head="x", plans=()
    )


def write_labels(path: Path, labels: np.ndarray, affine: np.ndarray) -> Path:
    nib.save(nib.Nifti1Image(labels.astype(np.int16), affine), path)
    return path


class TestLabelHeads:
    def test_come_out_with_axes_towards_left_back_and_top(self, tmp_path: Path) -> None:
        labels = np.zeros((20, 24, 28))
        labels[15, 3, 20] = 2  # axes L, I, A: far left, near the top, towards the front
        labels[10, 12, 14] = 10
        head = read_label_head(write_labels(tmp_path / "a.nii.gz", labels, LIA))
        assert head.tissues.shape == (20, 28, 24)
        assert head.tissues[15, 27 - 20, 23 - 3] == Tissue.WHITE
        assert head.tissues[10, 27 - 14, 23 - 12] == Tissue.THALAMUS

    def test_need_white_matter_at_one_millimetre(self, tmp_path: Path) -> None:
        labels = np.full((8, 8, 8), 3)
        with pytest.raises(InputError, match="white matter"):
            read_label_head(write_labels(tmp_path / "a.nii.gz", labels, LIA))
        with pytest.raises(InputError, match="1 mm"):
            read_label_head(write_labels(tmp_path / "b.nii.gz", labels, LIA @ np.diag([2, 2, 2, 1])))

    def test_are_read_from_the_real_label_maps(self, a_data_folder: Path) -> None:
        source = label_sources(a_data_folder / "brain_labels")[2]
        tissues = source.read().tissues
        brain = np.argwhere((tissues > Tissue.CSF) & (tissues < Tissue.VESSEL))
        cerebellum = np.argwhere(tissues == Tissue.CEREBELLUM_CORTEX)
        # The cerebellum lies behind and below the brain's middle.
        assert cerebellum.mean(0)[1] > brain.mean(0)[1] + 15
        assert cerebellum.mean(0)[2] < brain.mean(0)[2] - 15


class TestScanHeads:
    def test_clusters_fluid_grey_and_white(self) -> None:
        truth = np.zeros((80, 80, 80), dtype=np.uint8)
        truth[5:75, 5:75, 5:75] = Tissue.CSF
        truth[8:72, 8:72, 8:72] = Tissue.CORTEX
        truth[11:69, 11:69, 11:69] = Tissue.WHITE
        noise = np.random.default_rng(0).normal(0, 0.03, (2, *truth.shape))
        t1 = np.array([0, 0.25, 0, 0.65, 1.0])[truth] + noise[0]
        t2 = np.array([0, 2.6, 0, 1.35, 1.0])[truth] + noise[1]
        found = cluster_tissues(t1.astype(np.float32), t2.astype(np.float32), truth > 0)
        assert (found == truth)[truth > 0].mean() > 0.97

    def test_says_which_modality_is_missing(self, tmp_path: Path) -> None:
        for modality in ("flair", "t1", "t2"):
            write_labels(tmp_path / f"case1_{modality}.nii.gz", np.ones((4, 4, 4)), np.eye(4))
        with pytest.raises(InputError, match="t1ce"):
            scan_sources(tmp_path)[0].read()

    def test_needs_a_folder_with_scans(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no folder"):
            scan_sources(tmp_path / "nowhere")
        write_labels(tmp_path / "brain.nii.gz", np.ones((4, 4, 4)), np.eye(4))
        with pytest.raises(InputError, match="case_flair"):
            scan_sources(tmp_path)


class TestPools:
    def test_give_back_what_was_put_in(self, tmp_path: Path, a_small_scan: SyntheticScan) -> None:
        entry = describe(a_small_scan, name="one", split="train", seed=(0, 0))
        write_scan(tmp_path, entry, a_small_scan)
        assert read_manifest(tmp_path) == [entry]
        image, labels = load_scan(tmp_path, entry)
        assert entry.shape == (10, 10, 8)
        np.testing.assert_allclose(image[:, 30:42, 40:50, 5:13], a_small_scan.image, atol=1e-3)
        np.testing.assert_array_equal(labels[30:42, 40:50, 5:13], a_small_scan.labels)
        assert labels.sum() == a_small_scan.labels.sum()

    def test_pass_over_a_line_cut_short(self, tmp_path: Path, a_small_scan: SyntheticScan) -> None:
        entry = describe(a_small_scan, name="one", split="train", seed=(0, 0))
        write_scan(tmp_path, entry, a_small_scan)
        with (tmp_path / MANIFEST).open("a") as stream:
            stream.write('{"name": "two", "spl')
        assert [e.name for e in read_manifest(tmp_path)] == ["one"]

    def test_without_a_manifest_say_how_to_make_one(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="synthesise"):
            read_manifest(tmp_path)


class TestSynthesising:
    def test_repeats_by_seed_and_goes_on_where_it_stopped(self, tmp_path: Path) -> None:
        first = list(synthesise(SynthesisSettings(output=tmp_path / "a", count=2, seed=4)))
        # Scan 1 alone: it must not depend on scan 0 having been made in the same run.
        list(synthesise(SynthesisSettings(output=tmp_path / "b", count=1, seed=4)))
        second = list(synthesise(SynthesisSettings(output=tmp_path / "b", count=2, seed=4)))
        assert [e.name for e in second] == [first[1].name]
        assert second[0] == first[1]
        for part in ("image", "label"):
            a, b = (np.load(tmp_path / folder / f"{first[1].name}_{part}.npy") for folder in "ab")
            np.testing.assert_array_equal(a, b)

    def test_writes_folders_as_brats_has_them(self, tmp_path: Path) -> None:
        settings = SynthesisSettings(output=tmp_path, count=1, seed=5, layout="brats")
        (entry,) = synthesise(settings)
        flair = read_volume(tmp_path / entry.name / f"{entry.name}_flair.nii.gz")
        labels = read_volume(tmp_path / entry.name / f"{entry.name}_seg.nii.gz")
        assert flair.shape == labels.shape == (240, 240, 155)
        assert flair.axis_codes == "LPS"
        assert set(np.unique(labels.data)) <= {0, 1, 2, 4}
        assert (labels.data > 0).sum() / 1e3 == pytest.approx(entry.volume_ml, abs=0.01)
        # No pool, for which the same commands would take it.
        assert not is_pool(tmp_path, "auto")
        assert [case.name for case in find_cases(tmp_path)] == [entry.name]
        assert list(synthesise(settings)) == []

    def test_refuses_settings_that_make_no_sense_all_at_once(self, tmp_path: Path) -> None:
        settings = SynthesisSettings(output=tmp_path, count=0, made_share=2.0)
        with pytest.raises(InputError, match=r"count.*made_share"):
            next(synthesise(settings))

    def test_refuses_to_validate_on_heads_that_are_not_there(self, tmp_path: Path) -> None:
        settings = SynthesisSettings(output=tmp_path, validation_heads=("nobody",))
        with pytest.raises(InputError, match="nobody"):
            next(synthesise(settings))


class TestAbdomens:
    @pytest.mark.parametrize("number", range(2))
    def test_have_a_liver_where_a_liver_is(self, number: int) -> None:
        rng = np.random.default_rng([3, number])
        abdomen = make_abdomen(rng)
        image, label = scan_abdomen(rng, abdomen)
        liver = np.argwhere(label > 0)
        # Axes to the left, back and top: the liver lies on the right, above the pelvis, below most of the lungs.
        body = np.argwhere(abdomen.organs == Organ.FAT)
        lungs = np.argwhere(abdomen.organs == Organ.LUNG)
        assert liver.mean(0)[0] < body.mean(0)[0]
        assert not len(lungs) or liver.mean(0)[2] < lungs.mean(0)[2]
        volume_ml = len(liver) * np.prod(abdomen.spacing_mm) / 1e3
        assert 20 < volume_ml < 3500
        assert np.array_equal(label > 0, np.isin(abdomen.organs, LIVER_PARTS))
        parenchyma = image[abdomen.organs == Organ.LIVER]
        assert -30 < np.median(parenchyma) < 200
        assert np.median(image[abdomen.organs == Organ.AIR]) < -900

    def test_repeat_by_seed_and_go_on_where_they_stopped(self, tmp_path: Path) -> None:
        def make(folder: str) -> list:
            return list(synthesise_pairs(tmp_path / folder, "abdomen", make_abdomen_pair, count=2, seed=4))

        first = make("a")
        (name, pair) = first[1]
        label_file, image_file = (tmp_path / "a" / part / f"{name}.nii.gz" for part in ("labels", "images"))
        before = read_volume(image_file)
        label_file.unlink()
        assert [again for again, _ in make("a")] == [name]
        again, label = read_volume(image_file), read_volume(label_file)
        np.testing.assert_array_equal(before.data, again.data)
        np.testing.assert_array_equal(again.data[0], pair.image)
        assert again.axis_codes == label.axis_codes == "LPS"
        assert float(label.data.sum() * np.prod(label.spacing_mm) / 1e3) == pytest.approx(pair.volume_ml, rel=1e-4)

    def test_are_made_by_code_alone(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["synthesise", str(tmp_path), "--anatomy", "abdomen", "--layout", "brats"]) == 2
        assert "made by code" in capsys.readouterr().err
        assert main(["synthesise", str(tmp_path), "--anatomy", "abdomen", "--count", "0"]) == 2
