"""What a case of a cohort leaves behind."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from napari_ossnet.engine.case_files import CaseFiles, Making
from napari_ossnet.engine.cohort import write_table
from napari_ossnet.engine.errors import InputError

REPORT = {
    "weights": {"sha256": "a" * 64},
    "threshold": 0.5,
    "schedule": "octree",
    "snapshots": [{"step": 8}, {"step": 1}],
    "volume_ml": 3.5,
}


@pytest.fixture
def a_case(tmp_path: Path) -> CaseFiles:
    return CaseFiles(tmp_path, "p")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"threshold": 0.5}', "{"])
def test_what_is_no_report_tells_nothing(a_case: CaseFiles, content: str) -> None:
    a_case.mask.touch()
    assert a_case.making() is None, "no report at all"
    a_case.report.write_text(content, encoding="utf-8")
    assert a_case.making() is None
    assert a_case.volume_ml() is None
    write_table(a_case.target)
    with (a_case.target / "results.csv").open() as table:
        assert list(csv.DictReader(table)) == []


def test_a_report_tells_how_its_mask_was_made(a_case: CaseFiles) -> None:
    a_case.report.write_text(json.dumps(REPORT), encoding="utf-8")
    assert a_case.making() is None, "a report without its mask"
    a_case.mask.touch()
    assert a_case.making() == Making(weights="a" * 64, threshold=0.5, schedule="octree", step=1)
    assert a_case.volume_ml() == 3.5
    a_case.reopen()
    assert a_case.making() is None
    assert a_case.mask.is_file()


def test_a_failure_leaves_its_sentence_until_the_case_is_done(a_case: CaseFiles) -> None:
    a_case.fail(InputError("No such scan."))
    assert json.loads(a_case.failure.read_text(encoding="utf-8")) == {"error": "No such scan."}
    a_case.close()
    a_case.close()
    assert not a_case.failure.exists()


def test_differences_are_named() -> None:
    before = Making(weights="a" * 64, threshold=0.5, schedule="octree", step=1)
    assert before.differences(before) == ""
    now = Making(weights="b" * 64, threshold=0.4, schedule="published", step=2, mirrored=True)
    assert before.differences(now) == (
        "weights aaaaaaaaaaaa (now bbbbbbbbbbbb), threshold 0.5 (now 0.4), schedule octree (now published), "
        "step 1 (now 2), mirrored no (now yes)"
    )
