from __future__ import annotations

import pytest
import torch

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.networks.residual_u_net import ResidualUNet, UNetConfig, config_for_task, network_from_config
from napari_ossnet.engine.tasks import get_task

TINY = {"in_channels": 2, "classes": 3, "encoder_channels": (4, 8, 8), "decoder_channels": (8, 4), "groups": 4}


@pytest.fixture
def a_grid() -> torch.Tensor:
    return torch.randn(2, 2, 13, 16, 10, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("settings", [{}, {"dimensions": 2, "slice_axis": 0}, {"dimensions": 2, "slice_axis": 2}])
def test_every_voxel_gets_logits_and_every_parameter_a_gradient(a_grid: torch.Tensor, settings: dict) -> None:
    network = ResidualUNet(UNetConfig(**TINY, **settings))
    logits = network(a_grid)
    assert logits.shape == (2, 3, 13, 16, 10)
    logits.square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in network.parameters())


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_do_not_see_each_other(a_grid: torch.Tensor, axis: int) -> None:
    network = ResidualUNet(UNetConfig(**TINY, dimensions=2, slice_axis=axis)).eval()
    changed = a_grid.clone()
    changed.select(axis + 2, 4).add_(1.0)
    with torch.no_grad():
        difference = (network(changed) - network(a_grid)).abs().amax(dim=(0, 1)).movedim(axis, 0).flatten(1).amax(1)
    assert difference[4] > 1e-3
    assert difference[:4].max() < 1e-6
    assert difference[5:].max() < 1e-6


def test_a_batch_is_answered_like_its_volumes_one_by_one(a_grid: torch.Tensor) -> None:
    network = ResidualUNet(UNetConfig(**TINY)).eval()
    with torch.no_grad():
        alone = torch.cat([network(a_grid[:1]), network(a_grid[1:])])
        assert torch.allclose(network(a_grid), alone, atol=1e-5)


@pytest.mark.parametrize("variant", ["unet-3d", "unet-2d"])
def test_settings_of_a_task_build_a_network_of_the_papers_widths(variant: str) -> None:
    config = config_for_task(variant, get_task("hippocampus"))
    network = network_from_config(config)
    assert network.config.classes == 3
    assert network.config.encoder_channels[-1] == (384 if variant == "unet-3d" else 640)
    assert network.config.to_dict() == config


def test_settings_that_do_not_fit_are_all_named() -> None:
    with pytest.raises(InputError, match=r"one level less.*multiple of 8"):
        UNetConfig(in_channels=1, encoder_channels=(8, 12), decoder_channels=(8, 8))
    with pytest.raises(InputError, match="no setting depth"):
        UNetConfig.from_dict({"in_channels": 1, "depth": 3})
