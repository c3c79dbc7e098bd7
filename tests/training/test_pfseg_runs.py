"""PFSeg from training to a mask by the same commands as any other variant."""

from __future__ import annotations

import csv
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from ossnet_training.cli import main
from ossnet_training.run_folder import find_run

from napari_ossnet.cli import main as ossnet
from napari_ossnet.engine.checkpoints import load_checkpoint, save_weights
from napari_ossnet.engine.model_card import ModelCard
from napari_ossnet.engine.networks.variants import build_network_from_config, config_for_task
from napari_ossnet.engine.tasks import get_task

SETTINGS = ["variant=pfseg", "network.output_shape=[64, 32, 32]", "optimiser.name=adam", "schedule=plateau", "dice=1.0"]


@pytest.fixture
def a_pfseg_recipe(a_recipe: Path) -> Path:
    text = a_recipe.read_text(encoding="utf-8")
    start, rest = text.split("[network]")
    a_recipe.write_text(start + "[data]" + rest.split("[data]")[1], encoding="utf-8")
    return a_recipe


def test_a_pfseg_is_trained_judged_exported_and_segments(
    a_pfseg_recipe: Path, a_data_set: Path, tmp_path: Path
) -> None:
    words = ["--data", str(a_data_set), "--name", "pf", *SETTINGS, "network.guidance=object", "epochs=1"]
    assert main(["fit", str(a_pfseg_recipe), *words]) == 0
    run = find_run("pf")
    assert main(["evaluate", "pf", "--device", "cpu"]) == 0
    with (run.path / "scores-dense.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 3
    assert all(float(row["hd95_mm"]) >= 0 for row in rows)

    weights, mask = tmp_path / "pf.safetensors", tmp_path / "mask.nii.gz"
    assert main(["export", "pf", str(weights), "--half"]) == 0
    card = load_checkpoint(weights).card
    assert (card.variant, card.network_config["guidance"]) == ("pfseg", "object")
    image = a_data_set / "images" / "case_0.nii.gz"
    command = ["segment", str(image), "-o", str(mask), "--weights", str(weights), "--device", "cpu"]
    assert ossnet([*command, "--progress", "none"]) == 0
    found = nib.load(mask)
    assert found.shape == nib.load(image).shape
    assert np.allclose(found.affine, nib.load(image).affine)


def test_only_the_published_geometry_is_exported_in_the_published_layout(tmp_path: Path, capsys) -> None:
    task = get_task("brats")
    for name, change, code in (("small", {"output_shape": (64, 96, 96)}, 2), ("as-published", {}, 0)):
        config = config_for_task("pfseg", task) | change
        card = ModelCard(name=name, title="PFSeg", task=task, variant="pfseg", network_config=config)
        save_weights(tmp_path / f"{name}.safetensors", build_network_from_config("pfseg", config), card)
        target = tmp_path / f"{name}.pt"
        assert main(["export", str(tmp_path / f"{name}.safetensors"), str(target)]) == code
        assert target.exists() == (code == 0)
    assert "published layout" in capsys.readouterr().err
    assert load_checkpoint(tmp_path / "as-published.pt").card.variant == "pfseg"
    assert main(["export", str(tmp_path / "as-published.pt"), str(tmp_path / "again.pt")]) == 0
