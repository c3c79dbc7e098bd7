"""What a user would take instead: dense networks on the same scan and CPU."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import torch
from torch import Tensor, nn

from napari_ossnet.engine.networks.variants import build_network
from napari_ossnet.engine.tasks import PreparedVolume

Peer = tuple[nn.Module, Callable[[], Tensor]]

#: The usual window and overlap of MONAI's sliding-window inference.
WINDOW = (128, 128, 128)
OVERLAP = 0.25

TITLES = {
    "unet-3d": "3D residual U-Net of the paper, dense",
    "monai": "MONAI sliding window, U-Net of as many parameters",
}


def is_available(peer: str) -> bool:
    """Whether what the peer needs is installed."""
    return peer != "monai" or importlib.util.find_spec("monai") is not None


def dense_u_net(prepared: PreparedVolume, parameters: int) -> Peer:
    """The paper's 3D residual U-Net over the whole grid at once, fresh weights; its size is the paper's."""
    del parameters
    network = build_network("unet-3d", prepared.task).eval()
    grid = torch.from_numpy(prepared.grid)[None]

    @torch.no_grad()
    def predict() -> Tensor:
        logits: Tensor = network(grid)
        return logits[0, 0] > 0

    return network, predict


def monai_sliding_window(prepared: PreparedVolume, parameters: int) -> Peer:
    """MONAI's residual U-Net, as wide as gives about so many parameters, by its sliding-window inference."""
    from monai.inferers import sliding_window_inference

    network = monai_u_net(prepared.grid.shape[0], parameters).eval()
    grid = torch.from_numpy(prepared.grid)[None]

    @torch.no_grad()
    def predict() -> Tensor:
        logits: Tensor = sliding_window_inference(grid, WINDOW, 1, network, overlap=OVERLAP)
        return logits[0, 0] > 0

    return network, predict


def monai_u_net(in_channels: int, parameters: int) -> nn.Module:
    """The residual U-Net of five levels, each twice as wide as the one before, nearest to a number of parameters."""
    from monai.networks.nets import UNet

    def of_width(width: int) -> nn.Module:
        network: nn.Module = UNet(
            spatial_dims=3,
            in_channels=in_channels,
            out_channels=1,
            channels=tuple(width << level for level in range(5)),
            strides=(2, 2, 2, 2),
            num_res_units=2,
        )
        return network

    # The number of parameters grows with the square of the width.
    probe = sum(weight.numel() for weight in of_width(8).parameters())
    return of_width(max(1, round(8 * (parameters / probe) ** 0.5)))


PEERS: dict[str, Callable[[PreparedVolume, int], Peer]] = {"unet-3d": dense_u_net, "monai": monai_sliding_window}
