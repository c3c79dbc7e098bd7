"""One training pass of each kind of network: which inputs it takes and where its logits lie.

A new kind of network needs one entry here: a function from the augmented grids and what was drawn to logits at the
drawn locations and the auxiliary logits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_ossnet.engine.networks.oss_net import OSSNet
from napari_ossnet.engine.networks.oss_net_x import OSSNetX
from napari_ossnet.engine.patches import PatchSampler
from ossnet_training.losses import predicted_classes
from ossnet_training.sampling import Draw


def training_logits(network: nn.Module, grids: Tensor, draws: Sequence[Draw], box_voxels: int) -> tuple[Tensor, Tensor | None]:
    """Logits (b, n, classes) at the drawn locations, and the auxiliary logits (b, 1, li, lj, lk) or None.

    Args:
        network: In training mode.
        grids: Normalised (b, channels, i, j, k), float32.
        draws: One a volume, all of equal size.
        box_voxels: Edge of the draws' boxes.
    """
    indices = torch.stack([draw.indices for draw in draws]).to(grids.device)
    if isinstance(network, OSSNet):
        return _oss_net(network, grids, indices)
    if isinstance(network, OSSNetX):
        boxes = [draw.boxes for draw in draws if draw.boxes is not None]
        if boxes:
            corners = torch.stack(boxes).to(grids.device)
            inside = indices.float().unflatten(1, (corners.shape[1], -1))
            return network.forward_boxes(grids, corners, box_voxels, inside)
        return network(grids, indices.float())
    return _dense(network, grids, indices), None


def _oss_net(network: OSSNet, grids: Tensor, indices: Tensor) -> tuple[Tensor, Tensor | None]:
    config = network.config
    patches = None
    if config.has_local_patches:
        sampler = PatchSampler(grids, has_local=True, has_mid_range=config.has_mid_range_patches)
        patches = sampler.at_voxels(indices)
    logits, encoding = network(functional.avg_pool3d(grids, 2), indices.float(), patches)
    return logits, encoding.auxiliary


def _dense(network: Any, grids: Tensor, indices: Tensor) -> Tensor:
    """A network that answers on the whole grid, read at the locations."""
    logits = network(grids)
    flat = (indices[..., 0] * logits.shape[3] + indices[..., 1]) * logits.shape[4] + indices[..., 2]
    index = flat[:, None].expand(-1, logits.shape[1], -1)
    return logits.flatten(2).gather(2, index).transpose(1, 2)


@torch.no_grad()
def grid_classes(network: nn.Module, grid: Tensor, indices: Tensor, chunk: int = 32768) -> Tensor:
    """Class numbers (n,), uint8, at whole voxels (n, 3) of one normalised grid (channels, i, j, k).

    Args:
        network: In evaluation mode.
        grid: On the network's device.
        indices: On the network's device.
        chunk: Locations at a time.
    """
    parts = []
    answer = _prepared_answer(network, grid[None])
    for part in indices.split(chunk):
        parts.append(predicted_classes(answer(part[None])[0]))
    return torch.cat(parts)


def _prepared_answer(network: nn.Module, grids: Tensor) -> Callable[[Tensor], Tensor]:
    """A function from indices (1, n, 3) to logits; what is constant for the scan is computed once, here."""
    if isinstance(network, OSSNet):
        encoding = network.encode(functional.avg_pool3d(grids, 2))
        config = network.config
        if not config.has_local_patches:
            return lambda indices: network.decode(indices.float(), None, encoding.latent)
        sampler = PatchSampler(grids, has_local=True, has_mid_range=config.has_mid_range_patches)
        return lambda indices: network.decode(indices.float(), sampler.at_voxels(indices), encoding.latent)
    if isinstance(network, OSSNetX):
        context, local = network.encode(grids), network.local_features(grids)
        return lambda indices: network.decode(context, indices.float(), network.sample_local(local, indices.float()))
    logits = network(grids)
    return lambda indices: logits[0, :, indices[0, :, 0], indices[0, :, 1], indices[0, :, 2]].T[None]
