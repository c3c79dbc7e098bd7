"""Owns the scan after encoding, and the way there: weights, preparation, field. It is kept between calls."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import torch

from napari_ossnet.engine.catalogue import find_weights
from napari_ossnet.engine.checkpoints import LoadedWeights, load_checkpoint
from napari_ossnet.engine.device import choose_device
from napari_ossnet.engine.errors import WeightsError
from napari_ossnet.engine.events import Event, Message, Progress
from napari_ossnet.engine.fields.build import build_field
from napari_ossnet.engine.fields.mirrored import MirroredField, build_mirrored_field
from napari_ossnet.engine.fields.pfseg import PFSegField
from napari_ossnet.engine.fields.protocol import OccupancyField
from napari_ossnet.engine.model_card import ModelCard
from napari_ossnet.engine.scans.scan_checks import refuse_unusable
from napari_ossnet.engine.session import SegmentRequest
from napari_ossnet.engine.tasks import PreparedVolume, check_scan, prepare

#: What of a request chooses the network: task, variant, weights and device.
NetworkKey = tuple[str, str | None, str | Path | None, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkInUse:
    """A network that was read, and for what."""

    key: NetworkKey
    weights: LoadedWeights


@dataclass(frozen=True, kw_only=True)
class EncodedScan:
    """One scan, encoded by one network on one device: everything that any question about the scan needs.

    Attributes:
        request: What it was made for.
        prepared: The scan in the network's grid, and the way back.
        field: Logits at any location.
        card: What the weights are.
        sha256: Of the weights file.
        device: Where the field lives.
        weights: The network itself; None where the field came without one.
        warnings: What looked wrong about the scan.
    """

    request: SegmentRequest
    prepared: PreparedVolume
    field: OccupancyField
    card: ModelCard
    sha256: str
    device: torch.device
    weights: LoadedWeights | None = None
    warnings: tuple[str, ...] = ()

    def serves(self, request: SegmentRequest) -> bool:
        """Whether the request asks about the same scan with the same weights on the same device, in as much memory."""
        ours = self.request
        is_same_scan = request.volume is ours.volume and request.mirrored == ours.mirrored
        return (
            is_same_scan and request.memory_bytes == ours.memory_bytes and _network_key(request) == _network_key(ours)
        )

    @property
    def network(self) -> NetworkInUse | None:
        """The network without scan and field, which may be large and need not outlive this."""
        return None if self.weights is None else NetworkInUse(key=_network_key(self.request), weights=self.weights)

    @property
    def image_field(self) -> PFSegField | None:
        """The field that has restored an image beside its mask, where the network is such a one."""
        field = self.field.field if isinstance(self.field, MirroredField) else self.field
        return field if isinstance(field, PFSegField) else None


def encode_scan(request: SegmentRequest, earlier: NetworkInUse | None) -> Generator[Event, None, EncodedScan]:
    """Reads the weights, prepares the scan and encodes it.

    Args:
        request: What is asked for.
        earlier: The network of the request before, which is used again if it is the same.

    Raises:
        EngineError: The scan, the weights or the device can't be used; the sentence says why.
    """
    device = choose_device(request.device)
    weights = yield from _network_for(request, earlier)
    yield Progress(stage="preparing")
    task = weights.card.task
    # First: what is refused is not said as a warning too.
    refuse_unusable(task, request.volume)
    warnings = tuple(check_scan(task, request.volume))
    for text in warnings:
        yield Message(text=text, level="warning")
    prepared = prepare(task, request.volume)
    yield Progress(stage="encoding")
    build = build_mirrored_field if request.mirrored else build_field
    field = yield from build(weights.network, prepared, device=device, memory_bytes=request.memory_bytes)
    return EncodedScan(
        request=request,
        prepared=prepared,
        field=field,
        card=weights.card,
        sha256=weights.sha256,
        device=device,
        weights=weights,
        warnings=warnings,
    )


def _network_for(request: SegmentRequest, earlier: NetworkInUse | None) -> Generator[Event, None, LoadedWeights]:
    yield Progress(stage="weights")
    if earlier is not None and earlier.key == _network_key(request):
        return earlier.weights
    weights = load_checkpoint(find_weights(request.task, request.variant, request.weights))
    card = weights.card
    if card.task.name != request.task:
        raise WeightsError(
            f"The weights {card.name} are made for the task {card.task.name}, not for {request.task}; "
            "choose that task, or other weights."
        )
    if request.variant is not None and card.variant != request.variant:
        raise WeightsError(
            f"The weights {card.name} are of variant {card.variant}, not {request.variant}; "
            "choose that variant, or other weights."
        )
    return weights


def _network_key(request: SegmentRequest) -> NetworkKey:
    return request.task, request.variant, request.weights, request.device
