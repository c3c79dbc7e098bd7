"""What users get wrong: one sentence, the right exit code, and nothing half-written."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from napari_ossnet.cli.extras import check_extras
from napari_ossnet.cli.results import ResultFiles
from napari_ossnet.engine.networks.variants import build_network
from napari_ossnet.engine.tasks import TASKS

Run = Callable[..., Any]
SHAPE = (30, 28, 26)


def save(path: Path, data: np.ndarray, affine: np.ndarray | None = None) -> Path:
    nib.save(nib.Nifti1Image(data, np.eye(4) if affine is None else affine), path)
    return path


@pytest.fixture
def refused(ossnet: Run, small_weights: Path, some_images: dict[str, Path], tmp_path: Path) -> Callable[..., str]:
    """Runs ``ossnet segment`` on the small scan with some images exchanged, expects 2, and returns the sentence."""

    def run(*more: object, code: int = 2, **exchanged: Path | None) -> str:
        images = some_images | exchanged
        given = [path for path in images.values() if path is not None]
        before = set(tmp_path.rglob("*"))
        mask = tmp_path / "mask.nii.gz"
        outcome = ossnet("segment", *given, "-o", mask, "--task", "small", "--progress", "none", *more)
        assert outcome.code == code, outcome.err
        assert set(tmp_path.rglob("*")) == before
        return str(outcome.err.strip().splitlines()[-1])

    return run


@pytest.fixture
def a_cube() -> np.ndarray:
    rng = np.random.default_rng(1)
    return rng.normal(size=SHAPE).astype(np.float32)


class TestImages:
    def test_a_missing_modality(self, refused: Callable[..., str]) -> None:
        assert "No image for t1ce" in refused(t1ce=None)

    def test_two_files_for_one_modality(self, refused: Callable[..., str], some_images: dict[str, Path]) -> None:
        double = some_images["t1"].with_name("case2_T1.nii.gz")
        double.write_bytes(some_images["t1"].read_bytes())
        assert "Two images for t1" in refused(extra=double)

    def test_a_file_that_is_not_there(self, refused: Callable[..., str], tmp_path: Path) -> None:
        assert "gone_t1.nii.gz" in refused(t1=tmp_path / "gone_t1.nii.gz")

    def test_a_name_that_says_nothing(
        self, refused: Callable[..., str], some_images: dict[str, Path], tmp_path: Path
    ) -> None:
        assert "Can't tell which modality" in refused(t1=some_images["t1"].rename(tmp_path / "brain.nii.gz"))

    def test_infinite_voxels(self, refused: Callable[..., str], a_cube: np.ndarray, tmp_path: Path) -> None:
        a_cube[3, 4, 5] = np.inf
        affine = np.array([[-1.0, 0, 0, 40], [0, 1, 0, -30], [0, 0, 1, 15], [0, 0, 0, 1]])
        assert "infinite" in refused(t2=save(tmp_path / "bad_t2.nii.gz", a_cube, affine))

    def test_a_constant_image(self, refused: Callable[..., str], tmp_path: Path) -> None:
        affine = np.array([[-1.0, 0, 0, 40], [0, 1, 0, -30], [0, 0, 1, 15], [0, 0, 0, 1]])
        assert "constant" in refused(t2=save(tmp_path / "flat_t2.nii.gz", np.ones(SHAPE, np.float32), affine))

    def test_a_2d_image(self, refused: Callable[..., str], tmp_path: Path) -> None:
        assert "2 axes" in refused(t2=save(tmp_path / "flat_t2.nii.gz", np.ones((30, 28), np.float32)))

    def test_4d_with_the_wrong_number_of_channels(
        self, refused: Callable[..., str], a_cube: np.ndarray, tmp_path: Path
    ) -> None:
        three = save(tmp_path / "three.nii.gz", np.stack([a_cube] * 3, axis=-1))
        sentence = refused(flair=three, t1=None, t1ce=None, t2=None)
        assert "3" in sentence
        assert "4" in sentence

    def test_complex_voxels(self, refused: Callable[..., str], tmp_path: Path) -> None:
        assert "complex" in refused(t2=save(tmp_path / "c_t2.nii.gz", np.ones(SHAPE, np.complex64)))

    def test_a_colour_image(self, refused: Callable[..., str], tmp_path: Path) -> None:
        colour = np.zeros(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
        assert "colour" in refused(t2=save(tmp_path / "rgb_t2.nii.gz", colour))

    def test_a_truncated_file(self, refused: Callable[..., str], some_images: dict[str, Path]) -> None:
        content = some_images["t1"].read_bytes()
        some_images["t1"].write_bytes(content[: len(content) // 2])
        assert "cut short or damaged" in refused()

    def test_a_header_without_voxels(self, refused: Callable[..., str], some_images: dict[str, Path]) -> None:
        head = gzip.decompress(some_images["t1"].read_bytes())[:352]
        some_images["t1"].write_bytes(gzip.compress(head))
        assert refused().startswith("ossnet: ")

    def test_a_text_file(self, refused: Callable[..., str], tmp_path: Path) -> None:
        path = tmp_path / "notes_t1.txt"
        path.write_text("not an image", encoding="utf-8")
        assert "no known kind" in refused(t1=path)

    def test_an_affine_that_can_not_be_inverted(
        self, refused: Callable[..., str], a_cube: np.ndarray, tmp_path: Path
    ) -> None:
        image = nib.Nifti1Image(a_cube, None)
        image.header["sform_code"] = 1
        image.header["srow_x"], image.header["srow_y"] = [1, 0, 0, 0], [1, 0, 0, 0]
        nib.save(image, tmp_path / "flat_t1.nii.gz")
        assert refused(t1=tmp_path / "flat_t1.nii.gz").startswith("ossnet: ")


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (("--step", "3"), "--step must be one of 1, 2, 4, 8, 16, got 3"),
            (("--threshold", "1"), "--threshold must lie between 0 and 1, got 1"),
            (("--variant", "z"), "--variant must be one of o-net, a, b, c, d"),
            (("--variant", "d"), "no weights variant d for small"),
            (("--memory", "much"), "such as 2GiB"),
            (("--device", "gpu"), "auto, cpu, cuda"),
            (("--surface", "s.vtk"), "--surface must end in .stl, .ply, .obj, .glb, .vtp"),
            (("--report", "r.txt"), "--report must end in .json, .html"),
            (("--weights", "nobody"), "no weights called 'nobody'"),
            (("--weights", "gone.pt"), "no weights file gone.pt"),
        ],
    )
    def test_an_option_that_can_not_be(self, refused: Callable[..., str], options: tuple[str, ...], words: str) -> None:
        assert words in refused(*options)

    def test_an_unknown_task(self, ossnet: Run, some_images: dict[str, Path], tmp_path: Path) -> None:
        outcome = ossnet("segment", *some_images.values(), "-o", tmp_path / "m.nii.gz", "--task", "lungs")
        assert outcome.code == 2
        assert "no task 'lungs'; choose one of brats, lits, hippocampus" in outcome.sentence

    def test_weights_of_another_task(self, ossnet: Run, small_weights: Path, tmp_path: Path) -> None:
        outcome = ossnet("segment", "ct.nii", "-o", tmp_path / "m.nii.gz", "--task", "lits", "--weights", small_weights)
        assert outcome.code == 2
        assert "made for the task small, not for lits" in outcome.sentence

    def test_published_weights_of_another_task(self, ossnet: Run, tmp_path: Path) -> None:
        path = tmp_path / "weights.pt"
        torch.save(build_network("a", TASKS["brats"]).state_dict(), path)
        outcome = ossnet("segment", "ct.nii", "-o", tmp_path / "m.nii.gz", "--task", "lits", "--weights", path)
        assert outcome.code == 2
        assert "made for the task brats, not for lits" in outcome.sentence

    def test_damaged_weights(self, refused: Callable[..., str], tmp_path: Path) -> None:
        path = tmp_path / "weights.safetensors"
        path.write_bytes(b"nonsense")
        assert "weights.safetensors" in refused("--weights", path)

    @pytest.mark.parametrize("arguments", [("segment",), ("segment", "a.nii"), ("segment", "a.nii", "-o", "m.png")])
    def test_an_incomplete_command(self, ossnet: Run, arguments: tuple[str, ...]) -> None:
        outcome = ossnet(*arguments)
        assert outcome.code == 2
        assert outcome.sentence

    @pytest.mark.parametrize("arguments", [("bogus",), (), ("segment", "--bogus"), ("weights",)])
    def test_a_command_that_is_none(
        self, ossnet: Run, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit, match="2"):
            ossnet(*arguments)
        assert "Traceback" not in capsys.readouterr().err


class TestOutput:
    def test_an_image_is_never_overwritten(
        self, ossnet: Run, small_weights: Path, some_images: dict[str, Path]
    ) -> None:
        content = some_images["t1"].read_bytes()
        outcome = ossnet("segment", *some_images.values(), "-o", some_images["t1"], "--task", "small")
        assert outcome.code == 2
        assert "would overwrite the image" in outcome.sentence
        assert some_images["t1"].read_bytes() == content

    @pytest.mark.parametrize("given", ["series", "series/1.dcm"])
    @pytest.mark.parametrize("option", ["-o", "--report"])
    def test_no_slice_of_a_series_that_is_segmented_is_overwritten(
        self, ossnet: Run, small_weights: Path, tmp_path: Path, given: str, option: str
    ) -> None:
        series = tmp_path / "series"
        series.mkdir()
        for number in (1, 2):
            (series / f"{number}.dcm").write_bytes(b"\0" * 128 + b"DICM")
        target = series / ("2.dcm" if option == "-o" else "2.json")
        if option == "--report":
            (series / "2.dcm").rename(target)
        more = () if option == "-o" else ("-o", tmp_path / "m.nii.gz")
        outcome = ossnet("segment", tmp_path / given, option, target, *more, "--task", "small")
        assert outcome.code == 2
        assert "would overwrite the image" in outcome.sentence
        assert target.read_bytes().endswith(b"DICM")

    def test_a_file_that_is_read_only_is_refused_before_the_work(
        self, refused: Callable[..., str], tmp_path: Path
    ) -> None:
        protected = tmp_path / "numbers.csv"
        protected.write_text("by hand", encoding="utf-8")
        protected.chmod(0o444)
        assert "read-only" in refused("--numbers", protected, code=1)

    def test_a_probability_map_is_no_segmentation(self, refused: Callable[..., str], tmp_path: Path) -> None:
        assert "no segmentation" in refused("--probability", tmp_path / "p.seg.nrrd")

    @pytest.mark.parametrize("name", ["mask.nii.gz", "elsewhere/../mask.nii.gz"])
    def test_two_results_are_never_one_file(self, refused: Callable[..., str], tmp_path: Path, name: str) -> None:
        assert "-o and --probability would be one file" in refused("--probability", tmp_path / name)

    @pytest.mark.parametrize(
        ("package", "options", "extra"),
        [
            ("SimpleITK", ("-o", "m.nrrd"), "io"),
            ("SimpleITK", ("-o", "m.MHA"), "io"),
            ("SimpleITK", ("--probability", "p.nrrd"), "io"),
            ("highdicom", ("-o", "m.dcm"), "dicom"),
            ("vtkmodules", ("--surface", "s.stl", "--faces", "400"), "napari"),
            ("vtkmodules", ("--surface", "s.stl", "--smoothing", "20"), "napari"),
        ],
    )
    def test_a_package_that_a_result_needs_is_missed_before_the_work(
        self,
        refused: Callable[..., str],
        monkeypatch: pytest.MonkeyPatch,
        package: str,
        options: tuple[str, ...],
        extra: str,
    ) -> None:
        monkeypatch.setitem(sys.modules, package, None)
        sentence = refused(*options)
        assert "not installed" in sentence
        assert f'pip install "napari-ossnet[{extra}]".' in sentence

    def test_what_no_extra_is_needed_for_is_not_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for package in ("SimpleITK", "highdicom", "vtkmodules"):
            monkeypatch.setitem(sys.modules, package, None)
        check_extras(ResultFiles(mask=Path("m.seg.nrrd"), surface=Path("s.vtp"), probability=Path("p.mgz")))

    def test_a_folder_that_is_a_file(self, refused: Callable[..., str], tmp_path: Path) -> None:
        (tmp_path / "file").write_text("", encoding="utf-8")
        sentence = refused("--report", tmp_path / "file" / "r.json", code=1)
        assert "is not a folder" in sentence

    def test_a_folder_that_can_not_be_written(self, refused: Callable[..., str]) -> None:
        assert "Can't write /proc/nothing/r.json" in refused("--report", "/proc/nothing/r.json", code=1)

    def test_a_path_that_may_not_be_looked_at(
        self, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def locked(path: Path) -> bool:
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(Path, "exists", locked)
        assert "can't be opened (Permission denied)" in refused()

    def test_a_device_that_is_not_there(self, refused: Callable[..., str]) -> None:
        assert "no device cuda:97" in refused("--device", "cuda:97", code=1)


class TestUnexpected:
    def test_a_bug_is_one_sentence_that_says_how_to_report_it(
        self, ossnet: Run, small_weights: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*arguments: object) -> None:
            raise ZeroDivisionError("oh")

        monkeypatch.setattr("napari_ossnet.cli.weights.remove", broken)
        outcome = ossnet("weights", "remove", "small")
        assert outcome.code == 1
        assert "ZeroDivisionError: oh" in outcome.sentence
        assert "OSSNET_DEBUG=1" in outcome.sentence

    def test_the_traceback_is_there_for_who_wants_it(self, ossnet: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OSSNET_DEBUG", "1")
        assert "Traceback" in ossnet("weights", "remove", "nobody").err
