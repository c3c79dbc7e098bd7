"""Scans of a synthetic pool reach the network as the engine would prepare them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from ossnet_training.config import DataSettings, Recipe
from ossnet_training.planning import gather_cases
from ossnet_training.pool_cases import find_pool_cases, read_pool_case
from ossnet_training.splits import Split
from ossnet_training.synthesis.pool import append_entry, read_manifest

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.tasks import get_task, prepare

TASK = dataclasses.replace(get_task("brats"), grid_shape=(32, 32, 24), scan_shape=(28, 26, 21), latent_grid=(2, 2, 2))


@pytest.fixture
def a_pool(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    lines = []
    for number, (split, head) in enumerate([("train", "a"), ("train", "b"), ("val", "c")]):
        name = f"scan_{number}"
        image = rng.uniform(0.5, 2.0, (4, 18, 17, 15)).astype(np.float16)
        label = np.zeros((18, 17, 15), dtype=np.uint8)
        label[4:9, 5:9, 3:8] = 2
        np.save(tmp_path / f"{name}_image.npy", image)
        np.save(tmp_path / f"{name}_label.npy", label)
        line = {"name": name, "split": split, "start": [4, 5, 3], "shape": [18, 17, 15], "grid_shape": [28, 26, 21]}
        lines.append(line | {"head": head, "kinds": ["cystic"], "volume_ml": 0.1, "seed": [0, number]})
    (tmp_path / "MANIFEST.jsonl").write_text(
        "\n".join(json.dumps(line) for line in lines) + "\n{cut sho", encoding="utf-8"
    )
    return tmp_path


def test_a_pools_own_split_is_kept(a_pool: Path) -> None:
    cases, split = find_pool_cases(a_pool, TASK)
    assert len(cases) == 3
    assert split.training == ("scan_0", "scan_1")
    assert split.validation == ("scan_2",)


def test_a_grid_read_from_the_crop_is_the_one_that_the_engine_prepares(a_pool: Path) -> None:
    (case, *_), _ = find_pool_cases(a_pool, TASK)
    volume, label = read_pool_case(case)
    prepared = prepare(TASK, volume)
    np.testing.assert_allclose(case.grid(), prepared.grid, atol=2e-5)
    assert int(case.label().sum()) == int(label.sum()) == 5 * 4 * 5
    inside = prepared.lattice.to_grid @ np.array([4 + 4, 5 + 5, 3 + 3, 1])
    assert case.label()[tuple(int(n) for n in inside[:3])] == 1


def test_a_pool_for_another_geometry_is_refused(a_pool: Path) -> None:
    with pytest.raises(InputError, match="brats differs"):
        find_pool_cases(a_pool, get_task("brats"))


@pytest.mark.parametrize(
    ("setting", "value"), [("split", "brats2020"), ("validation_fraction", 0.5), ("label_map", ((1, 1),))]
)
def test_settings_that_a_pool_would_pass_over_are_refused(a_pool: Path, setting: str, value: object) -> None:
    recipe = Recipe(task="brats", data=DataSettings(path=str(a_pool), **{setting: value}))
    with pytest.raises(InputError, match=f"its own split and labels, found data.{setting}="):
        gather_cases(recipe, TASK)
    # A run of a time when they were passed over can go on.
    begun = Split(training=("scan_0",), validation=("scan_2",))
    assert gather_cases(recipe, TASK, begun)[1] == begun


def test_a_scan_added_after_a_line_that_was_cut_short_is_one_of_the_pool(a_pool: Path) -> None:
    first, *_ = read_manifest(a_pool)
    append_entry(a_pool, dataclasses.replace(first, name="scan_3"))
    append_entry(a_pool, dataclasses.replace(first, name="scan_4"))
    assert [entry.name for entry in read_manifest(a_pool)] == [f"scan_{n}" for n in range(5)]
    assert b"\n\n" not in (a_pool / "MANIFEST.jsonl").read_bytes()
    append_entry(a_pool, first, manifest="new.jsonl")
    assert read_manifest(a_pool, manifest="new.jsonl") == [first]


def test_a_run_that_goes_on_keeps_its_split_of_a_pool_that_has_grown(a_pool: Path) -> None:
    recipe = Recipe(task="brats", data=DataSettings(path=str(a_pool)))
    begun = Split(training=("scan_0",), validation=("scan_2",))
    assert gather_cases(recipe, TASK, begun)[1] == begun
    with pytest.raises(InputError, match=r"scan_9.*put them back"):
        gather_cases(recipe, TASK, Split(training=("scan_0", "scan_9"), validation=("scan_2",)))
