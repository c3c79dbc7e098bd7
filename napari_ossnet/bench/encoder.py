"""The encoder: plain modules beside slabs with folded norms and fused Pade units."""

from __future__ import annotations

from statistics import median
from typing import Any

import torch

from napari_ossnet.bench.networks import Contender
from napari_ossnet.bench.timing import drain, interleaved, pairwise_ratio
from napari_ossnet.engine.checkpoints import load_checkpoint
from napari_ossnet.engine.fields.slab_encoder import encode_in_slabs
from napari_ossnet.engine.networks.oss_net import Encoding, OSSNet, use_published_form
from napari_ossnet.engine.tasks import PreparedVolume


def measure_encoder(contender: Contender, prepared: PreparedVolume, device: str, repeats: int) -> Any:
    """Figures of an OSS-Net A to D, as JSON values."""
    network = load_checkpoint(contender.path).network.to(device)
    assert isinstance(network, OSSNet)
    use_published_form(network)
    volume = torch.from_numpy(prepared.encoder_input())[None].to(device)

    def plain() -> Encoding:
        with torch.no_grad():
            return _finished(network.encode(volume))

    def ours() -> Encoding:
        return _finished(drain(encode_in_slabs(network.encoder, volume)))

    difference = float((plain().latent - ours().latent).abs().max())
    rounds = interleaved({"published": plain, "ours": ours}, repeats, is_warm=True)
    seconds = rounds.wall
    return {
        "ratio": pairwise_ratio(seconds["published"], seconds["ours"]),
        "cpu_ratio": pairwise_ratio(rounds.cpu["published"], rounds.cpu["ours"]),
        "published_cpu_s": median(rounds.cpu["published"]),
        "seconds": median(seconds["ours"]),
        "published_seconds": median(seconds["published"]),
        "largest_latent_difference": difference,
        "weights": contender.name,
        "is_trained": contender.is_trained,
        "repeats": repeats,
    }


def _finished(encoding: Encoding) -> Encoding:
    if encoding.latent.device.type == "cuda":
        torch.cuda.synchronize(encoding.latent.device)
    return encoding
