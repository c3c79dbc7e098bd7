"""Encodes a scan with O-Net or OSS-Net A to D and makes the field that fits the device."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Literal

import torch

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.events import Progress
from napari_ossnet.engine.fields.build import encoding_progress
from napari_ossnet.engine.fields.compiled_query import CompiledQuery
from napari_ossnet.engine.fields.folding import fold_decoder
from napari_ossnet.engine.fields.memory_budget import check_budget, required_bytes
from napari_ossnet.engine.fields.oss_net import OSSNetField
from napari_ossnet.engine.fields.slab_encoder import encode_in_slabs, usual_slab_bytes
from napari_ossnet.engine.fields.torch_query import TorchQuery
from napari_ossnet.engine.kernels.compilation import is_compiled
from napari_ossnet.engine.networks.oss_net import Encoding, OSSNet, OSSNetConfig
from napari_ossnet.engine.patches import PatchSampler

if TYPE_CHECKING:
    from napari_ossnet.engine.scans.preparation import PreparedVolume

Precision = Literal["float32", "bfloat16", "float16"]


def build(
    network: OSSNet,
    prepared: PreparedVolume,
    *,
    device: torch.device,
    memory_bytes: int | None,
    precision: Precision | None = None,
) -> Generator[Progress, None, OSSNetField]:
    """Encode a scan; see ``build_field``.

    Args:
        network: In eval mode.
        prepared: The scan.
        device: Where to encode and to answer.
        memory_bytes: Budget; small ones make small slabs.
        precision: Of the decoder's matrix products; None takes float32.
    """
    config = network.config
    _check_grid(config, prepared.grid.shape)
    if device.type == "cpu":
        check_budget(required_bytes(config), memory_bytes)
    network.to(device)
    started_at = time.perf_counter()
    encoding = yield from _encode(network, prepared, device, memory_bytes, started_at)
    query = _build_query(network, encoding, prepared, getattr(torch, precision or "float32"))
    return OSSNetField(
        query,
        auxiliary=None if encoding.auxiliary is None else encoding.auxiliary[0],
        grid_shape=config.grid_shape,
        class_count=config.classes,
        bytes_per_location=query.bytes_per_location,
        device=device,
    )


def _check_grid(config: OSSNetConfig, found: tuple[int, ...]) -> None:
    expected = (config.in_channels, *config.grid_shape)
    if tuple(found) != expected:
        raise InputError(
            f"The scan has {' x '.join(map(str, found))} values in the network's grid, expected "
            f"{' x '.join(map(str, expected))} (channels first); these weights are for another task."
        )


def _encode(
    network: OSSNet, prepared: PreparedVolume, device: torch.device, memory_bytes: int | None, started_at: float
) -> Generator[Progress, None, Encoding]:
    volume = torch.from_numpy(prepared.encoder_input())[None].to(device)
    steps = encode_in_slabs(network.encoder, volume, slab_bytes=_slab_bytes(device, memory_bytes))
    del volume
    try:
        while True:
            yield encoding_progress(started_at, next(steps))
    except StopIteration as stop:
        return stop.value


def _slab_bytes(device: torch.device, memory_bytes: int | None) -> int:
    usual = usual_slab_bytes(device)
    return usual if memory_bytes is None else min(usual, max(memory_bytes // 16, 2**18))


def _build_query(
    network: OSSNet, encoding: Encoding, prepared: PreparedVolume, precision: torch.dtype
) -> TorchQuery | CompiledQuery:
    config = network.config
    decoder = fold_decoder(network.decoder, encoding.latent[0])
    if encoding.latent.device.type == "cpu" and precision == torch.float32 and is_compiled():
        query = CompiledQuery(decoder, prepared.grid, has_mid_range=config.has_mid_range_patches)
        # Loads the kernels and starts the threads, so that the first snapshot does not wait for them.
        query(torch.zeros(1, 3))
        return query
    sampler = None
    if config.patch_channels:
        grid = torch.from_numpy(prepared.grid)[None].to(encoding.latent.device)
        sampler = PatchSampler(grid, has_local=config.has_local_patches, has_mid_range=config.has_mid_range_patches)
    return TorchQuery(decoder, sampler, precision)
