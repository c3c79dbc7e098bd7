"""What the README says is so: its commands parse, its Python runs, its tree exists."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from napari_ossnet.cli import parse
from napari_ossnet.cli.segment import Segment
from napari_ossnet.engine import catalogue
from napari_ossnet.engine.checkpoints import save_weights
from napari_ossnet.engine.model_card import ModelCard
from napari_ossnet.engine.networks.variants import VARIANTS, build_network_from_config, config_for_task
from napari_ossnet.engine.tasks import TASKS

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
COMMANDS = [
    shlex.split(line.partition("-m napari_ossnet.cli ")[2] or line.removeprefix(".venv/bin/").removeprefix("ossnet "))
    for language, block in BLOCKS
    if language == "shell"
    for line in block.splitlines()
    if re.match(r"(\.venv/bin/)?ossnet ", line) or "-m napari_ossnet.cli" in line
]


def test_there_are_commands_to_check() -> None:
    assert len(COMMANDS) >= 10


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_is_one(command: list[str]) -> None:
    arguments = command[1:] if command[0] == "ossnet" else command
    assert hasattr(parse(arguments), "run")


def test_both_lines_are_one_line_each() -> None:
    lines = README.splitlines()
    assert [line for line in lines if line.startswith("python3 ") and line.endswith(".venv/bin/ossnet demo")]
    assert [line for line in lines if line.startswith("python3 ") and line.endswith(".venv/bin/pytest")]


def test_every_option_of_segment_is_in_the_table() -> None:
    table = set(re.findall(r"^\| `(-o|--[a-z-]+)", README, flags=re.MULTILINE))
    options = {f"--{name.replace('_', '-')}" for name in Segment.__dataclass_fields__} - {
        "--images",
        "--output",
        "--batch",
    }
    assert table == options | {"-o"}


def test_every_variant_and_task_is_in_the_tables() -> None:
    rows = set(re.findall(r"^\| `([a-z0-9-]+)` \|", README, flags=re.MULTILINE))
    assert set(VARIANTS) | set(TASKS) <= rows


def test_the_tree_shows_what_is_there() -> None:
    (tree,) = [block for _, block in BLOCKS if block.startswith("napari_ossnet/")]
    folders: list[str] = []
    for line in tree.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        names = re.findall(r"(?:^| {2,})([\w.]+(?:/[\w]+)*(?:/|\.py|\.yaml))(?= {1,})", line.lstrip())
        assert names, line
        folders[depth:] = [names[0]]
        for name in names:
            assert (ROOT / "".join(folders[:depth]) / name).exists(), f"{''.join(folders[:depth])}{name}"


@pytest.fixture
def a_hippocampus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a scan, and weights that come before any that are bundled."""
    task = TASKS["hippocampus"]
    config = config_for_task("c", task) | {"encoder_channels": [2, 2], "decoder_features": 8, "decoder_blocks": 1}
    torch.manual_seed(0)
    network = build_network_from_config("c", config)
    card = ModelCard(name="ours", title="Ours", task=task, variant="c", network_config=config, dice={"whole": 1.0})
    save_weights(catalogue.weights_folder() / "ours.safetensors", network, replace(card))
    scan = np.random.default_rng(0).normal(size=(34, 50, 36)).astype(np.float32)
    nib.save(nib.Nifti1Image(scan, np.eye(4)), tmp_path / "hippocampus.nii.gz")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_python_example_runs(a_hippocampus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (source,) = [block for language, block in BLOCKS if language == "python"]
    names: dict[str, object] = {}
    exec(compile(source, "README.md", "exec"), names)
    assert nib.load(a_hippocampus / "mask.nii.gz").shape == (34, 50, 36)
    assert capsys.readouterr().out.endswith(" mL\n")
    assert names["finer"].labels.shape == (64, 80, 56)
