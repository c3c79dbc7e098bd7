"""What the weights say of their data is true of the data at hand, whichever recipe they were trained by."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from ossnet_training.geometry import task_of
from ossnet_training.model_cards import build_card
from ossnet_training.planning import RunPlan
from ossnet_training.recipe_files import load_recipe
from ossnet_training.run_folder import RunFolder
from ossnet_training.splits import read_split

from napari_ossnet.engine.model_card import ModelCard


def _card(
    recipe_name: str, words: list[str], training: list[str], validation: list[str], init_from: str | None = None
) -> ModelCard:
    recipe = load_recipe(recipe_name, ["data.path=/somewhere/mine", *words])
    return build_card(
        RunPlan(
            recipe=recipe,
            task=task_of(recipe),
            run=RunFolder(path=Path("a-run")),
            training=tuple(SimpleNamespace(name=name) for name in training),
            validation=tuple(SimpleNamespace(name=name) for name in validation),
            checkpoint=None,
            init_from=init_from,
        )
    )


def test_a_recipes_own_split_has_the_recipes_words_and_the_real_number_of_cases() -> None:
    card = _card("hippocampus", [], ["hippocampus_001", "hippocampus_003"], list(read_split("hippocampus").validation))
    assert card.training_data.startswith("2 cases: labelled MR volumes of the Medical Segmentation Decathlon")
    assert card.licence == "CC-BY-SA-4.0"
    assert "Decathlon" in card.citation
    listed = read_split("brats2020")
    card = _card("brats", [], list(listed.training), list(listed.validation[:8]))
    assert card.training_data.startswith("324 cases: BraTS 2020")


def test_other_data_is_the_users_own_and_its_licence_is_not_stated() -> None:
    listed = read_split("brats2020")
    for card in (
        _card("hippocampus", ["data.split="], ["a", "b"], ["c"]),
        _card("hippocampus", [], ["a", "b"], ["c"]),
        _card("brats", [], list(listed.training[:2]), list(listed.validation)),
        _card("synthetic-brain", [], ["a", "b"], ["c"]),
    ):
        assert card.training_data == "2 cases of the user's own data (mine)"
        assert card.licence == ""
        assert "| Licence | not stated |" in card.to_markdown()
        assert "Decathlon" not in card.citation


def test_weights_that_a_run_was_begun_from_are_noted_without_their_place_on_this_machine() -> None:
    notes = [
        _card("brats", [], ["a"], ["b"], init_from=source).notes
        for source in (None, "brain-tumour-x", "/home/someone/runs/first/best.safetensors")
    ]
    started = "started from the weights"
    assert notes == ["", f"{started} brain-tumour-x", f"{started} first/best.safetensors"]


def test_what_the_user_says_of_the_data_is_kept() -> None:
    words = ["training_data=scans of our clinic", "licence=CC0", "data.split="]
    card = _card("hippocampus", words, ["a", "b"], ["c"])
    assert (card.training_data, card.licence) == ("2 cases: scans of our clinic", "CC0")
    assert _card("hippocampus", words[1:], ["a"], ["c"]).licence == "CC0"
