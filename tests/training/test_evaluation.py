"""Scores of weights: against counts by hand, native masks in any orientation, tables and pictures."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from ossnet_training.cases import find_cases
from ossnet_training.cli import main
from ossnet_training.evaluation import Score, evaluate_cases
from ossnet_training.overlap import dice_of, iou_of, overlap_counts
from ossnet_training.reports import markdown_table, mean_with_interval
from ossnet_training.run_folder import find_run
from ossnet_training.splits import read_split
from ossnet_training.surface_distance import hd95_mm
from scipy.spatial.distance import cdist

from napari_ossnet.engine.tasks import get_task


def _block(shape: tuple[int, int, int], start: int, stop: int) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[start:stop, start:stop, start:stop] = True
    return mask


def test_hd95_is_that_of_all_pairs_of_surface_voxels() -> None:
    found, truth = _block((16, 16, 16), 3, 9), _block((16, 16, 16), 5, 13)
    found[1, 1, 1] = True
    spacing = (1.0, 2.0, 0.5)

    def surface(mask: np.ndarray) -> np.ndarray:
        inner = mask.copy()
        for axis in range(3):
            for step in (-1, 1):
                inner &= np.roll(mask, step, axis)
        return np.argwhere(mask & ~inner) * spacing

    distances = cdist(surface(found), surface(truth))
    expected = max(np.percentile(distances.min(1), 95), np.percentile(distances.min(0), 95))
    assert hd95_mm(found, truth, spacing) == pytest.approx(expected)


def test_hd95_of_nothing_is_zero_or_infinite() -> None:
    nothing, block = np.zeros((8, 8, 8), dtype=bool), _block((8, 8, 8), 2, 5)
    assert hd95_mm(nothing, nothing, (1.0, 1.0, 1.0)) == 0
    assert hd95_mm(nothing, block, (1.0, 1.0, 1.0)) == math.inf


def test_overlap_by_hand() -> None:
    found, truth = torch.tensor([0, 1, 1, 2, 0]), torch.tensor([0, 1, 2, 2, 1])
    counts = overlap_counts(found, truth, 2)
    assert counts.tolist() == [[3, 4, 3], [2, 2, 1], [1, 2, 1]]
    assert dice_of(counts).tolist() == pytest.approx([6 / 7, 0.5, 2 / 3])
    assert iou_of(counts).tolist() == pytest.approx([3 / 4, 1 / 3, 1 / 2])
    empty = overlap_counts(torch.zeros(3), torch.zeros(3), 1)
    assert dice_of(empty).tolist() == iou_of(empty).tolist() == [1.0, 1.0]


def test_intervals_are_students_and_leave_out_what_is_not_finite() -> None:
    mean = mean_with_interval([1.0, 2.0, 3.0, math.inf])
    assert (mean.value, mean.left_out) == (2.0, 1)
    assert mean.half_width == pytest.approx(4.30265 / math.sqrt(3), rel=1e-4)
    assert "1 not finite" in str(mean)
    assert math.isnan(mean_with_interval([math.nan]).value)


def test_a_run_is_evaluated_by_both_protocols_and_compared(
    a_recipe: Path, a_data_set: Path, tmp_path: Path, capsys
) -> None:
    split = tmp_path / "split.json"
    split.write_text('{"validation": ["case_1", "case_4"]}', encoding="utf-8")
    for name, seed in (("first", 0), ("second", 1)):
        words = ["--name", name, f"seed={seed}", f"data.split={split}", "epochs=1"]
        assert main(["fit", str(a_recipe), "--data", str(a_data_set), *words]) == 0
        assert main(["evaluate", name, "--device", "cpu"]) == 0
    run = find_run("first")
    rows = (run.path / "scores-dense.csv").read_text(encoding="utf-8").splitlines()
    # Two validation cases, each whole, anterior and posterior.
    assert len(rows) == 1 + 2 * 3
    assert (run.path / "evaluation-dense.png").stat().st_size > 0
    assert main(["evaluate", "first", "--device", "cpu", "--protocol", "sampled"]) == 0
    assert (run.path / "scores-sampled.csv").is_file()
    capsys.readouterr()
    assert main(["compare", "first", "second", "--output", str(tmp_path / "out")]) == 0
    table = capsys.readouterr().out
    assert all(name in table for name in ("| first | whole | 2 |", "| second | posterior | 2 |", "HD95 (mm)"))
    assert (tmp_path / "out" / "comparison.png").stat().st_size > 0
    assert main(["compare", "first", "nobody"]) == 2
    # Nor are scores of weights that were bettered since, and cases of equal names that are others.
    written_at = run.best.stat().st_mtime
    os.utime(run.best, (2e9, 2e9))
    assert main(["compare", "first", "second"]) == 2
    assert "scores of the run first are older than its best weights" in capsys.readouterr().err
    os.utime(run.best, (written_at, written_at))
    environment = find_run("second").environment
    facts = environment.read_text(encoding="utf-8")
    environment.write_text(facts.replace(str(a_data_set), str(tmp_path / "other")), encoding="utf-8")
    assert main(["compare", "first", "second"]) == 2
    assert f"second on cases of {tmp_path / 'other'}" in capsys.readouterr().err
    environment.write_text(facts, encoding="utf-8")
    # What is not judged on the same cases is not put side by side.
    scores = find_run("second").path / "scores-dense.csv"
    text = scores.read_text(encoding="utf-8")
    scores.write_text("".join(line for line in text.splitlines(True) if "case_4" not in line), encoding="utf-8")
    capsys.readouterr()
    assert main(["compare", "first", "second"]) == 2
    assert "different cases (only first on case_4)" in capsys.readouterr().err


def _copy_of(data: Path, target: Path, *, without: str = "") -> Path:
    """The same cases elsewhere, as the Decathlon lists them."""
    cases = [case for case in find_cases(data) if case.name != without]
    listed = [{"image": str(case.images[0]), "label": str(case.label)} for case in cases]
    target.mkdir()
    (target / "dataset.json").write_text(json.dumps({"training": listed}), encoding="utf-8")
    return target


def test_only_scores_of_all_of_a_runs_own_cases_stay_with_it(
    a_recipe: Path, a_data_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--data", str(a_data_set), "--name", "tiny", "data.layout=pairs", "epochs=1"]
    assert main(["fit", str(a_recipe), *words]) == 0
    run = find_run("tiny")
    assert main(["evaluate", "tiny", "--device", "cpu", "--data", f"{a_data_set}/../data"]) == 0
    kept = (run.path / "scores-dense.csv").read_bytes()
    split = tmp_path / "split.json"
    split.write_text('{"validation": ["case_0"]}', encoding="utf-8")
    elsewhere = _copy_of(a_data_set, tmp_path / "elsewhere")
    labels = ["--label-map", "[[1, 2], [2, 1]]"]
    others_of_each = (["--cases", "1"], ["--split", str(split)], ["--data", str(elsewhere)], labels)
    for number, others in enumerate(others_of_each):
        folder = tmp_path / f"present_{number}"
        folder.mkdir()
        monkeypatch.chdir(folder)
        assert main(["evaluate", "tiny", "--device", "cpu", *others]) == 0
        assert (folder / "scores-dense.csv").is_file()
        assert (run.path / "scores-dense.csv").read_bytes() == kept


def test_a_case_that_the_data_lack_is_named(a_recipe: Path, a_data_set: Path, tmp_path: Path, capsys) -> None:
    assert main(["fit", str(a_recipe), "--data", str(a_data_set), "--name", "tiny", "epochs=1"]) == 0
    lost = read_split(str(find_run("tiny").split)).validation[1]
    elsewhere = _copy_of(a_data_set, tmp_path / "elsewhere", without=lost)
    assert main(["evaluate", "tiny", "--device", "cpu", "--data", str(elsewhere)]) == 2
    assert f"lacks 1 of the 2 cases to judge ({lost})" in capsys.readouterr().err
    weights = str(find_run("tiny").best)
    words = ["--device", "cpu", "--data", str(elsewhere), "--output", str(tmp_path / "out")]
    assert main(["evaluate", weights, *words]) == 0
    assert (tmp_path / "out" / "scores-dense.csv").read_text(encoding="utf-8").count("whole") == 5


def test_classes_of_a_recipes_own_are_trained_judged_and_named(
    a_recipe: Path, a_data_set: Path, a_case_writer: Callable[..., None], capsys
) -> None:
    classes = 'geometry.classes=[{ name = "head", label = 1 }, { name = "tail", label = 2 }]'
    named = ["geometry.name=parts", classes, 'geometry.modalities=["t2"]']
    words = ["--data", str(a_data_set), "--name", "own", "epochs=1", *named]
    assert main(["fit", str(a_recipe), *words]) == 0
    assert main(["evaluate", "own", "--device", "cpu"]) == 0
    assert "| own | tail | 2 |" in capsys.readouterr().out
    # A run of a time when no name was asked for is judged as ever.
    config = find_run("own").config
    config.write_text(config.read_text(encoding="utf-8").replace('name = "parts"\n', ""), encoding="utf-8")
    assert "name" not in find_run("own").recipe().geometry
    assert main(["evaluate", "own", "--device", "cpu"]) == 0
    label = np.zeros((16, 17, 16), dtype=np.uint8)
    label[3:5, 3:5, 3:5] = 7
    a_case_writer(a_data_set, "case_x", 9, label=label)
    words = [str(find_run("own").best), "--data", str(a_data_set), "--device", "cpu", "--output", str(a_data_set)]
    assert main(["evaluate", *words]) == 2
    told = capsys.readouterr().err
    assert "Case case_x: labels must be among" in told
    assert "--label-map" in told
    assert main(["evaluate", *words, "--label-map", "[[1, 1], [2, 2], [7, 3]]"]) == 2
    assert "--label-map: the label 7 is mapped to the class 3" in capsys.readouterr().err
    assert main(["evaluate", *words, "--label-map", "[[1, 1], [2, 2], [7, 0]]"]) == 0
    assert "| tail | 7 |" in capsys.readouterr().out


def test_dense_scores_are_in_native_voxels_whatever_the_orientation(a_recipe: Path, a_data_set: Path) -> None:
    assert main(["fit", str(a_recipe), "--data", str(a_data_set), "--name", "tiny", "epochs=1"]) == 0
    from napari_ossnet.engine.checkpoints import load_checkpoint

    loaded = load_checkpoint(find_run("tiny").best)
    cases = find_cases(a_data_set)[:1]
    (before,) = evaluate_cases(loaded.network, loaded.card.task, cases, device=torch.device("cpu"))
    for folder in ("images", "labels"):
        path = a_data_set / folder / f"{cases[0].name}.nii.gz"
        image = nib.load(path)
        turned = nib.as_closest_canonical(image).as_reoriented(np.array([[2, -1], [0, 1], [1, -1]]))
        nib.save(nib.Nifti1Image(np.asarray(turned.dataobj), turned.affine), path)
    (after,) = evaluate_cases(loaded.network, loaded.card.task, cases, device=torch.device("cpu"))
    for first, second in zip(before, after, strict=True):
        assert second.dice == pytest.approx(first.dice, abs=1e-6)
        assert second.true_ml == pytest.approx(first.true_ml)


def test_a_table_has_a_row_a_region() -> None:
    scores = [
        Score(case=c, region=r, dice=d, iou=d, hd95_mm=1.0, volume_error=0.1, true_ml=1.0, elapsed_s=2.0)
        for c, r, d in (("a", "whole", 0.5), ("b", "whole", 0.7), ("a", "core", 1.0))
    ]
    table = markdown_table({"mine": scores})
    assert "| mine | whole | 2 | 0.6 ± 1.3 |" in table
    assert "| mine | core | 1 | 1 |" in table


def test_export_writes_weights_with_their_card_and_published_layouts_only_where_there_are_any(
    a_recipe: Path, a_data_set: Path, tmp_path: Path, capsys
) -> None:
    from napari_ossnet.engine.checkpoints import load_checkpoint

    assert main(["fit", str(a_recipe), "--data", str(a_data_set), "--name", "tiny", "epochs=1"]) == 0
    target = tmp_path / "mine.safetensors"
    assert main(["export", "tiny", str(target), "--half", "--notes", "of a test"]) == 0
    loaded = load_checkpoint(target)
    assert (loaded.card.name, loaded.card.task.name) == ("mine", get_task("hippocampus").name)
    assert "of a test" in loaded.card.notes
    assert "mine" in target.with_suffix(".md").read_text(encoding="utf-8")
    assert target.stat().st_size < find_run("tiny").best.stat().st_size
    assert main(["export", "tiny", str(tmp_path / "mine.pt")]) == 2
    assert "published layout" in capsys.readouterr().err
    assert not (tmp_path / "mine.pt").exists()


def test_a_published_layout_is_exported_as_the_published_code_reads_it(tmp_path: Path) -> None:
    from napari_ossnet.engine.checkpoints import load_checkpoint, save_weights
    from napari_ossnet.engine.model_card import ModelCard
    from napari_ossnet.engine.networks.variants import build_network, config_for_task

    task = get_task("brats")
    network = build_network("c", task)
    card = ModelCard(name="c", title="C", task=task, variant="c", network_config=config_for_task("c", task))
    save_weights(tmp_path / "c.safetensors", network, card)
    assert main(["export", str(tmp_path / "c.safetensors"), str(tmp_path / "c.pt")]) == 0
    state = torch.load(tmp_path / "c.pt", weights_only=True)
    assert sum(tensor.numel() for name, tensor in state.items() if "running" not in name) >= 8_695_733
    again = load_checkpoint(tmp_path / "c.pt")
    assert (again.card.variant, again.card.task.name) == ("c", "brats")
    for name, tensor in network.state_dict().items():
        assert torch.equal(again.network.state_dict()[name], tensor)
