from __future__ import annotations

import dataclasses
import itertools
from types import SimpleNamespace

import pytest
import torch

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.fields.dense import OVERLAP, build, tile_boxes, tile_size
from napari_ossnet.engine.networks.context_encoder import run_to_end
from napari_ossnet.engine.networks.residual_u_net import ResidualUNet, UNetConfig

SHAPE = (72, 40, 24)


@pytest.fixture
def a_grid() -> torch.Tensor:
    return torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(0))


def _network(dimensions: int) -> ResidualUNet:
    torch.manual_seed(0)
    shape = {"encoder_channels": (4, 8), "decoder_channels": (4,), "groups": 4}
    return ResidualUNet(UNetConfig(in_channels=1, dimensions=dimensions, **shape)).eval()


def _voxels(count: int) -> torch.Tensor:
    draws = torch.rand(count, 3, generator=torch.Generator().manual_seed(1))
    return (draws * torch.tensor(SHAPE)).long()


def _built(network: ResidualUNet, grid: torch.Tensor, memory_bytes: int | None) -> torch.Tensor:
    prepared = SimpleNamespace(grid=grid.numpy())
    field = run_to_end(build(network, prepared, device=torch.device("cpu"), memory_bytes=memory_bytes))
    return field.query(_voxels(500).float())


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_field_answers_at_voxels_what_the_network_gives(a_grid: torch.Tensor, dimensions: int) -> None:
    network = _network(dimensions)
    i, j, k = _voxels(500).T
    with torch.no_grad():
        expected = network(a_grid[None])[0][:, i, j, k].T
    assert torch.allclose(_built(network, a_grid, None), expected, atol=1e-5)


def test_slices_a_few_at_a_time_equal_all_at_once(a_grid: torch.Tensor) -> None:
    network = _network(2)
    few = _built(network, a_grid, 3 * SHAPE[0] * SHAPE[1] * network.bytes_per_voxel())
    assert torch.allclose(few, _built(network, a_grid, None), atol=1e-5)


def test_a_small_budget_is_met_by_tiles_that_nearly_agree_with_the_whole(a_grid: torch.Tensor) -> None:
    network = _network(3)
    whole = _built(network, a_grid, None)
    tiled = _built(network, a_grid, SHAPE[0] * SHAPE[1] * SHAPE[2] * network.bytes_per_voxel() * 3 // 4)
    assert not torch.equal(tiled, whole)
    assert (tiled - whole).abs().mean() < 0.1 * whole.std()


def test_a_network_that_was_trained_by_tiles_sees_tiles_of_that_size_alone(a_grid: torch.Tensor) -> None:
    network = _network(3)
    tiled = ResidualUNet(dataclasses.replace(network.config, tile_edge=32)).eval()
    tiled.load_state_dict(network.state_dict())
    sizes = []
    tiled.down[0].register_forward_hook(lambda _, given, __: sizes.append(given[0].shape[2:]))
    prepared = SimpleNamespace(grid=a_grid.numpy())
    field = run_to_end(build(tiled, prepared, device=torch.device("cpu"), memory_bytes=None))
    assert {max(size) for size in sizes} == {32}
    # A voxel of the first tile alone: the norms saw what that tile holds.
    corner = a_grid[None, :, :32, :32, :24]
    with torch.no_grad():
        expected = network(corner)[0, :, 5, 4, 3]
    assert torch.allclose(field.query(torch.tensor([[5.0, 4.0, 3.0]]))[0], expected, atol=1e-5)


@pytest.mark.parametrize("extent", [51, 43, 40, 17])
def test_the_smallest_tiles_of_a_network_leave_no_gap(extent: int) -> None:
    """Four levels, so tiles begin at multiples of 8 and may be as small as 16."""
    torch.manual_seed(0)
    shape = {"encoder_channels": (4, 4, 4, 4), "decoder_channels": (4, 4, 4), "groups": 4, "tile_edge": 16}
    network = ResidualUNet(UNetConfig(in_channels=1, **shape)).eval()
    prepared = SimpleNamespace(grid=torch.randn(1, extent, 16, 16).numpy())
    field = run_to_end(build(network, prepared, device=torch.device("cpu"), memory_bytes=None))
    line = torch.tensor([[float(i), 3.0, 3.0] for i in range(extent)])
    assert torch.isfinite(field.query(line)).all()


def test_progress_comes_for_every_tile_and_grows(a_grid: torch.Tensor) -> None:
    prepared = SimpleNamespace(grid=a_grid.numpy())
    events = list(build(_network(3), prepared, device=torch.device("cpu"), memory_bytes=2**20))
    assert len(events) > 6
    assert events[-1].remaining_s == 0


@pytest.mark.parametrize("voxels", [10**9, 200_000, 60_000, 1])
def test_tiles_cover_the_grid_and_overlap(voxels: int) -> None:
    shape = (150, 96, 64)
    boxes = tile_boxes(shape, tile_size(shape, voxels, 8), OVERLAP, 8)
    seen = torch.zeros(shape, dtype=torch.int)
    for (i, i_stop), (j, j_stop), (k, k_stop) in boxes:
        seen[i:i_stop, j:j_stop, k:k_stop] += 1
        assert i % 8 == 0 or i_stop == shape[0]
    assert seen.min() == 1
    assert (len(boxes) == 1) == (voxels == 10**9)
    starts = sorted({box[0] for box in boxes})
    assert all(first[1] - second[0] >= OVERLAP - 8 for first, second in itertools.pairwise(starts))


def test_a_scan_with_other_channels_is_refused(a_grid: torch.Tensor) -> None:
    prepared = SimpleNamespace(grid=a_grid.repeat(2, 1, 1, 1).numpy())
    with pytest.raises(InputError, match="2 channels, expected 1"):
        next(build(_network(3), prepared, device=torch.device("cpu"), memory_bytes=None))
