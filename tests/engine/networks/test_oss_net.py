"""The networks: sizes as published, halves that fit, statistics over everything together, forms that agree."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest
import torch

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.networks.decoder import ConditionalBatchNorm
from napari_ossnet.engine.networks.encoder import EncoderBlock
from napari_ossnet.engine.networks.oss_net import OSSNet, OSSNetConfig, use_published_form
from napari_ossnet.engine.networks.patch_encoder import PatchEncoder
from napari_ossnet.engine.networks.variants import VARIANTS, build_network, build_network_from_config
from napari_ossnet.engine.tasks import TASKS

#: Table of the spec.
PARAMETERS = {
    ("o-net", "brats"): 6_890_753,
    ("a", "brats"): 7_245_438,
    ("b", "brats"): 7_254_358,
    ("c", "brats"): 8_695_733,
    ("d", "brats"): 8_704_653,
    ("o-net", "lits"): 9_057_237,
    ("a", "lits"): 9_409_177,
    ("b", "lits"): 9_409_520,
    ("c", "lits"): 10_866_490,
    ("d", "lits"): 10_866_833,
}


@pytest.mark.parametrize(("variant", "task"), PARAMETERS)
def test_a_published_variant_has_the_published_number_of_parameters(variant: str, task: str) -> None:
    network = build_network(variant, TASKS[task])
    assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS[variant, task]


def test_a_task_with_several_classes_gets_a_logit_for_each_and_for_the_background() -> None:
    network = build_network("c", TASKS["hippocampus"])
    assert isinstance(network, OSSNet)
    assert network.config.classes == 3
    assert network.config.latent_grid == TASKS["hippocampus"].latent_grid
    logits, encoding = network(torch.randn(2, 1, 24, 32, 24), torch.rand(2, 5, 3), torch.randn(2, 5, 1, 7, 7, 7))
    assert logits.shape == (2, 5, 3)
    assert encoding.latent.shape == (2, 6, 6 * 8 * 6)
    assert encoding.auxiliary is not None
    assert encoding.auxiliary.shape == (2, 1, 6, 8, 6)


def test_an_unknown_variant_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(InputError, match="o-net, a, b, c, d"):
        build_network("e", TASKS["brats"])


def test_a_network_can_be_built_again_from_the_settings_that_it_carries(a_tiny_network: OSSNet, a_variant: str) -> None:
    again = build_network_from_config(a_variant, a_tiny_network.config.to_dict())
    assert isinstance(again, OSSNet)
    assert again.config == a_tiny_network.config
    again.load_state_dict(a_tiny_network.state_dict())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"grid_shape": (30, 16, 32)}, "multiple of 16"),
        ({"has_local_patches": False, "has_mid_range_patches": True}, "need local patches"),
        ({"decoder_blocks": 0}, "positive"),
    ],
)
def test_settings_that_no_network_can_have_are_refused(change: dict[str, object], message: str) -> None:
    sound = OSSNetConfig(
        in_channels=1,
        grid_shape=(32, 16, 32),
        encoder_channels=(4, 6, 8),
        has_local_patches=True,
        has_mid_range_patches=False,
        has_encoder_skips=True,
    )
    with pytest.raises(InputError, match=message):
        dataclasses.replace(sound, **change)


def test_an_unknown_or_missing_setting_is_an_error_and_never_swallowed() -> None:
    with pytest.raises(InputError, match="no setting output_feautres"):
        OSSNetConfig.from_dict({"output_feautres": 1})
    with pytest.raises(InputError, match="not complete"):
        OSSNetConfig.from_dict({"in_channels": 1})


def test_the_published_form_of_every_variant_computes_the_same(a_tiny_network: OSSNet) -> None:
    config = a_tiny_network.config
    generator = torch.Generator().manual_seed(4)
    volume = torch.randn(2, config.in_channels, *(size // 2 for size in config.grid_shape), generator=generator)
    locations = torch.rand(2, 9, 3, generator=generator) * 16
    patches = torch.randn(2, 9, config.patch_channels, 7, 7, 7, generator=generator) if config.patch_channels else None
    fast, _ = a_tiny_network(volume, locations, patches)
    use_published_form(a_tiny_network)
    published, _ = a_tiny_network(volume, locations, patches)
    torch.testing.assert_close(fast, published, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_the_patch_encoder_as_matrices_equals_its_convolutions_in_values_and_gradients(channels: int) -> None:
    encoder = PatchEncoder(channels)
    patches = torch.randn(6, channels, 7, 7, 7, requires_grad=True)
    leaves = [patches, *encoder.parameters()]
    fast = encoder(patches)
    encoder.is_published_form = True
    published = encoder(patches)
    torch.testing.assert_close(fast, published, atol=1e-5, rtol=1e-5)
    upstream = torch.randn_like(fast)
    for one, other in zip(
        torch.autograd.grad(fast, leaves, upstream), torch.autograd.grad(published, leaves, upstream), strict=True
    ):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)


def test_conditional_batch_norm_takes_its_statistics_over_volumes_locations_and_features_together() -> None:
    norm = ConditionalBatchNorm(latent_features=4, features=6)
    x = torch.randn(2, 50, 6) * torch.arange(1, 7) + torch.tensor([3.0, -5.0])[:, None, None]
    y = norm(x, torch.randn(2, 4))
    torch.testing.assert_close(y, (x - x.mean()) / torch.sqrt(x.var(correction=0) + 1e-5), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(norm.normalization.running_mean, 0.1 * x.mean()[None])
    torch.testing.assert_close(norm.normalization.running_var, 0.9 + 0.1 * x.var()[None])
    assert int(norm.normalization.num_batches_tracked) == 1


def test_in_evaluation_conditional_batch_norm_scales_by_gamma_and_not_by_one_plus_gamma() -> None:
    norm = ConditionalBatchNorm(latent_features=4, features=6).eval()
    with torch.no_grad():
        norm.linear_gamma.weight.normal_()
        norm.linear_beta.weight.normal_()
        norm.normalization.running_mean.fill_(0.7)
        norm.normalization.running_var.fill_(2.5)
    x, latent = torch.randn(3, 5, 6), torch.randn(3, 4)
    gamma, beta = norm.linear_gamma(latent)[:, None], norm.linear_beta(latent)[:, None]
    torch.testing.assert_close(norm(x, latent), gamma * (x - 0.7) / (2.5 + 1e-5) ** 0.5 + beta)


def test_the_shortcut_of_an_encoder_block_may_be_pooled_first() -> None:
    block = EncoderBlock(3, 5, 0.0).eval()
    volume = torch.randn(1, 3, 8, 6, 4)
    convolved_first = torch.nn.functional.avg_pool3d(block.residual_mapping(volume), 2)
    expected = block.final_activation(block.main_mapping(volume) + convolved_first)
    torch.testing.assert_close(block(volume), expected, atol=1e-6, rtol=1e-5)


def test_every_parameter_that_the_logits_depend_on_gets_a_gradient(a_tiny_network: OSSNet) -> None:
    config = a_tiny_network.config
    volume = torch.randn(2, config.in_channels, *(size // 2 for size in config.grid_shape))
    patches = torch.randn(2, 9, config.patch_channels, 7, 7, 7) if config.patch_channels else None
    logits, encoding = a_tiny_network.train()(volume, torch.rand(2, 9, 3), patches)
    loss = logits.square().sum()
    if encoding.auxiliary is not None:
        loss = loss + encoding.auxiliary.square().sum()
    loss.backward()
    without = [name for name, parameter in a_tiny_network.named_parameters() if parameter.grad is None]
    assert without == []


def test_the_table_of_variants_names_modules_with_both_functions() -> None:
    task = SimpleNamespace(grid_shape=(32, 32, 32), latent_grid=(4, 4, 4), modalities=[0], classes=[0, 0])
    for name in ("o-net", "a", "b", "c", "d"):
        assert VARIANTS[name].title
        assert build_network(name, task).config.classes == 3
