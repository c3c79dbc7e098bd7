"""One training pass of each kind of network: which inputs it takes and where its logits lie.

A new kind of network needs one entry here: a function from the augmented grids and what was drawn to logits at the
drawn locations and the auxiliary logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_ossnet.engine.networks.oss_net import OSSNet
from napari_ossnet.engine.networks.oss_net_x import OSSNetX
from napari_ossnet.engine.networks.residual_u_net import ResidualUNet
from napari_ossnet.engine.patches import PatchSampler
from ossnet_training.data import Window
from ossnet_training.sampling import Draw


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a pass gives: ``logits`` (b, n, classes) at the drawn locations, and auxiliary logits.

    ``auxiliary`` has pairs of logits (b, 1, li, lj, lk) and the window of the grid that they cover (None for all); each
    pair covers the next b volumes of the batch. It is empty where the network has none.
    """

    logits: Tensor
    auxiliary: tuple[tuple[Tensor, Window | None], ...] = ()


def training_logits(
    network: nn.Module, grids: Tensor, draws: Sequence[Draw], windows: Sequence[Window | None], box_voxels: int
) -> Answer:
    """One pass of a batch.

    Args:
        network: In training mode.
        grids: Normalised (b, channels, i, j, k), float32.
        draws: One a volume, all of equal size.
        windows: The part of each grid that the encoder sees, None for all.
        box_voxels: Edge of the draws' boxes.
    """
    indices = torch.stack([draw.indices for draw in draws]).to(grids.device)
    if isinstance(network, OSSNet):
        logits, auxiliary = _oss_net(network, grids, indices)
        return Answer(logits=logits, auxiliary=() if auxiliary is None else ((auxiliary, None),))
    if isinstance(network, OSSNetX):
        if any(windows) and len(draws) > 1:
            # Windows differ in size: volume by volume.
            parts = [
                _x(network, *given, box_voxels)
                for given in zip(grids.split(1), indices.split(1), draws, windows, strict=True)
            ]
            return Answer(
                logits=torch.cat([part.logits for part in parts]), auxiliary=tuple(p.auxiliary[0] for p in parts)
            )
        return _x(network, grids, indices, draws, windows[0], box_voxels)
    if isinstance(network, ResidualUNet) and network.config.dimensions == 2:
        return Answer(logits=_planes(network, grids, indices))
    boxes = [draw.boxes for draw in draws if draw.boxes is not None]
    if boxes:
        return Answer(logits=_dense_in_boxes(network, grids, indices, torch.stack(boxes), box_voxels))
    return Answer(logits=_dense(network, grids, indices))


def _x(
    network: OSSNetX,
    grids: Tensor,
    indices: Tensor,
    draws: Sequence[Draw] | Draw,
    window: Window | None,
    box_voxels: int,
) -> Answer:
    boxes = [draw.boxes for draw in ([draws] if isinstance(draws, Draw) else draws) if draw.boxes is not None]
    if boxes:
        corners = torch.stack(boxes).to(grids.device)
        inside = indices.float().unflatten(1, (corners.shape[1], -1))
        logits, auxiliary = network.forward_boxes(grids, corners, box_voxels, inside, window)
        return Answer(logits=logits, auxiliary=((auxiliary, window),))
    encoding = network.encode(grids, window)
    local = network.sample_local(network.local_features(grids), indices.float())
    return Answer(logits=network.decode(encoding, indices.float(), local), auxiliary=((encoding.auxiliary, window),))


def _oss_net(network: OSSNet, grids: Tensor, indices: Tensor) -> tuple[Tensor, Tensor | None]:
    config = network.config
    patches = None
    if config.has_local_patches:
        sampler = PatchSampler(grids, has_local=True, has_mid_range=config.has_mid_range_patches)
        patches = sampler.at_voxels(indices)
    logits, encoding = network(functional.avg_pool3d(grids, 2), indices.float(), patches)
    return logits, encoding.auxiliary


def _planes(network: ResidualUNet, grids: Tensor, indices: Tensor) -> Tensor:
    """A network of two dimensions on the planes that hold the locations, which must be all of these planes' voxels."""
    axis = network.config.slice_axis
    edges = [size for a, size in enumerate(grids.shape[2:]) if a != axis]
    chosen = indices[:, :: edges[0] * edges[1], axis]
    planes = torch.stack([grid.movedim(axis + 1, 0)[some] for grid, some in zip(grids, chosen, strict=True)])
    logits = network.plane_logits(planes.flatten(0, 1))
    return logits.unflatten(0, chosen.shape).movedim(2, -1).flatten(1, 3)


def _dense_in_boxes(network: Any, grids: Tensor, indices: Tensor, boxes: Tensor, edge: int) -> Tensor:
    """The network on the boxes (b, n, 3) alone, each as if it were a volume: a 3D U-Net trained by patches."""
    crops = [
        grid[:, i : i + edge, j : j + edge, k : k + edge]
        for grid, corners in zip(grids, boxes.tolist(), strict=True)
        for i, j, k in corners
    ]
    count = boxes.shape[1]
    inside = indices.unflatten(1, (count, -1)) - boxes[:, :, None].to(indices.device)
    return _dense(network, torch.stack(crops), inside.flatten(0, 1)).unflatten(0, (-1, count)).flatten(1, 2)


def _dense(network: Any, grids: Tensor, indices: Tensor) -> Tensor:
    """A network that answers on the whole grid, read at the locations."""
    logits = network(grids)
    flat = (indices[..., 0] * logits.shape[3] + indices[..., 1]) * logits.shape[4] + indices[..., 2]
    index = flat[:, None].expand(-1, logits.shape[1], -1)
    return logits.flatten(2).gather(2, index).transpose(1, 2)
