"""Whole runs on a tiny data set: what they leave behind, and that being killed costs nothing."""

from __future__ import annotations

import csv
import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import lightning.pytorch as lightning
import pytest
import torch
from ossnet_training import callbacks, module
from ossnet_training.checkpointing import TimedCheckpoint, newest_readable, saved_checkpoints
from ossnet_training.cli import main
from ossnet_training.costs import read_costs
from ossnet_training.module import TrainingModule
from ossnet_training.recipe_files import load_recipe
from ossnet_training.run_folder import find_run
from ossnet_training.sampling import Draw

from napari_ossnet.engine.checkpoints import load_checkpoint

#: Four training cases in batches of two for three epochs.
ALL_STEPS = 6
A_U_NET = "encoder_channels = [8, 16]\ndecoder_channels = [8]\n"


def _fit(a_recipe: Path, a_data_set: Path, *words: str) -> int:
    return main(["fit", str(a_recipe), "--data", str(a_data_set), "--name", "tiny", *words])


def _last_step(name: str = "tiny") -> int:
    newest = newest_readable(find_run(name).checkpoints)
    assert newest is not None
    return int(torch.load(newest, weights_only=False)["global_step"])


def test_a_run_leaves_a_folder_that_explains_itself(a_recipe: Path, a_data_set: Path) -> None:
    assert _fit(a_recipe, a_data_set) == 0
    run = find_run("tiny")
    assert run.recipe() == load_recipe(str(a_recipe), [f"data.path={a_data_set}"])
    for path in (run.split, run.path / "environment.json", run.metrics, run.curves, run.best, run.last):
        assert path.stat().st_size > 0, path
    with run.metrics.open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["step"]) == ALL_STEPS - 1
    assert sum(bool(row.get("dice_anterior")) for row in rows) == 3
    loaded = load_checkpoint(run.best)
    assert loaded.card.variant == "x"
    assert loaded.card.task.grid_shape == (16, 16, 16)
    assert loaded.card.dice is not None
    assert loaded.card.training_data == "4 cases of the user's own data (data)"
    assert _last_step() == ALL_STEPS


def test_a_name_that_is_taken_is_refused_and_kept(a_recipe: Path, a_data_set: Path, capsys) -> None:
    assert _fit(a_recipe, a_data_set) == 0
    before = find_run("tiny").best.read_bytes()
    assert _fit(a_recipe, a_data_set) == 2
    assert "--resume auto" in capsys.readouterr().err
    assert find_run("tiny").best.read_bytes() == before


def _give_network(recipe: Path, settings: str) -> None:
    start, rest = recipe.read_text(encoding="utf-8").split("[network]")
    recipe.write_text(f"{start}[network]\n{settings}\n[data]{rest.split('[data]')[1]}", encoding="utf-8")


def test_a_u_net_that_trains_by_boxes_is_to_answer_in_tiles_of_their_size(a_recipe: Path, a_data_set: Path) -> None:
    _give_network(a_recipe, A_U_NET)
    assert _fit(a_recipe, a_data_set, "variant=unet-3d", "boxes=2", "box_voxels=8", "epochs=1") == 0
    assert load_checkpoint(find_run("tiny").best).card.network_config["tile_edge"] == 8


@pytest.mark.parametrize("variant", ["c", "unet-3d", "unet-2d", "pfseg"])
def test_other_variants_train_by_the_same_command(a_recipe: Path, a_data_set: Path, variant: str) -> None:
    network = {
        "c": "encoder_channels = [4, 8]\ndecoder_features = 16\ndecoder_blocks = 2\n",
        "unet-3d": A_U_NET,
        "unet-2d": A_U_NET,
        "pfseg": "output_shape = [64, 32, 32]\n",
    }[variant]
    _give_network(a_recipe, network)
    strategy = "all" if variant == "unet-3d" else "border"
    assert _fit(a_recipe, a_data_set, f"variant={variant}", f"strategy={strategy}", "epochs=1") == 0
    assert load_checkpoint(find_run("tiny").best).card.variant == variant


def test_adaptive_sampling_in_boxes_and_by_minutes_trains_too(a_recipe: Path, a_data_set: Path) -> None:
    words = ["strategy=adaptive", "protocol=dense", "schedule=cosine", "dice=0.5"]
    assert _fit(a_recipe, a_data_set, "--minutes", "0.02", *words) == 0
    assert find_run("tiny").best.is_file()
    boxes = ["boxes=4", "box_voxels=8", "epochs=1"]
    assert main(["fit", str(a_recipe), "--data", str(a_data_set), "--name", "boxes", *boxes]) == 0


def _take_minutes(monkeypatch: pytest.MonkeyPatch, *, step: float, validation: float) -> None:
    """Let every step and every validated case take so many minutes by the clock."""
    now_s = [0.0]
    monkeypatch.setattr(callbacks, "time", SimpleNamespace(monotonic=lambda: now_s[0]))

    def take(minutes: float, kind: type, method: str) -> None:
        done = getattr(kind, method)

        def do(*given: object) -> None:
            now_s[0] += 60 * minutes
            done(*given)

        monkeypatch.setattr(kind, method, do)

    take(step, callbacks.WeightAverage, "on_train_batch_end")
    take(validation, TrainingModule, "validation_step")


def test_minutes_are_of_training_alone_over_all_resumptions(
    a_recipe: Path, a_data_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _take_minutes(monkeypatch, step=1, validation=10)
    assert _fit(a_recipe, a_data_set, "--minutes", "3.5") == 0
    costs = read_costs(find_run("tiny"))
    # The clock is asked before the step's minute is over, and every second step is followed by a validation.
    assert (costs.steps, costs.elapsed_s) == (5, 300)
    assert _fit(a_recipe, a_data_set, "--minutes", "5.5", "--resume", "auto") == 0
    costs = read_costs(find_run("tiny"))
    assert (costs.steps, costs.elapsed_s) == (7, 420)


def _validations() -> list[float]:
    return [row["step"] for row in find_run("tiny").rows() if "dice_whole" in row]


def test_validation_by_minutes_goes_on_after_a_resumption(a_recipe: Path, a_data_set: Path) -> None:
    words = ["every_minutes=1e-9", "checkpoint_seconds=1000"]
    assert _fit(a_recipe, a_data_set, *words, "epochs=1") == 0
    assert len(_validations()) == 2
    assert _fit(a_recipe, a_data_set, *words, "--resume", "auto") == 0
    assert len(_validations()) == ALL_STEPS


def test_minutes_since_the_last_validation_are_counted_over_resumptions(
    a_recipe: Path, a_data_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A minute a step, the first at 0: resumed after two, a run that validates every five does so at its sixth.
    _take_minutes(monkeypatch, step=1, validation=0)
    validated = []
    monkeypatch.setattr(
        callbacks.KeepWeights, "on_validation_end", lambda _, trainer, module: validated.append(trainer.global_step)
    )
    assert _fit(a_recipe, a_data_set, "every_minutes=5", "epochs=1") == 0
    assert validated == [2]  # at the end, which a run always judges
    validated.clear()
    assert _fit(a_recipe, a_data_set, "every_minutes=5", "--resume", "auto", "epochs=7") == 0
    assert validated == [6, 12, 14]


def test_a_plateau_is_counted_over_resumptions(a_recipe: Path, a_data_set: Path) -> None:
    # Weights that never move are best after the first epoch; the third is more than one later, and so is the fifth.
    words = ["schedule=plateau", "patience=1", "learning_rate=0", "pade_learning_rate=0"]
    assert _fit(a_recipe, a_data_set, *words, "epochs=2") == 0
    assert _fit(a_recipe, a_data_set, *words, "epochs=5", "--resume", "auto") == 0
    newest = newest_readable(find_run("tiny").checkpoints)
    assert torch.load(newest, weights_only=False)["callbacks"]["Clock"]["plateau"]["drops"] == 2


def _start(a_recipe: Path, a_data_set: Path, a_home: Path, *words: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "ossnet_training.cli", "fit", str(a_recipe), "--data", str(a_data_set)]
    environment = os.environ | {"OSSNET_HOME": str(a_home), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([*command, "--name", "tiny", "--resume", "auto", *words], env=environment)


@pytest.mark.slow
def test_resume_after_sigkill_ends_with_the_same_number_of_steps(
    a_recipe: Path, a_data_set: Path, a_home: Path
) -> None:
    # Enough locations for a step to take a while, so that the kill comes in the middle.
    process = _start(a_recipe, a_data_set, a_home, "epochs=10", "sampling.locations=20000")
    folder = a_home / "runs" / "tiny" / "checkpoints"
    deadline = time.monotonic() + 240
    while not saved_checkpoints(folder) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 0 < _last_step() < 20
    assert _start(a_recipe, a_data_set, a_home, "epochs=10", "sampling.locations=20000").wait() == 0
    assert _last_step() == 20
    steps = [row["step"] for row in find_run("tiny").rows()]
    assert steps == sorted(set(steps))


class KilledError(Exception):
    """What ends a run without a word."""


def _kill_at(monkeypatch: pytest.MonkeyPatch, step: int, *, has_checkpoint: bool) -> None:
    """Let runs end after this step, with a checkpoint of it or without any."""

    def on_train_batch_end(self: TimedCheckpoint, trainer: lightning.Trainer, *_: object) -> None:
        if trainer.global_step == step:
            if has_checkpoint:
                self.save(trainer)
            raise KilledError

    monkeypatch.setattr(TimedCheckpoint, "on_train_batch_end", on_train_batch_end)


def test_resume_goes_on_in_the_middle_of_an_epoch_as_if_never_stopped(
    a_recipe: Path, a_data_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _fit(a_recipe, a_data_set) == 0
    whole = load_checkpoint(find_run("tiny").last).network.state_dict()
    words = ["fit", str(a_recipe), "--data", str(a_data_set), "--name", "parts"]
    with monkeypatch.context() as patch:
        # An epoch has two steps.
        _kill_at(patch, 3, has_checkpoint=True)
        with pytest.raises(KilledError):
            main(words)
    assert _last_step("parts") == 3
    assert main([*words, "--resume", "auto"]) == 0
    assert _last_step("parts") == ALL_STEPS
    parts = load_checkpoint(find_run("parts").last).network.state_dict()
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, rtol=0, atol=1e-6, msg=name)


def test_resume_passes_over_a_corrupt_newest_checkpoint(a_recipe: Path, a_data_set: Path, caplog) -> None:
    # Two runs leave a checkpoint each at their ends, however fast the machine is.
    assert _fit(a_recipe, a_data_set, "epochs=2") == 0
    assert _fit(a_recipe, a_data_set, "--resume", "auto") == 0
    newest, before = saved_checkpoints(find_run("tiny").checkpoints)[:2]
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    assert newest_readable(newest.parent) == before
    assert newest.name in caplog.text
    assert _fit(a_recipe, a_data_set, "--resume", "auto") == 0
    assert _last_step() == ALL_STEPS


def test_resume_with_another_network_or_optimiser_is_refused_with_what_differs(
    a_recipe: Path, a_data_set: Path, capsys
) -> None:
    assert _fit(a_recipe, a_data_set, "epochs=1") == 0
    before = find_run("tiny").config.read_bytes()
    words = ["network.decoder_width=12", "optimiser.name=adamw", "lookahead_steps=0", "average_decay=0"]
    assert _fit(a_recipe, a_data_set, "--resume", "auto", *words) == 2
    told = capsys.readouterr().err
    assert all(part in told for part in ("'decoder_width': 12", "optimiser.name was 'radam'", "Lookahead", "averaged"))
    assert find_run("tiny").config.read_bytes() == before


def test_a_rate_and_a_number_of_locations_may_change_on_the_way(
    a_recipe: Path, a_data_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _fit(a_recipe, a_data_set, "epochs=1") == 0
    rates, counts = set(), set()
    set_rates, draw = callbacks.set_rates, module.draw_locations

    def note_rates(optimiser: torch.optim.Optimizer, factor: float) -> None:
        set_rates(optimiser, factor)
        rates.update(group["lr"] for group in optimiser.param_groups)

    def note_count(*given: object) -> Draw:
        counts.add(given[-1])
        return draw(*given)

    monkeypatch.setattr(callbacks, "set_rates", note_rates)
    monkeypatch.setattr(module, "draw_locations", note_count)
    words = ["learning_rate=1e-4", "sampling.locations=48", "geometry.name=mine", "epochs=2"]
    assert _fit(a_recipe, a_data_set, "--resume", "auto", *words) == 0
    assert (rates, counts) == ({1e-4}, {48})


def test_a_run_without_a_readable_checkpoint_begins_anew_and_keeps_its_cases(
    a_recipe: Path, a_data_set: Path, a_case_writer: Callable[..., None], monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    with monkeypatch.context() as patch:
        _kill_at(patch, 3, has_checkpoint=False)
        with pytest.raises(KilledError):
            _fit(a_recipe, a_data_set)
    run = find_run("tiny")
    best, split = run.best.read_bytes(), run.split.read_text(encoding="utf-8")
    run.checkpoints.mkdir()
    (run.checkpoints / "step_00000099.ckpt").write_bytes(b"the beginning of a checkpoint")
    assert _fit(a_recipe, a_data_set, "--resume", "auto", "seed=3") == 2
    assert run.best.read_bytes() == best
    a_case_writer(a_data_set, "added", 9)
    assert _fit(a_recipe, a_data_set, "--resume", "auto", "epochs=1") == 0
    assert run.split.read_text(encoding="utf-8") == split
    # Two steps, although the weights from before have had their validation after two steps too.
    assert [path.name for path in saved_checkpoints(run.checkpoints)] == ["step_00000002.ckpt"]
    aside = run.path / "earlier_1"
    assert (aside / "best.safetensors").read_bytes() == best
    assert {path.name for path in aside.iterdir()} >= {"last.safetensors", "costs.json", "metrics.csv", "checkpoints"}
    assert "begins anew" in caplog.text
    assert run.best.stat().st_mtime > (aside / "best.safetensors").stat().st_mtime
    assert len(json.loads(run.environment.read_text(encoding="utf-8"))["earlier"]) == 1


def test_resume_with_what_would_move_cases_epochs_or_labels_is_refused(
    a_recipe: Path, a_data_set: Path, capsys
) -> None:
    assert _fit(a_recipe, a_data_set, "epochs=1") == 0
    split = find_run("tiny").split.read_text(encoding="utf-8")
    for word in (
        "seed=3",
        "batch_size=4",
        "data.split=mine.json",
        "data.validation_fraction=0.5",
        "data.label_map=[[1, 0]]",
    ):
        assert _fit(a_recipe, a_data_set, "--resume", "auto", word) == 2
        assert word.split("=")[0] in capsys.readouterr().err
    assert find_run("tiny").split.read_text(encoding="utf-8") == split


def test_a_run_that_goes_on_keeps_its_split_whatever_was_added_to_the_data(
    a_recipe: Path, a_data_set: Path, a_case_writer: Callable[..., None], capsys
) -> None:
    assert _fit(a_recipe, a_data_set, "epochs=1") == 0
    split = find_run("tiny").split.read_text(encoding="utf-8")
    for number in range(6):
        a_case_writer(a_data_set, f"added_{number}", number)
    assert _fit(a_recipe, a_data_set, "--resume", "auto") == 0
    assert find_run("tiny").split.read_text(encoding="utf-8") == split
    assert _last_step() == ALL_STEPS
    (a_data_set / "labels" / "case_3.nii.gz").unlink()
    assert _fit(a_recipe, a_data_set, "--resume", "auto", "epochs=4") == 2
    assert "case_3" in capsys.readouterr().err


def test_init_from_starts_from_weights_and_refuses_those_of_another_geometry(
    a_recipe: Path, a_data_set: Path, capsys
) -> None:
    assert _fit(a_recipe, a_data_set) == 0
    best = find_run("tiny").best
    words = ["--init-from", str(best), "--name", "second", "epochs=1", "learning_rate=0", "pade_learning_rate=0"]
    assert main(["fit", str(a_recipe), "--data", str(a_data_set), *words]) == 0
    run = find_run("second")
    first, second = (load_checkpoint(p).network.state_dict() for p in (best, run.last))
    assert all(torch.equal(first[name], second[name]) for name in first)
    # They stay known when the run goes on, and are not changed for others, which would have no effect.
    again = ["fit", str(a_recipe), "--data", str(a_data_set), "--name", "second", "--resume", "auto", "epochs=2"]
    assert main([*again, "--init-from", str(run.last)]) == 2
    assert f"--init-from was '{best}'" in capsys.readouterr().err
    moved = best.rename(best.with_name("moved.safetensors"))
    assert main(again) == 0
    moved.rename(best)
    facts = json.loads(run.environment.read_text(encoding="utf-8"))
    assert (facts["init_from"], [start["init_from"] for start in facts["earlier"]]) == (str(best), [str(best)])
    assert load_checkpoint(run.last).card.notes.endswith("started from the weights tiny/best.safetensors")
    words = ["--init-from", str(best), "--name", "third", "network.decoder_width=12"]
    assert main(["fit", str(a_recipe), "--data", str(a_data_set), *words]) == 2
    assert "don't fit" in capsys.readouterr().err


def test_a_loss_that_is_no_number_names_the_cases_and_keeps_the_last_good_checkpoint(
    a_recipe: Path, a_data_set: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss = module.occupancy_loss
    calls = []

    def spoilt(logits: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return loss(logits, classes) * (float("nan") if len(calls) > 4 else 1.0)

    monkeypatch.setattr(module, "occupancy_loss", spoilt)
    assert _fit(a_recipe, a_data_set, "checkpoint_seconds=1") == 1
    assert "case_" in capsys.readouterr().err
    weights = load_checkpoint(find_run("tiny").last).network.state_dict()
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())


def test_too_little_memory_halves_the_locations_and_goes_on(
    a_recipe: Path, a_data_set: Path, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    passes = module.training_logits
    counts = []

    def frugal(network, grids, draws, windows, box_voxels):
        counts.append(len(draws[0].indices))
        if counts[-1] > 64:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return passes(network, grids, draws, windows, box_voxels)

    monkeypatch.setattr(module, "training_logits", frugal)
    assert _fit(a_recipe, a_data_set, "sampling.locations=256") == 0
    assert counts[:3] == [256, 128, 64]
    assert "64 locations" in caplog.text
    assert find_run("tiny").best.is_file()


@pytest.mark.parametrize("variant", ["unet-3d", "unet-2d"])
def test_too_little_memory_for_a_network_that_sees_everything_is_one_sentence(
    a_recipe: Path, a_data_set: Path, monkeypatch: pytest.MonkeyPatch, capsys, variant: str
) -> None:
    _give_network(a_recipe, A_U_NET)
    calls = []

    def greedy(*_: object) -> None:
        calls.append(1)
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(module, "training_logits", greedy)
    assert _fit(a_recipe, a_data_set, f"variant={variant}", "strategy=all") == 1
    assert "smaller batch_size or network" in capsys.readouterr().err
    assert len(calls) == 1


def test_a_full_disk_is_one_sentence_and_leaves_the_checkpoint_before(
    a_recipe: Path, a_data_set: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _fit(a_recipe, a_data_set, "epochs=1") == 0

    def full(self: lightning.Trainer, path: Path, *_: object) -> None:
        path.write_bytes(b"the beginning of a checkpoint")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(lightning.Trainer, "save_checkpoint", full)
    assert _fit(a_recipe, a_data_set, "--resume", "auto") == 1
    assert "No space left" in capsys.readouterr().err
    assert _last_step() == ALL_STEPS // 3
