"""Weights files: reading them without running anything, telling what they hold, and writing our own.

Published state dicts (.pt) load as they are; which variant and data set they are for is told from the names and shapes
of their tensors. Our own files are .safetensors with a model card in the metadata. Pickles are never executed.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from napari_ossnet.engine.checksums import sha256_of
from napari_ossnet.engine.errors import EngineError, WeightsError
from napari_ossnet.engine.files.atomic import atomic_path
from napari_ossnet.engine.model_card import METADATA_KEY, ModelCard, read_safetensors_head
from napari_ossnet.engine.model_card import read_card as read_safetensors_card
from napari_ossnet.engine.networks.oss_net import OSSNetConfig
from napari_ossnet.engine.networks.patch_encoder import PATCH_VALUES
from napari_ossnet.engine.networks.variants import VARIANTS, build_network_from_config, config_for_task
from napari_ossnet.engine.tasks import TASKS

#: Layouts in which weights of the OSS-Net family have been published: variant and task.
PUBLISHED_LAYOUTS: tuple[tuple[str, str], ...] = tuple(
    (variant, task) for task in ("brats", "lits") for variant in ("o-net", "a", "b", "c", "d")
)
#: A tensor that only PFSeg's layout has: its guidance encoder's first.
PFSEG_MARK = "high_freq_extract.0.conv.0.weight"
#: Differing tensors that an error names.
_DIFFERENCES_SHOWN = 3
#: A state dict that shares fewer of its names than this with every layout is another network altogether.
_KINDRED_SHARE = 0.5
#: Before it a crafted file runs code even with weights_only (CVE-2025-32434).
SAFE_TORCH = "2.6"

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedWeights:
    """A network with its weights, ready for inference (eval mode, CPU, float32), and what is known of it."""

    network: nn.Module
    card: ModelCard
    #: Of the file, hexadecimal.
    sha256: str


def load_checkpoint(path: str | Path) -> LoadedWeights:
    """The network that a weights file holds: a published .pt state dict, or a .safetensors file.

    Raises:
        WeightsError: There is no such file; it is damaged, holds something else than tensors, or another network; or it
            is a .pt file and torch is too old to read one safely.
    """
    path = Path(path)
    state, card_text = _read_state(path)
    state = _without_prefix(state)
    card = _recognise(path, state) if card_text is None else ModelCard.from_json(card_text)
    network = _build(path, card)
    differences = _differences(_shapes(state), _shapes(network.state_dict()))
    if differences:
        raise WeightsError(
            f"{path} does not fit the network of its own model card ({_in_words(differences)}); get the file anew."
        )
    _refuse_non_numbers(path, state)
    network.load_state_dict(
        {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    )
    return LoadedWeights(network=network.eval(), card=card, sha256=sha256_of(path))


def read_card(path: str | Path) -> ModelCard:
    """What a weights file holds; quick for our own files, by loading it for a published one.

    Raises:
        WeightsError: As ``load_checkpoint``.
    """
    path = Path(path)
    if _is_torch_file(path):
        return load_checkpoint(path).card
    return read_safetensors_card(path)


def save_weights(path: str | Path, network: nn.Module, card: ModelCard, *, is_half_precision: bool = False) -> None:
    """Write a network's weights with their card as a .safetensors file.

    Args:
        path: Of the file; replaced when everything is written.
        network: Any of the variants, on any device.
        card: Names the variant and holds the settings from which this network can be built again.
        is_half_precision: Store matrices and kernels in float16. Running statistics, biases (those of conditional
            norms among them, which hold the norms' start), scales and Pade coefficients stay float32.

    Raises:
        OutputError: The file can't be written.
    """
    from safetensors.torch import save_file

    tensors = {name: _stored(name, tensor, is_half_precision) for name, tensor in network.state_dict().items()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt", METADATA_KEY: card.to_json()})


def _stored(name: str, tensor: Tensor, is_half_precision: bool) -> Tensor:
    tensor = tensor.detach().cpu().contiguous().clone()
    # Matrices and kernels have two axes or more; all that must stay exact has one or none.
    if is_half_precision and tensor.is_floating_point() and tensor.ndim >= 2:
        return tensor.half()
    return tensor


def _read_state(path: Path) -> tuple[Mapping[str, Tensor], str | None]:
    """The tensors by name and, where the file has one, the text of the card."""
    if _is_torch_file(path):
        return _read_torch(path), None
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    head = read_safetensors_head(path)
    try:
        state = load_file(path)
    except SafetensorError as error:
        raise WeightsError(f"{path} is damaged ({error}); get it anew.") from error
    return state, head.get("__metadata__", {}).get(METADATA_KEY)


def _is_torch_file(path: Path) -> bool:
    """Whether a file begins as torch.save writes it: a zip archive, or in old times a pickle."""
    try:
        with path.open("rb") as file:
            first = file.read(9)
    except OSError as error:
        raise WeightsError(f"Can't read the weights {path} ({error.strerror}); check the path.") from error
    # A .safetensors file begins with the length of its JSON head, whose first byte may well be that of a pickle.
    if first[8:] == b"{":
        return False
    return first[:2] == b"PK" or first[:1] == b"\x80"


def _read_torch(path: Path) -> Mapping[str, Tensor]:
    if torch.__version__ < SAFE_TORCH:
        raise WeightsError(
            f"{path} is not opened, since torch {torch.__version__} could run code that is hidden in such a file; "
            f"update torch to {SAFE_TORCH} or later, or give a .safetensors file."
        )
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} holds Python objects beside tensors, which could run code and are not opened; "
            "save the network's state_dict() alone, or get the file from a source that does."
        ) from error
    except Exception as error:  # zipfile, struct, key and runtime errors, according to where the file breaks off
        raise WeightsError(
            f"{path} is damaged or not downloaded to the end, or a pickle that torch.save did not write "
            "(it could run code and is not opened); get it anew."
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    is_state = isinstance(content, Mapping) and all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in content.items()
    )
    if not is_state or not content:
        raise WeightsError(f"{path} holds no state dict (tensors by name); give the weights of an OSS-Net.")
    return content


def _without_prefix(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The state dict without the ``module.`` that DataParallel puts before every name."""
    prefix = "module."
    if all(name.startswith(prefix) for name in state):
        return {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def _recognise(path: Path, state: Mapping[str, Tensor]) -> ModelCard:
    """A card for a file that has none, from the names and shapes of its tensors."""
    found = _shapes(state)
    nearest = _nearest(found)
    differences = _differences(found, published_shapes(*nearest))
    if differences:
        raise _other_network(path, found, nearest, differences)
    variant, task_name = nearest
    task = TASKS[task_name]
    return ModelCard(
        name=path.stem,
        title=f"{VARIANTS[variant].title}, {task.title}",
        task=task,
        variant=variant,
        network_config=config_for_task(variant, task),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        notes=f"Recognised from the tensors of {path.name}.",
    )


def _other_network(path: Path, found: Shapes, nearest: tuple[str, str], differences: list[str]) -> WeightsError:
    variant, task = nearest
    expected = published_shapes(variant, task)
    if len(set(found) & set(expected)) < _KINDRED_SHARE * len(expected):
        return WeightsError(
            f"{path} holds another network: of its {len(found)} tensors {len(set(found) & set(expected))} have names "
            f"of an OSS-Net; give the weights of an O-Net, OSS-Net A to D or PFSeg."
        )
    return WeightsError(
        f"{path} fits no known network; the nearest is {VARIANTS[variant].title} for {task}, from which "
        f"{len(differences)} tensors differ: {_in_words(differences)}; give weights in the published layout."
    )


def _nearest(found: Shapes) -> tuple[str, str]:
    """The published layout that a file comes nearest to."""
    if PFSEG_MARK in found:
        return "pfseg", "brats"
    return max(PUBLISHED_LAYOUTS, key=lambda layout: _agreement(found, *layout))


def _agreement(found: Shapes, variant: str, task: str) -> int:
    """In how many of the tensors that tell the layouts apart a file agrees with one of them."""
    config = OSSNetConfig.from_dict(config_for_task(variant, TASKS[task]))
    patches = config.patch_channels
    inputs = 3 + (PATCH_VALUES if patches else 0) + config.latent_features
    telling: dict[str, tuple[int, ...] | None] = {
        "encoder.blocks.0.main_mapping.0.weight": (config.encoder_channels[0], config.in_channels, 3, 3, 3),
        "encoder.segmentation_mapping.0.weight": (1, 128, 5, 5, 5) if config.has_encoder_skips else None,
        "decoder.patch_mapping.mapping.0.weight": (max(patches // 2, 1), patches, 7, 7, 7) if patches else None,
        "decoder.blocks.0.linear_layer_1.weight": (config.decoder_features, inputs),
    }
    return sum(found.get(name) == shape for name, shape in telling.items())


@cache
def published_shapes(variant: str, task: str) -> Shapes:
    """Shapes of a published state dict by tensor name."""
    # Not on the meta device: it drags in torch's compiler, which takes seconds to import.
    with torch.random.fork_rng(devices=[]):
        network = build_network_from_config(variant, config_for_task(variant, TASKS[task]))
    return _shapes(network.state_dict())


def _shapes(state: Mapping[str, Tensor]) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def _differences(found: Shapes, expected: Shapes) -> list[str]:
    """What is wrong with the tensors of a file, one phrase each."""
    wrong = [
        f"{name} has shape {_as_text(found[name])}, expected {_as_text(shape)}"
        for name, shape in expected.items()
        if name in found and found[name] != shape
    ]
    missing = [f"{name} is missing" for name in expected if name not in found]
    return wrong + missing + [f"{name} is not expected" for name in found if name not in expected]


def _as_text(shape: Iterable[int]) -> str:
    return " x ".join(str(size) for size in shape) or "scalar"


def _in_words(differences: list[str]) -> str:
    rest = len(differences) - _DIFFERENCES_SHOWN
    return ", ".join(differences[:_DIFFERENCES_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _build(path: Path, card: ModelCard) -> nn.Module:
    try:
        with torch.random.fork_rng(devices=[]):
            return build_network_from_config(card.variant, card.network_config)
    except EngineError as error:
        raise WeightsError(f"The network in {path} can't be built: {error}") from error


def _refuse_non_numbers(path: Path, state: Mapping[str, Tensor]) -> None:
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise WeightsError(f"{path} is damaged: {name} has values that are not numbers; get it anew.")
