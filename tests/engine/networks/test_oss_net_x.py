from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as functional

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.networks.context_encoder import run_to_end
from napari_ossnet.engine.networks.oss_net_x import OSSNetX, network_from_config
from napari_ossnet.engine.networks.oss_net_x_config import XConfig
from napari_ossnet.engine.networks.trilinear import sample_trilinear

TINY = XConfig(
    in_channels=2,
    classes=3,
    local_scales=(1, 2),
    local_channels=((4, 4, 4), (6, 4)),
    stem_channels=(8,),
    level_channels=(8, 16),
    down_convolutions=(1, 1),
    up_convolutions=(1,),
    groups=4,
    decoder_width=16,
)


@pytest.fixture
def a_network() -> OSSNetX:
    torch.manual_seed(0)
    network = OSSNetX(TINY)
    for parameter in network.parameters():  # no layer may hide behind a start at zero
        torch.nn.init.normal_(parameter, std=0.3)
    return network.eval()


@pytest.fixture
def a_grid() -> torch.Tensor:
    return torch.randn(2, 2, 20, 16, 24, generator=torch.Generator().manual_seed(1))


def _locations(shape: tuple[int, ...], count: int) -> torch.Tensor:
    return torch.rand(2, count, 3, generator=torch.Generator().manual_seed(2)) * (torch.tensor(shape) - 1)


def test_a_sample_at_a_voxel_is_the_feature_of_that_voxel(a_grid: torch.Tensor) -> None:
    voxels = torch.tensor([[0, 0, 0], [19, 15, 23], [7, 3, 11]])
    sampled = sample_trilinear(a_grid, voxels.float().expand(2, -1, -1))
    expected = a_grid[:, :, voxels[:, 0], voxels[:, 1], voxels[:, 2]].transpose(1, 2)
    assert torch.equal(sampled, expected)


def test_samples_between_voxels_equal_grid_sample_inside_and_outside(a_grid: torch.Tensor) -> None:
    shape = torch.tensor(a_grid.shape[2:])
    locations = torch.rand(2, 300, 3, generator=torch.Generator().manual_seed(3)) * (shape + 4) - 2
    scaled = (2 * locations / (shape - 1) - 1).flip(-1)[:, :, None, None]
    expected = functional.grid_sample(a_grid, scaled, padding_mode="border", align_corners=True)
    sampled = sample_trilinear(a_grid, locations)
    assert torch.allclose(sampled, expected[..., 0, 0].transpose(1, 2), atol=1e-5)


def test_boxes_give_the_logits_of_the_dense_computation(a_network: OSSNetX, a_grid: torch.Tensor) -> None:
    corners = torch.tensor([[[0, 0, 0], [11, 7, 15], [3, 5, 9]], [[-2, -3, 0], [12, 9, 16], [6, 1, 4]]])
    size, extent = 9, torch.tensor(a_grid.shape[2:])
    inside = torch.rand(2, 3, 50, 3, generator=torch.Generator().manual_seed(4)) * (size - 1)
    locations = torch.minimum((corners[:, :, None] + inside).clamp(min=0), extent - 1.0)
    with torch.no_grad():
        dense, _ = a_network(a_grid, locations.flatten(1, 2))
        boxes, _ = a_network.forward_boxes(a_grid, corners, size, locations)
    assert torch.allclose(boxes, dense, atol=1e-5)
    assert dense.std() > 0.1


def test_a_window_over_the_whole_grid_changes_nothing(a_network: OSSNetX, a_grid: torch.Tensor) -> None:
    whole = a_network.encode(a_grid)
    windowed = a_network.encode(a_grid, ((0, 0, 0), (20, 16, 24)))
    assert all(torch.equal(one, other) for one, other in zip(whole.levels, windowed.levels, strict=True))


def test_the_levels_of_a_window_are_sampled_where_the_window_lies(a_network: OSSNetX, a_grid: torch.Tensor) -> None:
    encoding = a_network.encode(a_grid, ((4, 0, 8), (20, 16, 24)))
    alone = a_network.encode(a_grid[:, :, 4:, :, 8:])
    locations = _locations((16, 16, 16), 40)
    moved = a_network.sample_levels(encoding, locations + torch.tensor([4.0, 0.0, 8.0]))
    for one, other in zip(moved, a_network.sample_levels(alone, locations), strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_the_stem_in_slabs_equals_the_stem_at_once(
    a_network: OSSNetX, a_grid: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_ossnet.engine.networks.context_encoder.SLAB_VOXELS", 16 * 24 * 4)
    with torch.no_grad():
        slabs = run_to_end(a_network.encoder.fold(a_grid))
    assert torch.allclose(slabs, a_network.encoder.stem(a_grid), atol=1e-6)


def test_a_decoder_folded_for_one_volume_equals_the_plain_one(a_network: OSSNetX, a_grid: torch.Tensor) -> None:
    features = torch.randn(1, 30, a_network.decoder.first.in_features)
    context = a_network.encode(a_grid[:1]).context
    with torch.no_grad():
        expected = a_network.decoder(features, context)
        folded = a_network.decoder.folded(context[0])(features, None)
    assert torch.allclose(folded, expected, atol=1e-4)


@pytest.mark.parametrize(
    "changes",
    [
        {"local_scales": (), "local_channels": ()},
        {"sampled_levels": 0},
        {"context": "input"},
        {"context": "none"},
        {"has_coordinates": False},
        {"activation": "pade"},
        {"activation": "leaky-relu", "classes": 1},
    ],
)
def test_every_setting_of_an_ablation_trains_all_of_its_parameters(a_grid: torch.Tensor, changes: dict) -> None:
    network = OSSNetX(dataclasses.replace(TINY, **changes))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    logits, auxiliary = network(a_grid, _locations((20, 16, 24), 60))
    (logits.square().mean() + auxiliary.square().mean()).backward()
    unused = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    if not network.config.sampled_levels:
        # Of the way back up nothing is looked at then.
        unused = [name for name in unused if not name.startswith(("encoder.up", "encoder.project", "encoder.closing"))]
    assert not unused
    assert logits.shape == (2, 60, network.config.classes)


def test_a_network_is_rebuilt_from_its_settings_and_state(a_network: OSSNetX, a_grid: torch.Tensor) -> None:
    other = network_from_config(a_network.config.to_dict()).eval()
    other.load_state_dict(a_network.state_dict())
    locations = _locations((20, 16, 24), 10)
    assert torch.equal(other(a_grid, locations)[0], a_network(a_grid, locations)[0])


def test_settings_that_cannot_be_built_are_all_listed() -> None:
    with pytest.raises(InputError, match=r"levels need.*stem.*activation"):
        XConfig(in_channels=1, level_channels=(16, 32), stem_channels=(8,), activation="tanh")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no setting wdth"):
        XConfig.from_dict({"in_channels": 1, "wdth": 3})


@pytest.mark.parametrize(
    "changes",
    [
        {"groups": 0},
        {"groups": -8},
        {"local_channels": [[0]]},
        {"local_channels": [16]},
        {"local_scales": [0]},
        {"local_scales": [-1]},
        {"local_scales": 1},
        {"decoder_width": 0},
        {"decoder_blocks": -1},
        {"classes": 0},
        {"stem_channels": [32.0]},
    ],
)
def test_numbers_that_no_network_can_have_are_named(changes: dict) -> None:
    (name,) = changes
    with pytest.raises(InputError, match=f"can't be built.*({name}|a list is missing)"):
        XConfig.from_dict({"in_channels": 1, **changes})


def test_an_untrained_network_answers_near_one_half_everywhere(a_grid: torch.Tensor) -> None:
    torch.manual_seed(0)
    logits, _ = OSSNetX(dataclasses.replace(TINY, classes=1))(a_grid, _locations((20, 16, 24), 100))
    assert logits.abs().max() < 3
