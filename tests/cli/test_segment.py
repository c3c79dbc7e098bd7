"""``ossnet segment`` from images to files."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

#: Returns an ``Outcome``, which lives in conftest.py, where tests can't import it from.
Run = Callable[..., Any]


@pytest.fixture
def a_run(ossnet: Run, small_weights: Path, some_images: dict[str, Path], tmp_path: Path) -> Run:
    """A run on the small scan that writes ``out/mask.nii.gz``; more options may follow."""

    def run(*more: object) -> Any:
        mask = tmp_path / "out" / "mask.nii.gz"
        return ossnet("segment", *some_images.values(), "-o", mask, "--task", "small", *more)

    return run


class TestResults:
    def test_the_mask_lies_on_the_scans_own_grid(
        self, a_run: Run, some_images: dict[str, Path], tmp_path: Path
    ) -> None:
        outcome = a_run()
        assert outcome.code == 0, outcome.err
        scan, mask = nib.load(some_images["flair"]), nib.load(tmp_path / "out" / "mask.nii.gz")
        assert mask.shape == scan.shape
        assert mask.get_data_dtype() == np.uint8
        np.testing.assert_allclose(mask.affine, scan.affine)
        assert np.isin(np.unique(mask.dataobj), [0, 1]).all()

    def test_only_what_was_asked_for_is_written(self, a_run: Run, tmp_path: Path) -> None:
        a_run()
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["mask.nii.gz"]

    def test_the_assignment_is_shown_and_the_numbers_follow(self, a_run: Run) -> None:
        outcome = a_run()
        assert "Weights: small (c)\n" in outcome.out
        assert "flair = case1_flair.nii.gz, t1 = case1_t1.nii.gz, t1ce = case1_t1ce.nii.gz" in outcome.out
        assert "mL" in outcome.out
        assert "research use only" in outcome.out

    def test_every_file_can_be_asked_for(self, a_run: Run, tmp_path: Path) -> None:
        out = tmp_path / "out"
        files = {"--surface": "s.stl", "--report": "r.json", "--picture": "p.png"}
        files |= {"--numbers": "n.csv", "--probability": "q.nii.gz"}
        outcome = a_run(*(part for option, name in files.items() for part in (option, out / name)))
        assert outcome.code == 0, outcome.err
        assert {path.name for path in out.iterdir()} == {"mask.nii.gz", *files.values()}
        assert b"SPACE=RAS" in (out / "s.stl").read_bytes()[:80]
        assert (out / "p.png").read_bytes().startswith(b"\x89PNG")

    def test_the_report_has_what_scripts_rely_on(
        self, a_run: Run, small_weights: Path, some_images: dict[str, Path], tmp_path: Path
    ) -> None:
        a_run("--report", tmp_path / "r.json", "--threshold", "0.45")
        report = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
        numbers = ("volume_ml", "surface_area_cm2", "max_diameter_mm", "evaluated_locations", "first_snapshot_s")
        for key in (*numbers, "elapsed_s", "peak_memory_bytes"):
            assert report[key] >= 0, key
        assert report["device"] == "cpu"
        assert report["threshold"] == 0.45
        assert report["weights"]["task"] == "small"
        assert report["weights"]["variant"] == "c"
        assert len(report["weights"]["sha256"]) == 64
        assert [snapshot["step"] for snapshot in report["snapshots"]][-1] == 1
        assert report["images"] == {name: str(path) for name, path in some_images.items()}
        mask = np.asarray(nib.load(tmp_path / "out" / "mask.nii.gz").dataobj)
        assert report["voxels"] == np.count_nonzero(mask)

    def test_the_mirror_image_can_be_asked_too(self, a_run: Run, tmp_path: Path) -> None:
        reports = []
        for choice in ("no", "yes"):
            report = tmp_path / f"{choice}.json"
            outcome = a_run("--mirrored", choice, "--report", report)
            assert outcome.code == 0, outcome.err
            reports.append(json.loads(report.read_text(encoding="utf-8")))
        assert [report["mirrored"] for report in reports] == [False, True]

    def test_segments_for_slicer_and_a_page_can_be_asked_for(
        self, ossnet: Run, small_weights: Path, some_images: dict[str, Path], tmp_path: Path
    ) -> None:
        mask, page = tmp_path / "m.seg.nrrd", tmp_path / "r.html"
        outcome = ossnet("segment", *some_images.values(), "-o", mask, "--task", "small", "--report", page)
        assert outcome.code == 0, outcome.err
        assert mask.read_bytes().startswith(b"NRRD")
        text = page.read_text(encoding="utf-8")
        assert text.startswith("<!DOCTYPE html>")
        assert str(some_images["t1"]) in text

    def test_the_probability_map_cuts_the_mask_at_its_threshold(self, a_run: Run, tmp_path: Path) -> None:
        outcome = a_run("--probability", tmp_path / "q.nii.gz", "--threshold", "0.52")
        assert outcome.code == 0, outcome.err
        probability, mask = nib.load(tmp_path / "q.nii.gz"), nib.load(tmp_path / "out" / "mask.nii.gz")
        np.testing.assert_allclose(probability.affine, mask.affine)
        occupied = np.asarray(mask.dataobj) > 0
        assert occupied.any()
        # Away from the surface it is interpolated, hence the few voxels.
        assert np.count_nonzero((probability.get_fdata() > 0.52) != occupied) <= 0.002 * occupied.size

    def test_numbers_and_report_tell_what_other_thresholds_would_make(self, a_run: Run, tmp_path: Path) -> None:
        outcome = a_run("--numbers", tmp_path / "n.csv", "--report", tmp_path / "r.json")
        assert outcome.code == 0, outcome.err
        report = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
        (span,) = report["uncertainty"]["volumes_ml"]
        assert (report["uncertainty"]["lower_threshold"], report["uncertainty"]["higher_threshold"]) == (0.4, 0.6)
        assert span["smallest"] <= report["volume_ml"] <= span["largest"]
        assert report["objects"][0]["number"] == 1
        with (tmp_path / "n.csv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert float(rows[0]["largest_volume_ml"]) == pytest.approx(span["largest"], abs=1e-4)
        assert len(rows) == 1 + len(report["objects"])

    def test_uncertainty_can_be_spared(self, a_run: Run, tmp_path: Path) -> None:
        assert a_run("--report", tmp_path / "r.json", "--uncertainty", "no").code == 0
        assert "uncertainty" not in json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))

    def test_what_is_done_to_a_surface_is_said_and_reported(self, a_run: Run, tmp_path: Path) -> None:
        pytest.importorskip("vtk")
        surface, report = tmp_path / "s.stl", tmp_path / "r.json"
        outcome = a_run("--surface", surface, "--faces", "400", "--pieces", "0.05", "--report", report)
        assert outcome.code == 0, outcome.err
        assert int.from_bytes(surface.read_bytes()[80:84], "little") <= 400
        said = [
            message for message in json.loads(report.read_text(encoding="utf-8"))["messages"] if " mm of " in message
        ]
        assert said
        assert all(sentence in outcome.out for sentence in said)

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (("--faces", "400"), "add --surface FILE"),
            (("--surface", "s.stl", "--faces", "2"), "--faces must be 4 or more"),
            (("--surface", "s.stl", "--smoothing", "-1"), "--smoothing must be 0 or more"),
            (("--surface", "s.stl", "--pieces", "-1"), "--pieces must be 0 mL or more"),
            (("--numbers", "n.txt"), "--numbers must end in .csv"),
            (("--probability", "p.stl"), "--probability must end in"),
        ],
    )
    def test_wishes_that_make_no_sense_are_refused(
        self, a_run: Run, tmp_path: Path, options: tuple[str, ...], words: str
    ) -> None:
        outcome = a_run(*options)
        assert outcome.code == 2
        assert words in outcome.sentence
        assert not (tmp_path / "out").exists()

    def test_what_can_not_become_a_dicom_mask_is_refused_before_the_work(
        self, ossnet: Run, small_weights: Path, some_images: dict[str, Path], tmp_path: Path
    ) -> None:
        for options, words in (
            ((), "case1_flair.nii.gz is none"),
            (("--upscale", "2"), "has the voxels of its series"),
        ):
            # It is the task's first modality that counts, whatever comes first.
            images = reversed(some_images.values())
            outcome = ossnet("segment", *images, "-o", tmp_path / "m.dcm", "--task", "small", *options)
            assert outcome.code == 2
            assert words in outcome.sentence

    def test_a_4d_file_gives_the_same_mask_as_four_files(
        self, a_run: Run, ossnet: Run, some_images: dict[str, Path], tmp_path: Path
    ) -> None:
        a_run()
        stacked = nib.concat_images([str(path) for path in some_images.values()])
        nib.save(stacked, tmp_path / "all.nii.gz")
        outcome = ossnet("segment", tmp_path / "all.nii.gz", "-o", tmp_path / "m.nii.gz", "--task", "small")
        assert outcome.code == 0, outcome.err
        expected = np.asarray(nib.load(tmp_path / "out" / "mask.nii.gz").dataobj)
        np.testing.assert_array_equal(np.asarray(nib.load(tmp_path / "m.nii.gz").dataobj), expected)

    def test_modalities_can_be_said_outright(
        self, ossnet: Run, small_weights: Path, some_images: dict[str, Path], tmp_path: Path
    ) -> None:
        renamed = {
            name: path.rename(tmp_path / f"{number}.nii.gz") for number, (name, path) in enumerate(some_images.items())
        }
        images = [f"{name}={path}" for name, path in renamed.items()]
        outcome = ossnet("segment", *images, "-o", tmp_path / "m.nii.gz", "--weights", "small")
        assert outcome.code == 0, outcome.err
        assert "t1ce = 2.nii.gz" in outcome.out

    def test_weights_may_be_a_file_and_bring_their_task(
        self, ossnet: Run, small_weights: Path, some_images: dict[str, Path], tmp_path: Path
    ) -> None:
        elsewhere = small_weights.rename(tmp_path / "elsewhere.safetensors")
        outcome = ossnet("segment", *some_images.values(), "-o", tmp_path / "m.nii.gz", "--weights", elsewhere)
        assert outcome.code == 0, outcome.err

    def test_a_network_that_finds_nothing_leaves_an_empty_mask_and_says_so(self, a_run: Run, tmp_path: Path) -> None:
        outcome = a_run("--threshold", "0.999999", "--surface", tmp_path / "s.stl")
        assert outcome.code == 0, outcome.err
        assert "Nothing was found" in outcome.out
        assert "Surface: none" in outcome.out
        assert not np.asarray(nib.load(tmp_path / "out" / "mask.nii.gz").dataobj).any()
        assert not (tmp_path / "s.stl").exists()

    def test_nothing_to_refine_leaves_the_empty_mask_of_the_scan(
        self, a_run: Run, some_images: dict[str, Path], tmp_path: Path
    ) -> None:
        outcome = a_run("--threshold", "0.999999", "--upscale", "2")
        assert outcome.code == 0, outcome.err
        assert "no object to refine" in outcome.out
        mask = nib.load(tmp_path / "out" / "mask.nii.gz")
        assert mask.shape == nib.load(some_images["flair"]).shape
        assert not np.asarray(mask.dataobj).any()

    def test_what_was_said_about_the_images_is_in_the_report(
        self, ossnet: Run, small_weights: Path, some_images: dict[str, Path], tmp_path: Path
    ) -> None:
        # A T2 on slices twice as thick.
        t2 = nib.load(some_images["t2"])
        nib.save(
            nib.Nifti1Image(np.asarray(t2.dataobj)[..., ::2], t2.affine @ np.diag([1, 1, 2, 1])), some_images["t2"]
        )
        report = tmp_path / "r.json"
        outcome = ossnet("segment", *some_images.values(), "-o", tmp_path / "m.nii.gz", "--report", report)
        assert outcome.code == 0, outcome.err
        assert any("resampled" in text for text in json.loads(report.read_text(encoding="utf-8"))["messages"])

    def test_a_coarser_step_asks_fewer_locations(self, a_run: Run, tmp_path: Path) -> None:
        counts = []
        for step in ("1", "2"):
            assert a_run("--step", step, "--report", tmp_path / "r.json").code == 0
            counts.append(json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["evaluated_locations"])
        assert counts[0] > counts[1]


class TestProgress:
    def test_json_prints_a_line_an_event(self, a_run: Run, small_weights: Path) -> None:
        outcome = a_run("--progress", "json")
        events = [json.loads(line) for line in outcome.out.splitlines()]
        snapshots = [event for event in events if event["event"] == "snapshot"]
        steps = [snapshot["step"] for snapshot in snapshots]
        assert steps == sorted(steps, reverse=True)
        assert snapshots[-1]["is_final"]
        progress = [event for event in events if event["event"] == "progress" and event["stage"] == "refining"]
        assert progress
        assert all({"points_done", "points_total", "remaining_s", "step"} <= event.keys() for event in progress)
        assert events[0] == {"event": "weights", "name": "small", "variant": "c", "path": str(small_weights)}
        assert events[1]["event"] == "assignment"
        assert events[1]["t2"].endswith("case1_t2.nii.gz")
        (result,) = [event for event in events if event["event"] == "result"]
        assert result["volume_ml"] >= 0
        assert outcome.err == ""

    def test_bar_leaves_a_line_a_step_where_there_is_no_terminal(self, a_run: Run) -> None:
        lines = a_run().err.splitlines()
        assert [line.split()[:2] for line in lines][-1] == ["step", "1"]

    def test_none_is_silent_about_steps(self, a_run: Run) -> None:
        said = a_run("--progress", "none")
        assert "step" not in said.err
        assert "mL" in said.out


class TestRegion:
    def test_a_region_is_written_on_finer_voxels_in_its_place(self, a_run: Run, tmp_path: Path) -> None:
        outcome = a_run("--region", "4:12,6:16,:8", "--upscale", "2", "--report", tmp_path / "r.json")
        assert outcome.code == 0, outcome.err
        mask = nib.load(tmp_path / "out" / "mask.nii.gz")
        assert mask.shape == (16, 20, 16)
        np.testing.assert_allclose(np.abs(np.diag(mask.affine)[:3]), 0.5)
        # The fine voxels tile the box: the first one's outer corner is that of the first scan voxel.
        corner = nib.affines.apply_affine(mask.affine, [-0.5, -0.5, -0.5])
        np.testing.assert_allclose(corner, [40 - 3.5, -30 + 5.5, 15 - 0.5], atol=1e-5)
        assert json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["region"]["factor"] == 2

    def test_without_a_box_it_goes_around_the_object(self, a_run: Run, tmp_path: Path) -> None:
        assert a_run("--upscale", "1.5").code == 0
        mask = nib.load(tmp_path / "out" / "mask.nii.gz")
        np.testing.assert_allclose(np.abs(np.diag(mask.affine)[:3]), 1 / 1.5)
        assert np.asarray(mask.dataobj).any()

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (("--region", "0:99,0:9,0:9"), "inside the scan's 30 x 28 x 26 voxels, got 0:99,0:9,0:9"),
            (("--region", "5:5,0:9,0:9"), "box inside"),
            (("--region", "1:2"), "three half-open voxel ranges"),
            (("--upscale", "0.5"), "--upscale must lie between 1 and 64"),
        ],
    )
    def test_a_box_that_is_none_is_refused(
        self, a_run: Run, tmp_path: Path, options: tuple[str, ...], words: str
    ) -> None:
        outcome = a_run(*options)
        assert outcome.code == 2
        assert words in outcome.sentence
        assert not (tmp_path / "out").exists()
