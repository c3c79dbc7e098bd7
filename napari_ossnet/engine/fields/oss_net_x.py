"""OSS-Net X on one scan: encoded once, its local features computed only where locations fall."""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from functools import partial

import torch
from torch import Tensor

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.events import Progress
from napari_ossnet.engine.fields.local_features import LocalFeatures
from napari_ossnet.engine.fields.memory_budget import check_budget, required_bytes_of_x
from napari_ossnet.engine.kernels.compilation import is_compiled
from napari_ossnet.engine.networks.oss_net_x import OSSNetX, Window, XEncoding
from napari_ossnet.engine.networks.trilinear import corners_and_weights, feature_frame, weighted_rows
from napari_ossnet.engine.scans.encoding_window import encoding_window
from napari_ossnet.engine.scans.preparation import PreparedVolume
from napari_ossnet.engine.scans.scan_grid import ScanGrid
from napari_ossnet.engine.tensors import Locations, Logits

#: Where the auxiliary segmentation is at least this sure, within half a cell, the prior says "may be occupied".
PRIOR_PROBABILITY = 0.2
#: What kept local features may take, and the share of what a budget leaves for them: while they grow, the half of them
#: that is there already lies beside the whole.
FEATURE_BYTES = 2**27
FEATURE_SHARE = 2 / 3
#: Locations that a CPU works on at a time: their features stay in the cache.
CPU_BLOCK = 2048


class XField:
    """An encoded scan that can be asked for the logits of any location.

    Args of the constructor:
        network: In eval mode, on the grid's device.
        grid: The normalised grid (channels, i, j, k), or the scan that it is.
        encoding: Of this one grid (batch of one).
        feature_bytes: What kept local features may take.
    """

    def __init__(
        self, network: OSSNetX, grid: Tensor | ScanGrid, encoding: XEncoding, feature_bytes: int = FEATURE_BYTES
    ) -> None:
        self.device = encoding.context.device
        self.class_count = network.config.classes
        width = network.config.decoder_width
        # Input, three hidden layers, and the corners with their weights for every sampled volume.
        self.bytes_per_location = 4 * (network.decoder.first.in_features + 4 * width) + 5 * 8 * 12
        branches = network.branches
        self.local = [LocalFeatures(branch, grid, feature_bytes // len(branches)) for branch in branches]
        self._decoder = network.decoder.folded(encoding.context[0])
        self._context = encoding.context[:1] if network.config.context == "input" else None
        self._has_coordinates = network.config.has_coordinates
        self._last_voxel = torch.tensor(
            [max(1, extent - 1) for extent in encoding.grid_shape], dtype=torch.float32, device=self.device
        )
        self._origin = torch.tensor(encoding.origin, dtype=torch.float32, device=self.device)
        self._levels = [
            (level[0].float().permute(1, 2, 3, 0).flatten(0, 2).contiguous(), tuple(level.shape[2:]), scale)
            for level, scale in zip(encoding.levels, encoding.scales, strict=True)
        ]
        self._probability = encoding.auxiliary[0, 0].float().sigmoid()
        self._auxiliary_scale = encoding.auxiliary_scale

    @torch.no_grad()
    def query(self, locations: Locations) -> Logits:
        """Logits (n, classes) float32 of locations (n, 3) float32, grid frame, at voxels and between them."""
        locations = locations.to(torch.float32)
        local = [features.sample(locations) for features in self.local]
        block = CPU_BLOCK if self.device.type == "cpu" else max(len(locations), 1)
        parts = [
            self._decode(some, [features[start : start + block] for features in local])
            for start, some in zip(range(0, len(locations), block), locations.split(block), strict=False)
        ]
        return torch.cat(parts) if parts else locations.new_empty((0, self.class_count))

    def _decode(self, locations: Locations, local: list[Tensor]) -> Logits:
        parts = [2 * locations / self._last_voxel - 1] if self._has_coordinates else []
        parts += local
        inside = locations - self._origin
        for rows, (i, j, k), scale in self._levels:
            corners, weights = corners_and_weights(feature_frame(inside, scale), (i, j, k))
            parts.append(weighted_rows(rows, corners, weights))
        if self._context is not None:
            parts.append(self._context.expand(len(locations), -1))
        logits: Tensor = self._decoder(torch.cat(parts, dim=1), None)
        return logits

    def prior(self, locations: Locations) -> Tensor:
        """Where the auxiliary segmentation says "may be occupied", (n,) bool: in any cell within half a cell."""
        inside = feature_frame(locations - self._origin, self._auxiliary_scale)
        i, j, k = self._probability.shape
        corners, _ = corners_and_weights(inside, (i, j, k))
        return self._probability.flatten()[corners].amax(1) >= PRIOR_PROBABILITY


def build(
    network: OSSNetX, prepared: PreparedVolume, *, device: torch.device, memory_bytes: int | None
) -> Generator[Progress, None, XField]:
    """Encode a scan; see ``build_field``. What the budget leaves beside the work itself goes to kept local features.

    Raises:
        InputError: The scan has other channels than the network's.
        OutOfMemoryError: The CPU's part of the work takes more than the budget.
    """
    config = network.config
    if prepared.grid_shape[0] != config.in_channels:
        raise InputError(
            f"The scan has {prepared.grid_shape[0]} channels, expected {config.in_channels}; "
            "these weights are for another task."
        )
    network = network.to(device).eval()
    started_at = time.perf_counter()
    yield Progress(stage="encoding", elapsed_s=time.perf_counter() - started_at)
    window = _window(network, prepared)
    shared = _shared_grid(network, prepared, device)
    start, stop = window or ((0, 0, 0), prepared.grid_shape[1:])
    encoded_shape = tuple(last - first for first, last in zip(start, stop, strict=True))
    needed = required_bytes_of_x(config, encoded_shape, 0 if shared else 4 * math.prod(prepared.grid_shape))
    if device.type == "cpu":
        check_budget(needed, memory_bytes)
    if shared:
        grid: Tensor | ScanGrid = shared
        steps = network.encode_planes(partial(_planes, shared), prepared.grid_shape)
    else:
        grid = torch.from_numpy(prepared.grid).to(device)
        steps = network.encode_steps(grid[None], window)
    while True:
        try:
            with torch.no_grad():
                next(steps)
        except StopIteration as stop:
            encoding = stop.value
            break
        yield Progress(stage="encoding", elapsed_s=time.perf_counter() - started_at)
    spare = None if memory_bytes is None else int((memory_bytes - needed) * FEATURE_SHARE)
    return XField(network, grid, encoding, FEATURE_BYTES if spare is None else min(FEATURE_BYTES, spare))


def _shared_grid(network: OSSNetX, prepared: PreparedVolume, device: torch.device) -> ScanGrid | None:
    """The scan itself where it can serve as grid: compiled kernels read it, the encoder takes all of it as it is."""
    scan = prepared.voxels
    if not isinstance(scan, ScanGrid) or any(extent % network.encoder.factor for extent in scan.shape[1:]):
        return None
    return scan if device.type == "cpu" and is_compiled() and not network.config.encodes_foreground else None


def _planes(scan: ScanGrid, start: int, stop: int) -> Tensor:
    return torch.from_numpy(scan.planes(start, stop))[None]


def _window(network: OSSNetX, prepared: PreparedVolume) -> Window | None:
    if not network.config.encodes_foreground:
        return None
    return encoding_window(prepared.grid, prepared.box_start, prepared.box_stop, network.encoder.factor)
