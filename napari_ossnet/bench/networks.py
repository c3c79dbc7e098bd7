"""The weights that are measured: those at hand, and untrained ones where only the cost matters."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from napari_ossnet.engine.catalogue import find_weights
from napari_ossnet.engine.checkpoints import save_weights
from napari_ossnet.engine.checksums import sha256_of
from napari_ossnet.engine.errors import WeightsError
from napari_ossnet.engine.model_card import ModelCard, read_card
from napari_ossnet.engine.networks.variants import build_network, config_for_task
from napari_ossnet.engine.tasks import get_task


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A network with weights.

    Attributes:
        variant: As on the command line.
        task: Name of the task.
        path: The weights file.
        name: What the weights are called.
        sha256: Of the file.
        is_trained: Whether a mask of it means anything; the cost of a pass is the same without.
    """

    variant: str
    task: str
    path: Path
    name: str
    sha256: str
    is_trained: bool = True


def trained(task: str, variant: str, weights: str | Path | None = None) -> Contender | str:
    """The best weights of a variant on this machine; the sentence that says why there are none, if so."""
    try:
        path = find_weights(task, variant, weights)
        card = read_card(path)
    except WeightsError as error:
        return str(error)
    return Contender(variant=variant, task=card.task.name, path=path, name=card.name, sha256=sha256_of(path))


def untrained(task: str, variant: str, folder: Path) -> Contender:
    """Fresh weights of a variant, always the same ones, written to the folder."""
    definition = get_task(task)
    name = f"untrained-{variant}-{task}"
    path = folder / f"{name}.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_network(variant, definition)
    config = config_for_task(variant, definition)
    card = ModelCard(name=name, title="Untrained", task=definition, variant=variant, network_config=config)
    save_weights(path, network, card)
    return Contender(variant=variant, task=task, path=path, name=name, sha256=sha256_of(path), is_trained=False)
