"""Recipes as data: all of them parse, for every variant; what is wrong is said at once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ossnet_training.planning import task_of
from ossnet_training.recipe_files import load_recipe, read_label_map, read_recipe, recipe_names, recipe_toml

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.networks.variants import VARIANTS, config_for_task


@pytest.mark.parametrize("name", recipe_names())
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_bundled_recipe_fits_the_settings_for_every_variant(name: str, variant: str, tmp_path: Path) -> None:
    recipe = load_recipe(name, [f"variant={variant}"])
    assert recipe.variant == variant
    assert set(recipe.network) <= set(config_for_task(variant, task_of(recipe)))
    written = tmp_path / "again.toml"
    written.write_text(recipe_toml(recipe), encoding="utf-8")
    assert load_recipe(str(written)) == recipe


def test_brats_has_the_papers_settings() -> None:
    recipe = load_recipe("brats")
    assert (recipe.epochs, recipe.batch_size, recipe.sampling.locations) == (50, 8, 2**14)
    assert (recipe.optimiser.lookahead_steps, recipe.optimiser.lookahead_alpha) == (5, 0.8)
    assert (recipe.optimiser.learning_rate, recipe.optimiser.pade_learning_rate) == (3e-4, 1e-2)
    assert recipe.optimiser.milestones == (20, 30)
    assert recipe.loss.auxiliary == 0.1
    assert recipe.validation.locations == 2**17


def test_overrides_are_typed_and_found_by_their_bare_name() -> None:
    recipe = load_recipe("brats", ["epochs=3", "boxes=2", "validation.locations=7", "milestones=[1]", "seed=4"])
    assert recipe.epochs == 3
    assert recipe.sampling.boxes == 2
    assert recipe.validation.locations == 7
    assert recipe.optimiser.milestones == (1,)
    assert recipe.seed == 4


def test_all_problems_are_told_at_once() -> None:
    words = ["nonsense=1", "locations=5", "epochs=many", "sampling.stratgy=border", "variant=z", "boxes"]
    with pytest.raises(InputError) as caught:
        load_recipe("brats", words)
    text = str(caught.value)
    for part in ("nonsense", "sampling.locations, validation.locations", "epochs", "stratgy", "variant z", "'boxes'"):
        assert part in text
    with pytest.raises(InputError, match=r"epochs.*\n.*flip_axes"):
        load_recipe("brats", ["epochs=0", "flip_axes=[3]"])


def test_a_network_that_can_not_be_built_is_told_before_anything_starts() -> None:
    with pytest.raises(InputError, match=r"network.decoder_feature: no such setting of c; there are.*decoder_features"):
        load_recipe("brats", ["network.decoder_feature=256"])
    with pytest.raises(InputError, match=r"(?s)epochs.*network.depth: no such setting of x.*network.width"):
        load_recipe("brats", ["variant=x", "epochs=0", "network.depth=1", "network.width=2"])
    with pytest.raises(InputError, match=r"multiples of 32.*guidance"):
        load_recipe("brats", ["variant=pfseg", "network.output_shape=[60, 64, 64]", "network.guidance=left"])
    with pytest.raises(InputError, match="geometry has no setting grid"):
        load_recipe("hippocampus", ["geometry.grid=[16, 16, 16]"])


def test_a_recipe_may_have_classes_and_channels_of_its_own(tmp_path: Path) -> None:
    words = [
        'geometry.classes=[{ name = "liver", label = 1 }, { name = "tumour", label = 2, color = [9, 8, 7] }]',
        'geometry.name="liver-parts"',
        "geometry.grid_shape=[64, 64, 64]",
        "geometry.latent_grid=[4, 4, 4]",
        "network.encoder_channels=[8, 16, 32, 64]",
    ]
    recipe = load_recipe("lits", words)
    task = task_of(recipe)
    assert (task.name, task.output_classes, task.grid_shape) == ("liver-parts", 3, (64, 64, 64))
    assert [(entry.title, entry.label) for entry in task.classes] == [("Liver", 1), ("Tumour", 2)]
    assert task.classes[1].color == (9, 8, 7)
    written = tmp_path / "again.toml"
    written.write_text(recipe_toml(recipe), encoding="utf-8")
    assert load_recipe(str(written)) == recipe
    task = task_of(load_recipe("brats", ['geometry.modalities=["flair", "dwi"]', "geometry.name=diffusion"]))
    assert task.modality_names == ("flair", "dwi")
    assert "t2f" in task.modalities[0].words


@pytest.mark.parametrize(
    ("geometry", "complaint"),
    [
        ('geometry.classes=["liver"]', "name and a label"),
        ('geometry.classes=[{ name = "liver", label = 0 }]', "name and a label"),
        ('geometry.classes=[{ name = "a", label = 1 }, { name = "b", label = 1 }]', "same label"),
        ("geometry.modalities=[]", "list of names"),
        ('geometry.modalities=["t1", "t1"]', "same name"),
        ('geometry.modalities=["flair", "dwi"]', "geometry.name"),
        ('geometry.modalities=["t1", "flair", "t1ce", "t2"]', "geometry.name"),
        ('geometry.classes=[{ name = "core", label = 1 }]', "geometry.name"),
        ('geometry.classes=[{ name = "whole_tumour", label = 4 }]', "geometry.name"),
        ("geometry.name=hippocampus", "geometry.name"),
        ("geometry.grid_shape=[64, 64, 64]", "doesn't fit into the grid_shape"),
        ("geometry.grid_shape=[64, 64]", "three whole numbers|shorter"),
    ],
)
def test_a_geometry_that_can_not_be_is_said(geometry: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        load_recipe("brats", [geometry])


@pytest.mark.parametrize(
    ("word", "complaint"),
    [
        ("seed=-1", "seed must be at least 0"),
        ("weight_decay=-1", "weight_decay must be at least 0"),
        ("device=gpu", "device must be auto"),
        ("device=cuda:x", "device must be auto"),
        ("validation.step=3", "validation.step must be one of 1, 2, 4, 8, 16"),
        ("label_map=[[1, 1], [2, 3]]", r"label 2 is mapped to the class 3; hippocampus has 0 .background. to 2"),
        ("label_map=[[1, 1], [2, 300]]", "class 300"),
        ("label_map=[[1, -1]]", "class -1"),
        ("label_map=[[1, 1], [1, 2]]", "label 1 is mapped twice"),
    ],
)
def test_what_would_fail_later_is_told_at_once(word: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        load_recipe("hippocampus", ["protocol=dense", word])


def test_settings_that_do_hold_pass() -> None:
    words = ["protocol=dense", "validation.step=16", "device=cuda:1", "label_map=[[1, 1], [4, 2], [7, 0]]"]
    assert load_recipe("hippocampus", words).device == "cuda:1"
    assert load_recipe("hippocampus", ["protocol=sampled", "validation.step=3"]).validation.step == 3


def test_a_label_map_is_read_as_a_recipe_has_it() -> None:
    assert read_label_map("[[4, 3], [-1, 0]]") == ((4, 3), (-1, 0))
    for wrong in ("4=3", "[4, 3]", "[[4, 3, 2]]"):
        with pytest.raises(InputError, match="--label-map takes pairs"):
            read_label_map(wrong)


def test_adaptive_sampling_is_not_for_whole_planes() -> None:
    with pytest.raises(InputError, match="whole planes"):
        load_recipe("hippocampus", ["variant=unet-2d", "strategy=adaptive"])


def test_adaptive_sampling_is_not_for_boxes() -> None:
    with pytest.raises(InputError, match="whatever boxes"):
        load_recipe("hippocampus", ["strategy=adaptive"])
    assert load_recipe("hippocampus", ["strategy=adaptive", "boxes=0"]).sampling.boxes == 0


@pytest.mark.parametrize("name", recipe_names())
def test_bundled_recipes_that_put_boxes_on_the_border_say_so(name: str) -> None:
    sampling = load_recipe(name, ["variant=x"]).sampling
    assert sampling.boxes > 0
    assert sampling.strategy == "border"


def test_a_run_made_by_older_rules_is_read_as_it_is(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(
        'task = "brats"\nvariant = "x"\n[geometry]\nmodalities = ["flair", "dwi"]\n'
        '[sampling]\nstrategy = "adaptive"\nboxes = 4\n',
        encoding="utf-8",
    )
    with pytest.raises(InputError, match=r"(?s)whatever boxes.*geometry.name"):
        load_recipe(str(config))
    assert read_recipe(config).sampling.boxes == 4
    config.write_text('task = "brats"\ncolour = 3\n', encoding="utf-8")
    with pytest.raises(InputError, match="colour: no such setting"):
        read_recipe(config)


def test_pfseg_has_its_published_settings() -> None:
    recipe = load_recipe("brats", ["variant=pfseg"])
    assert (recipe.epochs, recipe.batch_size) == (100, 1)
    assert (recipe.optimiser.name, recipe.optimiser.learning_rate, recipe.optimiser.lookahead_steps) == (
        "adam",
        1e-4,
        0,
    )
    assert (recipe.optimiser.schedule, recipe.optimiser.patience) == ("plateau", 20)
    assert (recipe.loss.dice, recipe.loss.super_resolution, recipe.loss.guidance) == (1, 0.5, 0.5)
    assert (recipe.loss.target_enhanced, recipe.loss.self_similarity) == (0.5, 0.5)
    for name in recipe_names():
        small = load_recipe(name, ["variant=pfseg"])
        assert small.optimiser.name == "adam"
        assert (small.loss.dice, small.loss.super_resolution) == (1, 0.5)
        assert small.precision == "32-true"


def test_the_ablations_in_the_documentation_leave_out_a_term_more_each() -> None:
    text = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (US[^|]*) \| `([^`]*)` \|$", text, re.MULTILINE)
    assert [name.split("(")[0].strip() for name, _ in rows] == ["US", "US + SR", "US + SR + TEL", "US + SR + TEL + SSL"]
    keys = ("super_resolution", "target_enhanced", "self_similarity")
    for number, (_, words) in enumerate(rows):
        recipe = load_recipe("brats", ["variant=pfseg", *words.split()])
        assert recipe.network["guidance"] == "none"
        assert recipe.loss.guidance == 0
        assert [getattr(recipe.loss, key) for key in keys] == [0.5] * number + [0] * (3 - number)


def test_an_unknown_recipe_names_those_that_there_are() -> None:
    with pytest.raises(InputError, match="hippocampus"):
        load_recipe("brain")


def test_a_recipe_that_is_no_toml_says_where(tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text("epochs = = 3", encoding="utf-8")
    with pytest.raises(InputError, match="line 1"):
        load_recipe(str(path))
