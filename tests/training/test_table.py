"""A table at equal cost: trained and judged once, in one command that goes on where it was."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from ossnet_training.cli import main, settings_last
from ossnet_training.costs import read_costs
from ossnet_training.run_folder import RunFolder, find_run
from ossnet_training.table import TableSettings, make_table, plan_table

from napari_ossnet.engine.errors import InputError

NETWORKS = """
[variants.unet-2d.network]
encoder_channels = [8, 16]
decoder_channels = [8]

[variants.unet-3d]
sampling = { strategy = "all" }
network = { encoder_channels = [8, 16], decoder_channels = [8] }
"""


@pytest.fixture
def a_table(a_recipe: Path, a_data_set: Path, tmp_path: Path) -> TableSettings:
    text = a_recipe.read_text(encoding="utf-8").replace("[network]", "[variants.x.network]")
    a_recipe.write_text(text + NETWORKS, encoding="utf-8")
    return TableSettings(
        recipe=str(a_recipe), data=str(a_data_set), variants=("x", "unet-2d"), minutes=0.001, output=tmp_path / "out"
    )


class Commands:
    """Runs command lines in this process and remembers which."""

    def __init__(self, failing: str = "") -> None:
        self.done: list[tuple[str, str]] = []
        self.failing = failing

    def __call__(self, words: Sequence[str]) -> int:
        name = words[words.index("--name") + 1] if "--name" in words else words[1]
        self.done.append((words[0], name))
        return 1 if self.failing and self.failing in name else main(list(words))


def test_a_table_trains_judges_and_shows_each_variant_and_does_nothing_twice(a_table: TableSettings) -> None:
    commands = Commands()
    lines = list(make_table(a_table, commands))
    names = [entry.run.name for entry in plan_table(a_table)]
    assert names == ["tiny-x-seed0-0.001min"] + [f"tiny-unet-2d-axis{axis}-seed0-0.001min" for axis in range(3)]
    assert commands.done == [(word, name) for name in names for word in ("fit", "evaluate")]
    assert f"{names[0]}: training" in lines
    text = (a_table.output / "table.md").read_text(encoding="utf-8")
    assert [row.split("|")[2].strip() for row in text.splitlines()[2:]] == ["whole", "anterior", "posterior"] * 2
    assert "unet-2d (best of 3: slice_axis=" in text
    costs = read_costs(find_run(names[0]))
    assert f"| {costs.parameters:,} | {costs.peak_bytes / 1e9:.2f} |" in text
    assert costs.peak_bytes > 1e8
    assert (a_table.output / "table.png").stat().st_size > 0

    again = Commands()
    assert f"{names[0]}: trained already" in list(make_table(a_table, again))
    assert again.done == []
    (find_run(names[1]).path / "scores-dense.csv").unlink()
    list(make_table(a_table, again))
    assert again.done == [("evaluate", names[1])]
    # Weights that are newer than their scores are judged anew.
    os.utime(find_run(names[2]).best, (2e9, 2e9))
    list(make_table(a_table, again))
    assert again.done[1:] == [("evaluate", names[2])]
    # Runs that were judged on different cases are not put side by side.
    scores = find_run(names[0]).path / "scores-dense.csv"
    rows = scores.read_text(encoding="utf-8").splitlines(keepends=True)
    lost = rows[1].split(",")[0]
    scores.write_text("".join(row for row in rows if not row.startswith(f"{lost},")), encoding="utf-8")
    with pytest.raises(InputError, match=f"different cases .only unet-2d on {lost}"):
        list(make_table(a_table, again))


def test_a_variant_that_fails_does_not_stop_the_others(a_table: TableSettings) -> None:
    a_table = dataclasses.replace(a_table, variants=("unet-3d", "x"))
    commands = Commands(failing="unet-3d")
    with pytest.raises(InputError, match="1 of 2 runs failed: tiny-unet-3d"):
        list(make_table(a_table, commands))
    text = (a_table.output / "table.md").read_text(encoding="utf-8")
    assert "| unet-3d | not yet |" in text
    assert "| x | whole | 2 |" in text


def test_what_a_table_can_not_do_is_said_before_anything_starts(a_table: TableSettings) -> None:
    commands = Commands()
    for wrong, what in (
        ({"variants": ("x", "y")}, "variant y"),
        ({"variants": ()}, "--variants"),
        ({"minutes": 0.0}, "--minutes"),
        ({"settings": ("epochs=0",)}, "epochs"),
    ):
        with pytest.raises(InputError, match=what):
            list(make_table(dataclasses.replace(a_table, **wrong), commands))
    assert commands.done == []
    a_table = dataclasses.replace(a_table, variants=("x",))
    list(make_table(a_table, commands))
    with pytest.raises(InputError, match="made with other settings"):
        list(make_table(dataclasses.replace(a_table, settings=("learning_rate=0.5",)), commands))
    with pytest.raises(InputError, match="made from other data"):
        list(make_table(dataclasses.replace(a_table, data=f"{a_table.data}-of-another-clinic"), commands))
    list(make_table(dataclasses.replace(a_table, data=f"{a_table.data}/../data", settings=("licence=CC0",)), commands))
    assert [word for word, _ in commands.done] == ["fit", "evaluate"]


def test_a_run_that_was_killed_before_its_minutes_is_trained_on(a_table: TableSettings) -> None:
    a_table = dataclasses.replace(a_table, variants=("x",))
    run: RunFolder = plan_table(a_table)[0].run
    assert main(["fit", a_table.recipe, "--data", a_table.data, "--name", run.name, "--minutes", "1e-9"]) == 0
    before = read_costs(run)
    text = run.costs.read_text(encoding="utf-8").replace(f"{before.elapsed_s}", "0.0001")
    run.costs.write_text(text, encoding="utf-8")
    commands = Commands()
    list(make_table(a_table, commands))
    assert [word for word, _ in commands.done] == ["fit", "evaluate"]
    assert read_costs(run).steps > before.steps


@pytest.mark.slow
def test_the_command_trains_in_processes_of_its_own(a_table: TableSettings, capsys) -> None:
    words = ["table", a_table.recipe, "--data", a_table.data, "--variants", "x", "seed=0", "--minutes", "0.001"]
    assert main([*words, "--output", str(a_table.output)]) == 0
    assert "| x | whole | 2 |" in capsys.readouterr().out


def test_settings_may_stand_anywhere() -> None:
    words = ["fit", "brats", "variant=x", "--data", "a=b", "--minutes", "2", "epochs=3", "--name=q=1"]
    assert settings_last(words) == [
        "fit",
        "brats",
        "--data",
        "a=b",
        "--minutes",
        "2",
        "--name=q=1",
        "variant=x",
        "epochs=3",
    ]
    assert settings_last(["export", "run", "a=b.pt", "--half"]) == ["export", "run", "a=b.pt", "--half"]
    assert settings_last([]) == []
