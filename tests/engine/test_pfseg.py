"""PFSeg against the published network's numbers, its images against the published preprocessing."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_ossnet.engine.checkpoints import load_checkpoint
from napari_ossnet.engine.errors import InputError, WeightsError
from napari_ossnet.engine.fields.pfseg import CERTAIN, PFSegField, build
from napari_ossnet.engine.networks.context_encoder import run_to_end
from napari_ossnet.engine.networks.pfseg import PFSeg, PFSegConfig, config_for_task
from napari_ossnet.engine.networks.pfseg_frame import (
    centred_start,
    crop_guidance,
    grid_from_output,
    grid_images,
    output_labels,
    output_locations,
    start_around,
)
from napari_ossnet.engine.networks.variants import build_network
from napari_ossnet.engine.tasks import get_task


@pytest.fixture(scope="module")
def a_fill_rule(a_fixtures_folder: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("fill_rule", a_fixtures_folder / "fill_rule.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def a_published_state(a_fixtures_folder: Path, a_fill_rule: ModuleType) -> dict[str, torch.Tensor]:
    layout = json.loads((a_fixtures_folder / "layouts.json").read_text(encoding="utf-8"))["pfseg"]
    return {key: torch.from_numpy(a_fill_rule.tensor_for(key, tuple(shape))) for key, shape in layout.items()}


def _image(rule: ModuleType, name: str, shape: tuple[int, int, int]) -> torch.Tensor:
    volume = torch.from_numpy(rule.volume(name, 1, shape))
    return ((volume - volume.min()) / (volume.max() - volume.min()))[None]


@pytest.mark.slow
def test_the_published_network_gives_the_published_numbers(
    a_fixtures_folder: Path, a_fill_rule: ModuleType, a_published_state: dict[str, torch.Tensor]
) -> None:
    network = PFSeg(PFSegConfig(box_start=(0, 0, 0), box_stop=(128, 192, 192))).eval()
    network.load_state_dict(a_published_state)
    with torch.no_grad():
        logits, image = network(
            _image(a_fill_rule, "pfseg/input", (64, 96, 96)), _image(a_fill_rule, "pfseg/guidance", (32, 48, 48))
        )
    expected = np.load(a_fixtures_folder / "expected_pfseg.npz")
    segmentation = logits.sigmoid()[0, 0, ::8, ::8, ::8].numpy()
    assert np.abs(segmentation - expected["segmentation"]).max() < 1e-4
    assert np.abs(image[0, 0, ::8, ::8, ::8].numpy() - expected["super_resolution"]).max() < 1e-4


def test_published_weights_are_recognised_as_they_are(
    tmp_path: Path, a_published_state: dict[str, torch.Tensor]
) -> None:
    path = tmp_path / "PFSeg_3D_BraTS.pt"
    torch.save({f"module.{name}": tensor for name, tensor in a_published_state.items()}, path)
    weights = load_checkpoint(path)
    assert (weights.card.variant, weights.card.task.name) == ("pfseg", "brats")
    assert torch.equal(weights.network.state_dict()["conv5.conv.0.weight"], a_published_state["conv5.conv.0.weight"])


def test_weights_that_are_nearly_pfsegs_are_refused_with_what_differs(
    tmp_path: Path, a_published_state: dict[str, torch.Tensor]
) -> None:
    path = tmp_path / "nearly.pt"
    torch.save(a_published_state | {"conv11_seg.bias": torch.zeros(3)}, path)
    with pytest.raises(WeightsError, match=r"nearest is PFSeg for brats.*conv11_seg.bias has shape 3, expected 1"):
        load_checkpoint(path)


def test_a_network_for_brats_has_the_published_layout(a_published_state: dict[str, torch.Tensor]) -> None:
    network = build_network("pfseg", get_task("brats"))
    own = {name: tensor.shape for name, tensor in network.state_dict().items()}
    assert own == {name: tensor.shape for name, tensor in a_published_state.items()}
    assert sum(parameter.numel() for parameter in network.parameters()) == 14_655_042
    assert PFSegConfig.from_dict(config_for_task("pfseg", get_task("brats"))).channel == 3


SMALL = PFSegConfig(channel=1, axes=(2, 0, 1), box_start=(2, 3, 1), box_stop=(42, 40, 30), output_shape=(64, 32, 64))


@pytest.fixture
def a_grid() -> torch.Tensor:
    return torch.randn(2, 44, 41, 31, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def a_small_network() -> PFSeg:
    torch.manual_seed(0)
    return PFSeg(SMALL).eval()


def _prepared(grid: torch.Tensor) -> SimpleNamespace:
    volume = SimpleNamespace(sources=(), affine_codes=(1, 1))
    return SimpleNamespace(grid=grid.numpy(), grid_affine=np.diag([2.0, 2.0, 3.0, 1.0]), volume=volume)


def _built(network: PFSeg, grid: torch.Tensor, memory_bytes: int | None = None) -> PFSegField:
    return run_to_end(build(network, _prepared(grid), device=torch.device("cpu"), memory_bytes=memory_bytes))


def _published_image(scan: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """As the published code prepares a scan in L, P, S: slices first, cropped, zoomed, scaled."""
    cropped = scan.transpose(2, 1, 0)[:, 24:-24, 24:-24]
    zoomed = ndimage.zoom(cropped, [new / old for new, old in zip(shape, cropped.shape, strict=True)], order=1)
    return (zoomed - zoomed.min()) / (zoomed.max() - zoomed.min())


def test_the_images_of_a_brats_grid_are_those_of_the_published_preprocessing() -> None:
    scan = np.random.default_rng(0).random((240, 240, 155), dtype=np.float32) * 900
    grid = torch.zeros(1, 4, 256, 256, 160)
    grid[0, 3, 8:248, 8:248, 3:158] = torch.from_numpy((scan - 37) / 55)  # z-scored somehow, then padded
    images = grid_images(PFSegConfig.from_dict(config_for_task("pfseg", get_task("brats"))), grid)
    for image, shape in ((images.low_resolution, (64, 96, 96)), (images.full_resolution, (128, 192, 192))):
        assert np.abs(image[0, 0].numpy() - _published_image(scan, shape)).max() < 1e-4


def test_labels_come_to_the_output_by_the_nearest_voxel() -> None:
    labels = torch.randint(0, 3, (1, 44, 41, 31), generator=torch.Generator().manual_seed(0))
    found = output_labels(SMALL, labels)[0].numpy()
    box = labels[0, 2:42, 3:40, 1:30].permute(2, 0, 1).numpy()
    assert np.array_equal(found, ndimage.zoom(box, [64 / 29, 32 / 40, 64 / 37], order=0))


def test_the_output_frame_and_its_affine_are_inverse() -> None:
    locations = torch.tensor([[2.0, 3.0, 1.0], [41.0, 39.0, 29.0], [10.5, 20.25, 7.0]])
    voxels = output_locations(SMALL, locations)
    assert voxels[0].tolist() == [0, 0, 0]
    assert torch.allclose(voxels[1], torch.tensor([63.0, 31.0, 63.0]))
    back = voxels.double() @ torch.from_numpy(grid_from_output(SMALL)[:3, :3]).T + torch.tensor([2.0, 3.0, 1.0])
    assert torch.allclose(back.float(), locations, atol=1e-5)


@pytest.mark.parametrize("memory_bytes", [None, 2**20])
def test_a_field_gives_the_networks_logits_however_small_the_slabs(
    a_small_network: PFSeg, a_grid: torch.Tensor, memory_bytes: int | None
) -> None:
    images = grid_images(SMALL, a_grid[None])
    with torch.no_grad():
        logits, _ = a_small_network(images.low_resolution, crop_guidance(SMALL, images.full_resolution))
    voxels = torch.randint(0, 32, (200, 3), generator=torch.Generator().manual_seed(1))
    affine = torch.from_numpy(grid_from_output(SMALL)).float()
    locations = voxels.float() @ affine[:3, :3].T + affine[:3, 3]
    i, j, k = voxels.T
    found = _built(a_small_network, a_grid, memory_bytes).query(locations)
    assert torch.allclose(found, logits[0][:, i, j, k].T, atol=1e-4)


def test_what_the_network_does_not_see_is_background(a_small_network: PFSeg, a_grid: torch.Tensor) -> None:
    field = _built(a_small_network, a_grid)
    outside, inside = field.query(torch.tensor([[43.0, 5.0, 5.0], [41.4, 5.0, 5.0]]))
    assert outside.item() == -CERTAIN
    assert abs(inside.item()) < CERTAIN


def test_the_super_resolved_image_lies_where_the_scan_lies(a_small_network: PFSeg, a_grid: torch.Tensor) -> None:
    field = _built(a_small_network, a_grid, 2**20)
    image = run_to_end(field.super_resolved(_prepared(a_grid)))
    images = grid_images(SMALL, a_grid[None])
    with torch.no_grad():
        _, expected = a_small_network(images.low_resolution, crop_guidance(SMALL, images.full_resolution))
    assert np.allclose(image.data, expected[0].numpy(), atol=1e-4)
    assert np.allclose(image.affine @ [0, 0, 0, 1], [4, 6, 3, 1])
    assert np.allclose(image.affine @ [63, 31, 63, 1], [82, 78, 87, 1])


def test_guidance_follows_the_object_where_that_is_asked_for(a_grid: torch.Tensor) -> None:
    occupancy = torch.zeros(SMALL.output_shape, dtype=torch.bool)
    assert start_around(SMALL, occupancy) == centred_start(SMALL) == (24, 12, 24)
    occupancy[2:5, 20:23, 30:33] = True
    assert start_around(SMALL, occupancy) == (0, 17, 23)
    occupancy[:, 29:] = True
    assert start_around(SMALL, occupancy)[1] == 24
    torch.manual_seed(0)
    network = PFSeg(PFSegConfig.from_dict(SMALL.to_dict() | {"guidance": "object"})).eval()
    torch.nn.init.constant_(network.part("conv11_seg").bias, 0.0)
    field = _built(network, a_grid)
    centred = _built(network_with_centred_guidance(network), a_grid)
    assert field.guidance_start != centred.guidance_start
    voxels = torch.rand(100, 3) * 20 + 5
    assert not torch.allclose(field.query(voxels), centred.query(voxels), atol=1e-4)


def network_with_centred_guidance(network: PFSeg) -> PFSeg:
    other = PFSeg(SMALL).eval()
    other.load_state_dict(network.state_dict())
    return other


def test_classes_beyond_one_come_out_as_a_softmax_with_certain_background_outside(a_grid: torch.Tensor) -> None:
    network = PFSeg(PFSegConfig.from_dict(SMALL.to_dict() | {"classes": 3})).eval()
    field = _built(network, a_grid)
    assert field.query(torch.tensor([[43.0, 5.0, 5.0]])).tolist() == [[CERTAIN, -CERTAIN, -CERTAIN]]


def test_a_scan_of_another_task_is_refused(a_small_network: PFSeg, a_grid: torch.Tensor) -> None:
    with pytest.raises(InputError, match="another task"):
        _built(a_small_network, a_grid[:1])
    with pytest.raises(InputError, match="another task"):
        _built(a_small_network, a_grid[:, :40])


def test_without_guidance_its_features_are_zero(a_small_network: PFSeg, a_grid: torch.Tensor) -> None:
    without = PFSeg(PFSegConfig.from_dict(SMALL.to_dict() | {"guidance": "none"})).eval()
    without.load_state_dict(a_small_network.state_dict())
    images = grid_images(SMALL, a_grid[None])
    crop = crop_guidance(SMALL, images.full_resolution)
    with torch.no_grad():
        encoding = a_small_network.encode(images.low_resolution, crop)
        assert encoding.bottleneck[:, 256:].abs().max() > 0.1
        encoding.bottleneck[:, 256:] = 0
        expected = a_small_network.decode(encoding, "seg")
        found, _ = without(images.low_resolution, crop)
    assert torch.allclose(found, expected, atol=1e-6)
    assert _built(without, a_grid).guidance_start == centred_start(SMALL)


def test_an_output_too_small_to_be_normed_is_refused_and_not_chosen() -> None:
    with pytest.raises(InputError, match="nothing to norm"):
        PFSegConfig(box_start=(0, 0, 0), box_stop=(9, 9, 9), output_shape=(32, 32, 32))
    task = dataclasses.replace(get_task("hippocampus"), grid_shape=(16, 16, 16), latent_grid=(2, 2, 2))
    assert tuple(config_for_task("pfseg", task)["output_shape"]) == (64, 64, 64)


def test_settings_that_cannot_be_built_are_all_named() -> None:
    with pytest.raises(InputError, match=r"multiples of 32.*empty.*permutation.*guidance"):
        PFSegConfig(box_start=(0, 0, 5), box_stop=(9, 9, 5), axes=(0, 0, 1), output_shape=(60, 64, 64), guidance="left")
