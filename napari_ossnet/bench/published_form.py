"""The baseline: O-Net and OSS-Net A to D as published, module by module, behind the same door as our own path.

Nothing is folded: every chunk of locations takes its windows through the padded 7^3 convolutions, its latent vectors
through every conditional batch norm, and Pade units are plain tensor operations. Together with the schedule
``published-prior`` this is what the published code computes, with the same weights and the same chunks as ours.
"""

from __future__ import annotations

from collections.abc import Generator

import torch

from napari_ossnet.engine.catalogue import find_weights
from napari_ossnet.engine.checkpoints import load_checkpoint
from napari_ossnet.engine.device import choose_device
from napari_ossnet.engine.encoded_scan import EncodedScan, NetworkInUse
from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.events import Event, Progress
from napari_ossnet.engine.fields.oss_net import OSSNetField
from napari_ossnet.engine.networks.oss_net import OSSNet, use_published_form
from napari_ossnet.engine.patches import PatchSampler
from napari_ossnet.engine.session import SegmentRequest
from napari_ossnet.engine.tasks import PreparedVolume, prepare
from napari_ossnet.engine.tensors import Locations, Logits


class PlainQuery:
    """Logits of locations by the network's own modules.

    Args of the constructor:
        network: In eval mode, switched to the published form, on the device of the latent vectors.
        latent: (1, vectors, L) of the scan.
        sampler: Gathers the windows; None where the variant has none.
    """

    def __init__(self, network: OSSNet, latent: torch.Tensor, sampler: PatchSampler | None) -> None:
        self._network = network
        self._latent = latent
        self._sampler = sampler

    @torch.no_grad()
    def __call__(self, locations: Locations) -> Logits:
        """Logits (n, classes) of locations (n, 3), grid frame."""
        patches = None
        if self._sampler is not None:
            voxels = locations.round()
            if torch.equal(voxels, locations):
                patches = self._sampler.at_voxels(voxels.long()[None])
            else:
                patches = self._sampler.between_voxels(locations[None])
        return self._network.decode(locations[None], patches, self._latent)[0]


def published_field(network: OSSNet, prepared: PreparedVolume, device: torch.device) -> OSSNetField:
    """Encodes a scan with the plain modules; the field answers with the plain decoder."""
    network = network.to(device).eval()
    use_published_form(network)
    config = network.config
    with torch.no_grad():
        encoding = network.encode(torch.from_numpy(prepared.encoder_input())[None].to(device))
    sampler = None
    if config.patch_channels:
        grid = torch.from_numpy(prepared.grid)[None].to(device)
        sampler = PatchSampler(grid, has_local=config.has_local_patches, has_mid_range=config.has_mid_range_patches)
    return OSSNetField(
        PlainQuery(network, encoding.latent, sampler),
        auxiliary=None if encoding.auxiliary is None else encoding.auxiliary[0],
        grid_shape=config.grid_shape,
        class_count=config.classes,
        # Windows with their indices, and the widest layers with what the Pade unit makes on the way.
        bytes_per_location=4 * (343 * config.patch_channels * 4 + 8 * config.decoder_features),
        device=device,
    )


def encode_in_published_form(
    request: SegmentRequest, earlier: NetworkInUse | None
) -> Generator[Event, None, EncodedScan]:
    """What ``SegmentationSession(encode=...)`` takes: a scan encoded in the published form.

    Raises:
        InputError: The weights are of another family, which has no published form.
    """
    del earlier
    device = choose_device(request.device)
    weights = load_checkpoint(find_weights(request.task, request.variant, request.weights))
    if not isinstance(weights.network, OSSNet):
        raise InputError(f"The weights {weights.card.name} have no published form; give those of an OSS-Net A to D.")
    prepared = prepare(weights.card.task, request.volume)
    yield Progress(stage="encoding")
    field = published_field(weights.network, prepared, device)
    return EncodedScan(
        request=request, prepared=prepared, field=field, card=weights.card, sha256=weights.sha256, device=device
    )
