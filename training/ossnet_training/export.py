"""Weights out of a run: the engine's safetensors with a model card beside it, or a published-layout .pt."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch

from napari_ossnet.engine.checkpoints import PUBLISHED_LAYOUTS, LoadedWeights, load_checkpoint, save_weights
from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.files.atomic import atomic_path
from napari_ossnet.engine.networks.variants import config_for_task
from napari_ossnet.engine.tasks import TASKS
from ossnet_training.run_folder import weights_of, write_text


def export_weights(source: str, output: Path, *, name: str | None, is_half: bool, notes: str = "") -> Path:
    """Write weights where another machine can take them from.

    Args:
        source: A run, a weights file, or a name in the catalogue; of a run the best weights.
        output: A .safetensors file (its card goes beside it as .md) or a .pt file in the published layout.
        name: In the catalogue; by default the file's.
        is_half: Store matrices in half precision.
        notes: Put after what the card notes already.

    Raises:
        EngineError: There are no such weights, or they have no published layout.
    """
    loaded = load_checkpoint(weights_of(source))
    if output.suffix == ".pt":
        _export_published(loaded, output)
        return output
    if output.suffix != ".safetensors":
        raise InputError(
            f"Weights are written as .safetensors or, in the published layout, as .pt; found {output.name!r}."
        )
    card = dataclasses.replace(
        loaded.card, name=name or output.stem, notes="\n".join(text for text in (loaded.card.notes, notes) if text)
    )
    save_weights(output, loaded.network, card, is_half_precision=is_half)
    write_text(output.with_suffix(".md"), card.to_markdown())
    return output


def _export_published(loaded: LoadedWeights, output: Path) -> None:
    """The state dict alone: what its layout doesn't tell must be what the published code assumes."""
    variant, task = loaded.card.variant, loaded.card.task
    is_published = (variant, task.name) in (*PUBLISHED_LAYOUTS, ("pfseg", "brats"))
    ours = _plain(loaded.card.network_config)
    if not is_published or task != TASKS[task.name] or ours != _plain(config_for_task(variant, task)):
        raise InputError(
            f"Variant {variant} for {task.name} as trained here has no published layout; write a .safetensors file "
            "instead."
        )
    with atomic_path(output) as temporary:
        torch.save(loaded.network.state_dict(), temporary)


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    """Settings that change what the network answers, lists and tuples alike."""
    return {key: json.dumps(value) for key, value in config.items() if key != "dropout"}
