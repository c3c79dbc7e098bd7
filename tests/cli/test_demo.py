"""``ossnet demo``: what a newcomer sees first."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from napari_ossnet.cli.demo import _show_how_to_view, dice, otsu_mask
from napari_ossnet.cli.reporters import make_reporter

Run = Callable[..., Any]


@pytest.mark.slow
def test_the_demo_finds_the_tumour_with_the_bundled_weights_and_writes_everything(ossnet: Run, tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    outcome = ossnet("demo", "--output", folder)
    assert outcome.code == 0, outcome.err
    ours, otsu = (float(value) for value in re.findall(r"Dice (\d\.\d{3})", outcome.out))
    assert ours >= 0.90
    assert otsu <= 0.70
    mask, truth = (np.asarray(nib.load(folder / name).dataobj) for name in ("mask.nii.gz", "truth.nii.gz"))
    assert dice(mask, truth) == pytest.approx(ours, abs=5e-4)
    assert b"SPACE=RAS" in (folder / "surface.stl").read_bytes()[:80]
    assert (folder / "picture.png").read_bytes().startswith(b"\x89PNG")
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert f"{report['volume_ml']:.2f} mL" in outcome.out
    for image in report["images"].values():
        assert nib.load(image).shape == mask.shape
    assert f"-m napari {folder / 'demo_flair.nii.gz'} {folder / 'mask.nii.gz'}" in outcome.out


@pytest.mark.parametrize("has_napari", [True, False])
def test_the_last_lines_open_this_result_and_install_napari_only_where_it_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], has_napari: bool
) -> None:
    monkeypatch.setattr("napari_ossnet.cli.demo.find_spec", lambda name: name if has_napari else None)
    monkeypatch.setattr(sys, "executable", str(Path.cwd() / ".venv" / "bin" / "python"))
    _show_how_to_view(Path("my demo/flair.nii.gz"), Path("my demo/mask.nii.gz"), make_reporter("none"))
    lines = capsys.readouterr().out.splitlines()
    python = Path(".venv", "bin", "python")
    assert lines[-1].endswith(f': {python} -m napari "{Path("my demo/flair.nii.gz")}" "{Path("my demo/mask.nii.gz")}"')
    installs = [line for line in lines if line.endswith(f'{python} -m pip install -c constraints.txt -e ".[viewer]"')]
    assert len(installs) == (0 if has_napari else 1)


def test_a_folder_that_can_not_be_written_is_said_before_the_work(ossnet: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    outcome = ossnet("demo", "--output", tmp_path / "file")
    assert outcome.code == 1
    assert "is not a folder" in outcome.sentence


class TestComparison:
    def test_dice_is_one_for_equal_masks_and_zero_for_disjoint_ones(self) -> None:
        one, other = np.zeros((2, 4, 4, 4), dtype=np.uint8)
        one[:2], other[2:] = 1, 3
        assert dice(one, one) == 1
        assert dice(one, other) == 0
        other[1:] = 1
        assert dice(one, other) == pytest.approx(2 * 16 / (32 + 48))
        assert dice(np.zeros(3), np.zeros(3)) == 1

    def test_otsu_takes_the_largest_bright_component_inside_the_brain(self) -> None:
        flair = np.zeros((20, 20, 20))
        flair[2:18, 2:18, 2:18] = 100 + np.random.default_rng(0).normal(size=(16, 16, 16))
        flair[5:9, 5:9, 5:9] = 300
        flair[14:16, 14:16, 14:16] = 300
        np.testing.assert_array_equal(np.argwhere(otsu_mask(flair))[[0, -1]], [[5, 5, 5], [8, 8, 8]])
