"""Weights out of a run: the engine's safetensors with a model card beside it, or a published-layout .pt."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from napari_ossnet.engine.atomic import atomic_path
from napari_ossnet.engine.checkpoints import PUBLISHED_LAYOUTS, load_checkpoint, published_shapes, save_weights
from napari_ossnet.engine.errors import InputError
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
        _export_published(loaded.network, loaded.card.variant, loaded.card.task.name, output)
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


def _export_published(network: torch.nn.Module, variant: str, task: str, output: Path) -> None:
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    if (variant, task) not in PUBLISHED_LAYOUTS or shapes != published_shapes(variant, task):
        raise InputError(
            f"Variant {variant} for {task} as trained here has no published layout; write a .safetensors file instead."
        )
    with atomic_path(output) as temporary:
        torch.save(network.state_dict(), temporary)
