"""A scan and its mirror image, both asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from napari_ossnet.engine.checkpoints import save_weights
from napari_ossnet.engine.completion import complete
from napari_ossnet.engine.encoded_scan import encode_scan
from napari_ossnet.engine.fields.build import build_field
from napari_ossnet.engine.fields.mirrored import (
    MirroredField,
    build_mirrored_field,
    left_right_axis,
    mirror_image,
)
from napari_ossnet.engine.model_card import ModelCard
from napari_ossnet.engine.networks.oss_net_x import OSSNetX
from napari_ossnet.engine.networks.variants import build_network, config_for_task
from napari_ossnet.engine.session import SegmentRequest
from napari_ossnet.engine.tasks import PreparedVolume, get_task, prepare
from napari_ossnet.engine.volume import Volume

CPU = torch.device("cpu")


@pytest.fixture(params=["x", "c"])
def a_network(request: pytest.FixtureRequest) -> torch.nn.Module:
    torch.manual_seed(0)
    network = build_network(request.param, get_task("hippocampus"))
    if request.param == "x":
        # Fresh residual blocks of X end in zeros.
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
    return network.eval()


@pytest.fixture
def a_scan() -> PreparedVolume:
    data = np.random.default_rng(0).normal(size=(1, 36, 50, 38)).astype(np.float32)
    volume = Volume(data=data, affine=np.diag([-1.0, 1.0, 1.0, 1.0]), channel_names=("mr",))
    return prepare(get_task("hippocampus"), volume)


@pytest.fixture
def locations(a_scan: PreparedVolume) -> torch.Tensor:
    draws = torch.rand(200, 3, generator=torch.Generator().manual_seed(1))
    return draws * (torch.tensor(a_scan.grid.shape[1:]) - 1)


def flipped(locations: torch.Tensor, a_scan: PreparedVolume) -> torch.Tensor:
    return torch.cat([a_scan.grid.shape[1] - 1 - locations[:, :1], locations[:, 1:]], dim=1)


def test_the_answer_is_the_mean_of_both(
    a_network: torch.nn.Module, a_scan: PreparedVolume, locations: torch.Tensor
) -> None:
    both = complete(build_mirrored_field(a_network, a_scan, device=CPU, memory_bytes=None))
    one = complete(build_field(a_network, a_scan, device=CPU)).query(locations)
    other = complete(build_field(a_network, mirror_image(a_scan, 0), device=CPU)).query(flipped(locations, a_scan))
    assert (one - other).abs().max() > 0.01, "an asymmetric network, or nothing is tested"
    torch.testing.assert_close(both.query(locations), (one + other) / 2, atol=1e-5, rtol=0)


def test_a_mirrored_scan_gets_the_mirrored_answer(
    a_network: torch.nn.Module, a_scan: PreparedVolume, locations: torch.Tensor
) -> None:
    both = complete(build_mirrored_field(a_network, a_scan, device=CPU, memory_bytes=2**29))
    mirrored = complete(build_mirrored_field(a_network, mirror_image(a_scan, 0), device=CPU, memory_bytes=2**29))
    there = flipped(locations, a_scan)
    torch.testing.assert_close(both.query(locations), mirrored.query(there), atol=1e-4, rtol=0)
    found, expected = both.prior(locations), mirrored.prior(there)
    assert (found is None) == (expected is None)
    assert found is None or torch.equal(found, expected)


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_request_decides_whether_the_mirror_image_is_asked(
    a_network: torch.nn.Module, a_scan: PreparedVolume, tmp_path: Path, mirrored: bool
) -> None:
    task, variant = get_task("hippocampus"), "x" if isinstance(a_network, OSSNetX) else "c"
    card = ModelCard(
        name="some", title="Some", task=task, variant=variant, network_config=config_for_task(variant, task)
    )
    save_weights(tmp_path / "some.safetensors", a_network, card)
    request = SegmentRequest(
        volume=a_scan.volume, task=task.name, weights=tmp_path / "some.safetensors", device="cpu", mirrored=mirrored
    )
    encoded = complete(encode_scan(request, None))
    assert isinstance(encoded.field, MirroredField) == mirrored


def test_mirroring_twice_changes_nothing(a_scan: PreparedVolume) -> None:
    for axis in range(3):
        back = mirror_image(mirror_image(a_scan, axis), axis)
        np.testing.assert_array_equal(back.grid, a_scan.grid)
        assert (back.box_start, back.box_stop) == (a_scan.box_start, a_scan.box_stop)


@pytest.mark.parametrize("task", ["brats", "lits", "hippocampus"])
def test_the_axis_runs_from_side_to_side(task: str) -> None:
    definition = get_task(task)
    assert definition.axes[left_right_axis(definition)] in "LR"
