"""The folded field against the plain network, for every variant, at voxels, between them and outside the grid."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from napari_ossnet.engine.errors import InputError, OutOfMemoryError
from napari_ossnet.engine.events import Progress
from napari_ossnet.engine.fields import compiled_query, oss_net_build, slab_encoder
from napari_ossnet.engine.fields.build import FIELD_BUILDERS, build_field
from napari_ossnet.engine.fields.compiled_query import CompiledQuery
from napari_ossnet.engine.fields.folding import fold_decoder
from napari_ossnet.engine.fields.oss_net import OSSNetField
from napari_ossnet.engine.fields.protocol import OccupancyField
from napari_ossnet.engine.fields.slab_encoder import encode_in_slabs
from napari_ossnet.engine.fields.torch_query import TorchQuery
from napari_ossnet.engine.kernels.compilation import is_compiled
from napari_ossnet.engine.networks.oss_net import FEATURES, OSSNet, OSSNetConfig, use_published_form
from napari_ossnet.engine.networks.variants import build_network
from napari_ossnet.engine.patches import PatchSampler
from napari_ossnet.engine.tasks import TASKS

CPU = torch.device("cpu")


def returned(steps: Generator[Any, None, Any]) -> Any:
    """What a generator returns when it has run to its end."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


def field_of(network: OSSNet, scan: Any, **options: Any) -> OSSNetField:
    return returned(oss_net_build.build(network, scan, device=CPU, memory_bytes=None, **options))


def plain_logits(network: OSSNet, scan: Any, locations: torch.Tensor) -> torch.Tensor:
    """The network as published, at any locations."""
    config = network.config
    use_published_form(network)
    patches = None
    if config.patch_channels:
        grid = torch.from_numpy(scan.grid)[None]
        sampler = PatchSampler(grid, has_local=True, has_mid_range=config.has_mid_range_patches)
        patches = sampler.between_voxels(locations[None])
    with torch.no_grad():
        latent = network.encode(torch.from_numpy(scan.encoder_input())[None]).latent
        logits = network.decode(locations[None], patches, latent)[0]
    use_published_form(network, is_published_form=False)
    return logits


def locations_at_between_and_outside(shape: tuple[int, int, int], count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(11)
    size = torch.tensor(shape, dtype=torch.float32)
    at = (torch.rand(count, 3, generator=generator) * size).floor()
    between = torch.rand(count, 3, generator=generator) * (size - 1)
    half = at.clone()
    half[:, 0] += 0.5
    outside = torch.tensor([[-0.4, 3.0, 5.25], [31.4, 15.5, 0.0], [-20.0, 5.0, 5.0], [40.0, 40.0, 40.0]])
    return torch.cat([at, between, half, outside])


def assert_close_in_scale(found: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-5) -> None:
    assert float((found - expected).abs().max()) <= tolerance * max(float(expected.abs().max()), 1.0)


@pytest.mark.usefixtures("with_and_without_compiled_kernels")
def test_the_folded_field_equals_the_plain_network(a_tiny_network: OSSNet, a_tiny_scan: Any) -> None:
    locations = locations_at_between_and_outside(a_tiny_network.config.grid_shape, 40)
    expected = plain_logits(a_tiny_network, a_tiny_scan, locations)
    field = field_of(a_tiny_network, a_tiny_scan)
    found = field.query(locations)
    assert found.shape == expected.shape
    assert found.dtype == torch.float32
    assert expected.std() > 1e-3
    assert_close_in_scale(found, expected)
    torch.testing.assert_close(found.softmax(1), expected.softmax(1), atol=1e-5, rtol=0)


@pytest.mark.usefixtures("with_and_without_compiled_kernels")
def test_a_chunk_of_any_size_gives_the_same(a_tiny_network: OSSNet, a_tiny_scan: Any) -> None:
    field = field_of(a_tiny_network, a_tiny_scan)
    locations = locations_at_between_and_outside(a_tiny_network.config.grid_shape, 700)
    whole = field.query(locations)
    parts = torch.cat([field.query(part) for part in locations.split([1, 2, 130, len(locations) - 133])])
    assert_close_in_scale(parts, whole)
    assert field.query(locations[:0]).shape == (0, 3)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_products_stay_near_because_coordinates_and_pade_units_are_in_float32(
    a_tiny_network: OSSNet, a_tiny_scan: Any, precision: Any
) -> None:
    locations = locations_at_between_and_outside(a_tiny_network.config.grid_shape, 40) + 480.0
    exact = field_of(a_tiny_network, a_tiny_scan).query(locations)
    found = field_of(a_tiny_network, a_tiny_scan, precision=precision).query(locations)
    assert_close_in_scale(found, exact, tolerance=0.05)
    assert not torch.equal(found, exact)


def test_a_network_whose_input_is_by_chance_as_wide_as_its_blocks_folds_too(a_tiny_scan: Any) -> None:
    config = OSSNet(make_config("a")).config
    width = 3 + 343 + config.latent_features
    network = OSSNet(replace(config, decoder_features=width, decoder_blocks=2))
    assert network.decoder.blocks[0].residual_mapping.__class__ is torch.nn.Identity
    locations = locations_at_between_and_outside(config.grid_shape, 10)
    expected = plain_logits(network.eval(), a_tiny_scan, locations)
    assert_close_in_scale(field_of(network, a_tiny_scan).query(locations), expected)


def make_config(variant: str) -> Any:
    has_local, has_mid_range, has_skips = FEATURES[variant]
    return OSSNetConfig(
        in_channels=2,
        grid_shape=(32, 16, 32),
        encoder_channels=(4, 6, 8),
        has_local_patches=has_local,
        has_mid_range_patches=has_mid_range,
        has_encoder_skips=has_skips,
    )


def test_the_prior_is_the_auxiliary_segmentation_resized_with_aligned_corners(
    a_tiny_network: OSSNet, a_tiny_scan: Any
) -> None:
    field = field_of(a_tiny_network, a_tiny_scan)
    voxels = torch.tensor(list(np.ndindex(*a_tiny_network.config.grid_shape)), dtype=torch.float32)
    found = field.prior(voxels)
    with torch.no_grad():
        auxiliary = a_tiny_network.encode(torch.from_numpy(a_tiny_scan.encoder_input())[None]).auxiliary
    if auxiliary is None:
        assert found is None
        return
    resized = torch.nn.functional.interpolate(
        auxiliary.sigmoid(), a_tiny_network.config.grid_shape, mode="trilinear", align_corners=True
    )
    assert found is not None
    is_clear = (resized - 0.5).abs().flatten() > 1e-5
    assert is_clear.any()
    assert torch.equal(found[is_clear], (resized > 0.5).flatten()[is_clear])
    assert 0 < int(found.sum()) < len(found)


def test_the_field_keeps_the_contract(a_tiny_network: OSSNet, a_tiny_scan: Any) -> None:
    steps = build_field(a_tiny_network, a_tiny_scan, device=CPU, memory_bytes=2**30)
    events = []
    while True:
        try:
            events.append(next(steps))
        except StopIteration as stop:
            field = stop.value
            break
    assert isinstance(field, OccupancyField)
    assert field.device == CPU
    assert field.class_count == 3
    assert field.bytes_per_location > 0
    assert all(isinstance(event, Progress) and event.stage == "encoding" for event in events)
    assert len(events) >= 4


@pytest.mark.usefixtures("with_and_without_compiled_kernels")
@pytest.mark.parametrize("slab_bytes", [1, 9000, None])
def test_encoding_in_slabs_equals_encoding_the_whole(a_tiny_network: OSSNet, a_tiny_scan: Any, slab_bytes: int) -> None:
    volume = torch.from_numpy(a_tiny_scan.encoder_input())[None]
    with torch.no_grad():
        expected = a_tiny_network.encode(volume)
    shares = []
    steps = encode_in_slabs(a_tiny_network.encoder, volume, slab_bytes=slab_bytes)
    while True:
        try:
            shares.append(next(steps))
        except StopIteration as stop:
            found = stop.value
            break
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)
    assert_close_in_scale(found.latent, expected.latent)
    if expected.auxiliary is not None:
        assert_close_in_scale(found.auxiliary, expected.auxiliary)


def test_a_scan_for_another_network_is_refused(a_tiny_network: OSSNet) -> None:
    scan = SimpleNamespace(grid=np.zeros((1, 32, 16, 32), np.float32))
    with pytest.raises(InputError, match=r"1 x 32 x 16 x 32 .* expected 2 x 32 x 16 x 32"):
        returned(build_field(a_tiny_network, scan, device=CPU))


def test_a_network_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(InputError, match="kind Linear"):
        returned(build_field(torch.nn.Linear(1, 1), None, device=CPU))


def test_memory_that_does_not_suffice_is_an_error_of_the_engine(
    a_tiny_network: OSSNet, a_tiny_scan: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")

    monkeypatch.setattr(slab_encoder, "_convolve", fail)
    with pytest.raises(OutOfMemoryError, match="--memory"):
        returned(build_field(a_tiny_network, a_tiny_scan, device=CPU))


def test_every_registered_builder_can_be_imported() -> None:
    for module in FIELD_BUILDERS.values():
        assert callable(import_module(module).build)


@pytest.mark.parametrize("variant", ["o-net", "b", "c"])
def test_at_the_published_size_the_folded_field_equals_the_plain_network_too(variant: str) -> None:
    torch.manual_seed(0)
    network = build_network(variant, TASKS["brats"]).eval()
    assert isinstance(network, OSSNet)
    grid = torch.randn(4, 40, 48, 36)
    latent = torch.randn(1, network.config.vectors, network.config.latent_features)
    locations = torch.rand(64, 3) * 36
    config = network.config
    sampler = None
    patches = None
    if config.patch_channels:
        sampler = PatchSampler(grid[None], has_local=True, has_mid_range=config.has_mid_range_patches)
        patches = sampler.between_voxels(locations[None])
    use_published_form(network)
    with torch.no_grad():
        expected = network.decode(locations[None], patches, latent)[0]
    decoder = fold_decoder(network.decoder, latent[0])
    queries: list[Callable[[torch.Tensor], torch.Tensor]] = [TorchQuery(decoder, sampler, torch.float32)]
    if is_compiled():
        queries.append(CompiledQuery(decoder, grid.numpy(), has_mid_range=config.has_mid_range_patches))
    for query in queries:
        found = query(locations)
        assert_close_in_scale(found, expected)
        torch.testing.assert_close(found.sigmoid(), expected.sigmoid(), atol=1e-5, rtol=0)


def test_without_numba_torch_answers_and_with_it_the_compiled_kernels(
    a_tiny_network: OSSNet, a_tiny_scan: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("numba")
    assert isinstance(field_of(a_tiny_network, a_tiny_scan)._query, CompiledQuery)
    monkeypatch.setenv("OSSNET_COMPILED", "0")
    assert isinstance(field_of(a_tiny_network, a_tiny_scan)._query, TorchQuery)


def test_blocks_cover_a_chunk_once_and_are_equally_many_for_each_core() -> None:
    for count in (0, 1, 511, 512, 513, 5000, 16384):
        pieces = compiled_query._blocks(count)
        assert [n for piece in pieces for n in range(piece.start, piece.stop)] == list(range(count))
        assert all(piece.stop - piece.start <= compiled_query.BLOCK for piece in pieces)
