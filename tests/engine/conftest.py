"""Networks small enough to be built in milliseconds, filled so that every part of them matters."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from napari_ossnet.engine.networks.oss_net import FEATURES, OSSNet, OSSNetConfig

TINY_GRID = (32, 16, 32)


def fill_with_life(network: nn.Module, seed: int = 0) -> None:
    """Draw every tensor anew, so that no fresh zero or one hides a mistake."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2.0, generator=generator)
        elif name.endswith("weight_denominator"):
            tensor.add_(torch.randn(tensor.shape, generator=generator), alpha=0.3)
        elif name.endswith("weight_numerator"):
            tensor.mul_(1 + 0.05 * torch.randn(tensor.shape, generator=generator))
        elif tensor.is_floating_point():
            fan = max(tensor[0].numel(), 1) if tensor.ndim > 1 else 1
            drawn = torch.randn(tensor.shape, generator=generator)
            tensor.copy_(drawn / fan**0.5 if tensor.ndim > 1 else 0.1 * drawn + float(name.endswith("norm.weight")))


def make_tiny_config(variant: str, classes: int = 1, decoder_features: int = 24) -> OSSNetConfig:
    has_local, has_mid_range, has_skips = FEATURES[variant]
    return OSSNetConfig(
        in_channels=2,
        grid_shape=TINY_GRID,
        encoder_channels=(4, 6, 8),
        has_local_patches=has_local,
        has_mid_range_patches=has_mid_range,
        has_encoder_skips=has_skips,
        classes=classes,
        decoder_features=decoder_features,
        decoder_blocks=3,
    )


@pytest.fixture(params=list(FEATURES))
def a_variant(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def a_tiny_network(a_variant: str) -> OSSNet:
    network = OSSNet(make_tiny_config(a_variant, classes=3))
    fill_with_life(network)
    return network.eval()


@pytest.fixture
def a_tiny_grid() -> torch.Tensor:
    """(channels, i, j, k) float32."""
    return torch.randn(2, *TINY_GRID, generator=torch.Generator().manual_seed(5))


class TinyPrepared:
    """As much of a prepared scan as building a field asks for."""

    def __init__(self, grid: np.ndarray) -> None:
        self.grid = grid

    def encoder_input(self) -> np.ndarray:
        return torch.nn.functional.avg_pool3d(torch.from_numpy(self.grid)[None], 2)[0].numpy()


@pytest.fixture
def a_tiny_scan(a_tiny_grid: torch.Tensor) -> TinyPrepared:
    return TinyPrepared(a_tiny_grid.numpy())


@pytest.fixture(params=["1", "0"])
def with_and_without_compiled_kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "1":
        pytest.importorskip("numba")
    monkeypatch.setenv("OSSNET_COMPILED", request.param)
