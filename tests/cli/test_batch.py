"""``ossnet segment --batch``: cohorts that restart and are shared among processes."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

Run = Callable[..., Any]


@pytest.fixture
def a_cohort(some_images: dict[str, Path], tmp_path: Path) -> Path:
    """Three cases, a folder each; the third lacks a modality."""
    cohort = tmp_path / "cohort"
    for case in ("case_a", "case_b", "case_c"):
        (cohort / case).mkdir(parents=True)
        for modality, path in some_images.items():
            if (case, modality) != ("case_c", "t2"):
                (cohort / case / f"{case}_{modality}.nii.gz").write_bytes(path.read_bytes())
    return cohort


@pytest.fixture
def a_batch(ossnet: Run, small_weights: Path, a_cohort: Path, tmp_path: Path) -> Run:
    def run(*more: object) -> Any:
        return ossnet("segment", "--batch", a_cohort, tmp_path / "results", "--task", "small", *more)

    return run


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


class TestBatch:
    def test_every_case_gets_a_mask_and_a_row_and_failures_are_told(self, a_batch: Run, tmp_path: Path) -> None:
        outcome = a_batch()
        results = tmp_path / "results"
        assert outcome.code == 1
        assert "2 of 3 cases are done, 1 failed" in outcome.out
        assert sorted(path.name for path in results.glob("*.nii.gz")) == ["case_a.nii.gz", "case_b.nii.gz"]
        rows = {row["case"]: row for row in rows_of(results)}
        assert [rows[case]["status"] for case in ("case_a", "case_b", "case_c")] == ["done", "done", "failed"]
        assert "No image for t2" in rows["case_c"]["error"]
        mask = np.asarray(nib.load(results / "case_a.nii.gz").dataobj)
        assert float(rows["case_a"]["volume_ml"]) == pytest.approx(np.count_nonzero(mask) / 1000)

    def test_finished_cases_are_skipped_and_failed_ones_tried_again(
        self, a_batch: Run, a_cohort: Path, tmp_path: Path
    ) -> None:
        a_batch()
        finished_at = (tmp_path / "results" / "case_a.nii.gz").stat().st_mtime_ns
        (a_cohort / "case_c" / "case_c_t2.nii.gz").write_bytes((a_cohort / "case_a" / "case_a_t2.nii.gz").read_bytes())
        outcome = a_batch()
        assert outcome.code == 0
        assert outcome.out.count("finished before") == 2
        assert (tmp_path / "results" / "case_a.nii.gz").stat().st_mtime_ns == finished_at
        assert {row["status"] for row in rows_of(tmp_path / "results")} == {"done"}

    def test_a_run_that_was_killed_between_mask_and_report_is_made_again(
        self, a_batch: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        a_batch()
        report = tmp_path / "results" / "case_a.json"
        before = report.read_text()

        def killed(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("napari_ossnet.cli.batch.write_report", killed)
            assert a_batch("--threshold", "0.6").code == 130
        assert report.read_text() != before, "the old report would speak of the new mask"
        again = a_batch()
        assert again.out.count("finished before") == 1
        assert again.out.count("2 of 3 cases are done") == 1

    @pytest.mark.parametrize(
        ("name", "content"), [("case_a.nii.gz", "labels drawn by hand"), ("case_a.json", '{"mine": 1}')]
    )
    def test_files_that_no_batch_has_left_are_never_replaced(
        self, a_batch: Run, tmp_path: Path, name: str, content: str
    ) -> None:
        theirs = tmp_path / "results" / name
        theirs.parent.mkdir()
        theirs.write_text(content)
        outcome = a_batch()
        assert outcome.code == 2
        assert "case_a that no batch has left" in outcome.err
        assert theirs.read_text() == content
        assert list(theirs.parent.glob("case_b*")) == []

    def test_what_a_batch_does_not_measure_can_not_be_left_out_of_it(self, a_batch: Run) -> None:
        outcome = a_batch("--uncertainty", "no")
        assert outcome.code == 2
        assert "--uncertainty" in outcome.err

    def test_a_folder_that_can_not_be_looked_into_is_a_case_that_fails(
        self, a_batch: Run, a_cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        listed = Path.iterdir

        def refusing(folder: Path) -> Any:
            if folder.name == "case_b":
                raise PermissionError(13, "Permission denied", str(folder))
            return listed(folder)

        monkeypatch.setattr(Path, "iterdir", refusing)
        outcome = a_batch()
        rows = {row["case"]: row for row in rows_of(tmp_path / "results")}
        assert outcome.code == 1
        assert rows["case_a"]["status"] == "done"
        assert rows["case_b"]["status"] == "failed"
        assert "can't be opened" in rows["case_b"]["error"]

    def test_each_process_takes_the_cases_of_its_rank(
        self, a_batch: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        results = tmp_path / "results"
        monkeypatch.setenv("WORLD_SIZE", "2")
        monkeypatch.setenv("RANK", "1")
        assert a_batch().code == 0
        assert [path.name for path in results.glob("*.nii.gz")] == ["case_b.nii.gz"]
        monkeypatch.setenv("RANK", "0")
        assert a_batch().code == 1
        assert [row["case"] for row in rows_of(results)] == ["case_a", "case_b", "case_c"]

    def test_a_script_under_sbatch_does_all_cases_and_a_job_step_its_own(
        self, a_batch: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SLURM_PROCID", "0")
        monkeypatch.setenv("SLURM_NTASKS", "3")
        outcome = a_batch()
        assert "2 of 3 cases are done" in outcome.out
        assert "Rank" not in outcome.out
        monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "3")
        outcome = a_batch()
        assert "Rank 0 of 3: 1 of 3 cases" in outcome.out
        assert "1 of 1 cases are done" in outcome.out

    def test_cases_made_with_other_options_are_done_again(
        self, a_batch: Run, a_cohort: Path, a_home: Path, tmp_path: Path
    ) -> None:
        (a_cohort / "case_b" / "case_b_t2.nii.gz").unlink()
        small, other = a_home / "weights" / "small.safetensors", tmp_path / "other.safetensors"
        # The last byte belongs to a tensor.
        other.write_bytes(small.read_bytes()[:-1] + b"\x00")
        weights = ("--weights", small)
        a_batch(*weights, "--step", "4")
        for options, said in (
            ((*weights, "--step", "2"), "step 4 (now 2)"),
            ((*weights, "--step", "2", "--threshold", "0.4"), "threshold 0.5 (now 0.4)"),
            (("--weights", other, "--step", "2", "--threshold", "0.4"), "weights "),
        ):
            outcome = a_batch(*options)
            assert f"case_a: made before with {said}" in outcome.out
            assert "finished before" not in outcome.out
            assert "finished before" in a_batch(*options).out
        (a_cohort / "case_a" / "case_a_t1.nii.gz").unlink()
        a_batch(*weights)
        assert {row["status"] for row in rows_of(tmp_path / "results")} == {"failed"}
        assert (tmp_path / "results" / "case_a.nii.gz").is_file(), "the older mask is the user's and stays"

    def test_a_folder_that_can_not_be_written_is_told_before_the_work(self, a_batch: Run, tmp_path: Path) -> None:
        (tmp_path / "results").write_text("a file")
        outcome = a_batch()
        assert outcome.code != 0
        assert "Can't write" in outcome.sentence
        assert "case_a" not in outcome.out

    def test_files_of_a_single_case_are_refused_beside_it(self, a_batch: Run) -> None:
        outcome = a_batch("--report", "r.json")
        assert outcome.code == 2
        assert "leave out --report" in outcome.sentence

    def test_the_images_folder_can_not_be_the_results_folder(
        self, ossnet: Run, small_weights: Path, a_cohort: Path
    ) -> None:
        for target in (a_cohort, a_cohort / "masks"):
            outcome = ossnet("segment", "--batch", a_cohort, target, "--task", "small")
            assert outcome.code == 2
            assert "two folders" in outcome.sentence
