from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from napari_ossnet.engine.completion import complete
from napari_ossnet.engine.errors import InputError, OutOfMemoryError
from napari_ossnet.engine.fields import local_features
from napari_ossnet.engine.fields.local_features import BLOCK, LocalFeatures
from napari_ossnet.engine.fields.memory_budget import required_bytes_of_x
from napari_ossnet.engine.fields.oss_net_x import XField, build
from napari_ossnet.engine.fields.protocol import OccupancyField
from napari_ossnet.engine.kernels.compilation import SWITCH
from napari_ossnet.engine.networks import context_encoder
from napari_ossnet.engine.networks.context_encoder import run_to_end
from napari_ossnet.engine.networks.oss_net_x import OSSNetX
from napari_ossnet.engine.networks.oss_net_x_config import XConfig
from napari_ossnet.engine.scans.encoding_window import encoding_window
from napari_ossnet.engine.tasks import get_task, prepare
from napari_ossnet.engine.volume import Volume

CONFIG = XConfig(
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
SHAPE = (36, 28, 44)


@pytest.fixture(params=["compiled", "torch"])
def a_way_of_gathering(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "compiled":
        pytest.importorskip("numba")
    monkeypatch.setenv(SWITCH, str(int(request.param == "compiled")))


@pytest.fixture
def a_network() -> OSSNetX:
    torch.manual_seed(0)
    network = OSSNetX(CONFIG)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network.eval()


@pytest.fixture
def a_grid() -> torch.Tensor:
    return torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(1))


def _field(network: OSSNetX, grid: torch.Tensor, feature_bytes: int = 2**26) -> XField:
    with torch.no_grad():
        return XField(network, grid, network.encode(grid[None]), feature_bytes)


def _locations(count: int, margin: float = 0.0) -> torch.Tensor:
    draws = torch.rand(count, 3, generator=torch.Generator().manual_seed(2))
    return draws * (torch.tensor(SHAPE) - 1 + 2 * margin) - margin


def _dense(network: OSSNetX, grid: torch.Tensor, locations: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return network(grid[None], locations[None])[0][0]


@pytest.mark.usefixtures("a_way_of_gathering")
@pytest.mark.parametrize("count", [1, 30, 5000])
def test_lazy_features_give_the_logits_of_the_dense_computation(
    a_network: OSSNetX, a_grid: torch.Tensor, count: int
) -> None:
    locations = _locations(count, margin=2.0)
    logits = _field(a_network, a_grid).query(locations)
    assert torch.allclose(logits, _dense(a_network, a_grid, locations), atol=1e-4)


def test_voxels_are_answered_like_locations_between_them(a_network: OSSNetX, a_grid: torch.Tensor) -> None:
    voxels = _locations(40).round()
    logits = _field(a_network, a_grid).query(voxels)
    assert torch.allclose(logits, _dense(a_network, a_grid, voxels), atol=1e-4)


def test_answers_stay_the_same_while_blocks_give_way_to_others(a_network: OSSNetX, a_grid: torch.Tensor) -> None:
    locations = _locations(4000)
    field = _field(a_network, a_grid, feature_bytes=1)
    expected = _dense(a_network, a_grid, locations)
    for _ in range(2):
        for chunk, wanted in zip(locations.split(1000), expected.split(1000), strict=True):
            assert torch.allclose(field.query(chunk), wanted, atol=1e-4)
    finest = field.local[0]
    assert finest.capacity < len(finest._slots)
    assert finest.computed_blocks > 2 * finest.capacity
    assert len(finest._pool) == finest.capacity * finest.edge**3


@pytest.mark.parametrize("feature_bytes", [1, 2**26])
@pytest.mark.parametrize("fails_at", [1, 2, 3])
def test_blocks_that_memory_ran_out_for_are_computed_when_they_are_asked_again(
    a_network: OSSNetX, a_grid: torch.Tensor, monkeypatch: pytest.MonkeyPatch, fails_at: int, feature_bytes: int
) -> None:
    locations = _locations(4000)
    field = _field(a_network, a_grid, feature_bytes=feature_bytes)
    expected = _dense(a_network, a_grid, locations)
    assert torch.allclose(field.query(locations[:1000]), expected[:1000], atol=1e-4)
    # One block at a time, so that some of those asked are there when the memory is gone.
    monkeypatch.setattr(field.local[0], "_voxels_at_once", 1)
    calls = 0
    convolved = field.local[0]._convolved

    def failing(firsts: torch.Tensor, count: int) -> torch.Tensor:
        nonlocal calls
        calls += count > 2
        if count > 2 and calls == fails_at:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return convolved(firsts, count)

    monkeypatch.setattr(field.local[0], "_convolved", failing)
    for start in range(1000, 4000, 500):
        for _ in range(2):
            try:
                logits = field.query(locations[start : start + 500])
                break
            except torch.cuda.OutOfMemoryError:
                continue
        assert torch.allclose(logits, expected[start : start + 500], atol=1e-4)
    assert calls > fails_at


def test_only_blocks_that_many_locations_fall_into_are_computed(a_network: OSSNetX, a_grid: torch.Tensor) -> None:
    features = LocalFeatures(a_network.branches[0], a_grid, 2**26)
    inside_one = torch.rand(100, 3) * (BLOCK - 1) + BLOCK
    with torch.no_grad():
        features.sample(torch.cat([inside_one, torch.tensor([[30.2, 20.5, 40.1]])]))
    assert features.computed_blocks == 1
    assert features.computed_windows == 1


def test_a_block_that_is_asked_again_and_again_is_computed_once(a_network: OSSNetX, a_grid: torch.Tensor) -> None:
    features = LocalFeatures(a_network.branches[0], a_grid, 2**26)
    with torch.no_grad():
        for _ in range(20):
            features.sample(torch.rand(4, 3) * (BLOCK - 1))
    assert features.computed_blocks == 1
    assert features.computed_windows < features.locations_a_block(is_between=True)


@pytest.mark.usefixtures("a_way_of_gathering")
def test_a_window_that_leaves_the_grid_is_zero_outside(a_grid: torch.Tensor) -> None:
    windows = local_features.gather_windows(a_grid, torch.tensor([[-2, 0, 0], [3, 4, 5], [50, 0, 0]]), 6)
    assert windows.shape == (4, 2, 6, 6, 6)
    assert torch.equal(windows[0, :, 2:], a_grid[:, :4, :6, :6])
    assert torch.equal(windows[1], a_grid[:, 3:9, 4:10, 5:11])
    assert not windows[0, :, :2].any()
    assert not windows[2:].any()


def test_the_prior_holds_wherever_a_cell_within_half_a_cell_is_occupied(
    a_network: OSSNetX, a_grid: torch.Tensor
) -> None:
    field = _field(a_network, a_grid)
    field._probability = torch.zeros_like(field._probability)
    field._probability[2, 1, 1] = 0.9  # cells of 4 voxels: it covers [8, 12) x [4, 8) x [4, 8)
    inside, beside, far = [9.5, 5.5, 5.5], [7.0, 5.5, 5.5], [3.0, 5.5, 5.5]
    assert field.prior(torch.tensor([inside, beside, far])).tolist() == [True, True, False]


def _as_prepared(grid: np.ndarray) -> SimpleNamespace:
    return SimpleNamespace(voxels=grid, grid=grid, grid_shape=grid.shape, box_start=(0, 0, 0), box_stop=grid.shape[1:])


def test_a_field_is_built_from_a_prepared_scan_with_progress(a_network: OSSNetX, a_grid: torch.Tensor) -> None:
    prepared = _as_prepared(a_grid.numpy())
    steps = build(a_network, prepared, device=torch.device("cpu"), memory_bytes=None)
    assert next(steps).stage == "encoding"
    field = run_to_end(steps)  # type: ignore[arg-type]
    assert isinstance(field, OccupancyField)
    locations = _locations(50)
    assert torch.allclose(field.query(locations), _dense(a_network, a_grid, locations), atol=1e-4)
    assert field.query(locations[:0]).shape == (0, 3)


@pytest.mark.parametrize("shape", [(37, 29, 43), (5, 30, 9)])
def test_a_grid_that_no_cell_of_the_encoder_divides_is_answered_like_densely(
    a_network: OSSNetX, shape: tuple[int, int, int]
) -> None:
    grid = torch.randn(2, *shape, generator=torch.Generator().manual_seed(5))
    locations = torch.rand(800, 3, generator=torch.Generator().manual_seed(6)) * (torch.tensor(shape) + 3) - 2
    assert torch.allclose(_field(a_network, grid).query(locations), _dense(a_network, grid, locations), atol=1e-4)


def test_an_encoder_that_sees_the_anatomy_alone_answers_like_densely(a_grid: torch.Tensor) -> None:
    torch.manual_seed(0)
    network = OSSNetX(replace(CONFIG, encodes_foreground=True)).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    start, stop = (9, 3, 17), (30, 25, 40)
    grid = torch.zeros_like(a_grid)
    inside = tuple(slice(first, last) for first, last in zip(start, stop, strict=True))
    grid[(slice(None), *inside)] = a_grid[(slice(None), *inside)]
    prepared = _as_prepared(grid.numpy())
    prepared.box_start, prepared.box_stop = start, stop
    locations = _locations(800, margin=2.0)

    field = complete(build(network, prepared, device=torch.device("cpu"), memory_bytes=None))

    window = encoding_window(prepared.grid, start, stop, network.encoder.factor)
    assert window[0] != (0, 0, 0)
    with torch.no_grad():
        encoding = network.encode(grid[None], window)
        local = network.sample_local(network.local_features(grid[None]), locations[None])
        expected = network.decode(encoding, locations[None], local)[0]
    assert torch.allclose(field.query(locations), expected, atol=1e-4)


def test_what_a_budget_leaves_is_what_features_may_take(a_network: OSSNetX, a_grid: torch.Tensor) -> None:
    prepared = _as_prepared(a_grid.numpy())
    needed = required_bytes_of_x(a_network.config, SHAPE, a_grid.numel() * 4)
    cpu = torch.device("cpu")

    with pytest.raises(OutOfMemoryError, match=r"takes about .* --memory allows 1.0 MiB"):
        complete(build(a_network, prepared, device=cpu, memory_bytes=2**20))
    tight = complete(build(a_network, prepared, device=cpu, memory_bytes=needed))
    roomy = complete(build(a_network, prepared, device=cpu, memory_bytes=2 * needed))

    assert tight.local[0].capacity == local_features.LEAST_CAPACITY < roomy.local[0].capacity
    locations = _locations(4000)
    assert torch.allclose(tight.query(locations), roomy.query(locations), atol=1e-4)


def test_a_scan_with_other_channels_is_refused(a_network: OSSNetX) -> None:
    prepared = _as_prepared(np.zeros((1, 8, 8, 8), dtype=np.float32))
    with pytest.raises(InputError, match="1 channels, expected 2"):
        next(build(a_network, prepared, device=torch.device("cpu"), memory_bytes=None))


def test_a_scan_that_is_its_own_grid_is_read_where_it_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stored with flipped and swapped axes: the field reads it in parts and answers as from a grid of its own."""
    pytest.importorskip("numba")
    task = replace(get_task("lits"), grid_shape=(64, 48, 32), latent_grid=(4, 3, 2))
    torch.manual_seed(0)
    network = OSSNetX(replace(CONFIG, in_channels=1)).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    stored = np.random.default_rng(4).normal(300, 50, (1, 32, 64, 48)).astype(np.float32)
    affine = np.array([[0.0, -1, 0, 0], [0, 0, 1, 0], [-1, 0, 0, 0], [0, 0, 0, 1]])
    scan = Volume(data=stored, affine=affine, channel_names=("ct",))
    monkeypatch.setattr(context_encoder, "SLAB_VOXELS", 16 * 48 * 32)
    locations = torch.rand(3000, 3, generator=torch.Generator().manual_seed(3)) * torch.tensor([68.0, 52, 36]) - 2
    prepared = prepare(task, scan)
    shared = complete(build(network, prepared, device=torch.device("cpu"), memory_bytes=None))
    assert "grid" not in vars(prepared), "a copy of the whole scan was made"
    assert shared.local[0].grid is prepared.voxels
    monkeypatch.setenv(SWITCH, "0")
    own = complete(build(network, prepare(task, scan), device=torch.device("cpu"), memory_bytes=None))
    assert isinstance(own.local[0].grid, torch.Tensor)
    assert torch.allclose(shared.query(locations), own.query(locations), atol=1e-4)
