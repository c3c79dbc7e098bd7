"""What a run's weights say of themselves: their task, network and data; Dice and notes come with each validation."""

from __future__ import annotations

import time
import tomllib
from pathlib import Path
from typing import Any

from napari_ossnet.engine.model_card import ModelCard
from ossnet_training.geometry import network_config
from ossnet_training.planning import RunPlan
from ossnet_training.recipe_files import RECIPES
from ossnet_training.run_folder import data_path
from ossnet_training.splits import read_split


def build_card(plan: RunPlan) -> ModelCard:
    """The model card of the run's weights; Dice and what else there is to note still to come.

    What a bundled recipe says of its data holds for that data alone; the user's own words are taken as they are.
    """
    recipe = plan.recipe
    words = {"training_data": recipe.training_data, "licence": recipe.licence, "citation": recipe.citation}
    bundled = _bundled_recipe(recipe.training_data)
    if bundled and not _is_trained_on(plan, bundled.get("data", {}).get("split", "")):
        words = {key: "" if text == bundled.get(key) else text for key, text in words.items()}
    count = f"{len(plan.training)} cases"
    own = f"{count} of the user's own data ({data_path(recipe.data.path).name})"
    return ModelCard(
        name=plan.run.name,
        title=f"{recipe.title or plan.task.title}, {recipe.variant}",
        task=plan.task,
        variant=recipe.variant,
        network_config=network_config(recipe, plan.task),
        training_data=f"{count}: {words['training_data']}" if words["training_data"] else own,
        licence=words["licence"],
        citation=words["citation"],
        dice=None,
        created=time.strftime("%Y-%m-%d"),
        notes=f"started from the weights {_short_name(plan.init_from)}" if plan.init_from else "",
    )


def _short_name(weights: str) -> str:
    """A name in the catalogue as it is; a file with its folder (a run's), not where on this machine that lies."""
    return "/".join(Path(weights).parts[-2:])


def _bundled_recipe(training_data: str) -> dict[str, Any] | None:
    """The bundled recipe whose words on its data these are."""
    trees = (tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted(RECIPES.glob("*.toml")))
    return next((tree for tree in trees if training_data and tree.get("training_data") == training_data), None)


def _is_trained_on(plan: RunPlan, split: str) -> bool:
    """Whether the run has the cases of a bundled split; where that names no training cases, it takes all others."""
    if not split or plan.recipe.data.split != split:
        return False
    listed = read_split(split)
    training, validation = ({case.name for case in cases} for cases in (plan.training, plan.validation))
    return validation <= set(listed.validation) and training == (set(listed.training) or training)
