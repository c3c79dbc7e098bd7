"""Windows of the scan against slicing it by hand, one location at a time."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from napari_ossnet.engine.patches import PatchSampler, box_means

SHAPE = (9, 12, 17)


@pytest.fixture
def a_volume() -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(2, 3, *SHAPE, generator=generator)


def window_by_hand(volume: np.ndarray, first: tuple[int, ...], edge: int) -> np.ndarray:
    """(channels, edge, edge, edge) from voxel ``first`` on, zeros outside."""
    window = np.zeros((volume.shape[0], edge, edge, edge), np.float32)
    for offset in product(range(edge), repeat=3):
        voxel = tuple(f + o for f, o in zip(first, offset, strict=True))
        if all(0 <= v < size for v, size in zip(voxel, volume.shape[1:], strict=True)):
            window[(slice(None), *offset)] = volume[(slice(None), *voxel)]
    return window


def local_by_hand(volume: np.ndarray, voxel: tuple[int, ...]) -> np.ndarray:
    return window_by_hand(volume, tuple(v - 3 for v in voxel), 7)


def mid_range_by_hand(volume: np.ndarray, voxel: tuple[int, ...]) -> np.ndarray:
    window = window_by_hand(volume, tuple(v - 7 for v in voxel), 14)
    return window.reshape(-1, 7, 2, 7, 2, 7, 2).mean(axis=(2, 4, 6))


def patch_by_hand(volume: np.ndarray, voxel: tuple[int, ...]) -> np.ndarray:
    return np.concatenate([local_by_hand(volume, voxel), mid_range_by_hand(volume, voxel)])


def voxels_inside_at_edges_and_outside() -> list[tuple[int, int, int]]:
    corners = list(product(*[(0, size - 1) for size in SHAPE]))
    return [
        *corners,
        (4, 6, 8),
        (3, 3, 3),
        (-1, 5, 5),
        (9, 12, 17),
        (-40, 6, 8),
        (4, 90, 8),
        (12, 16, 20),
        (-6, -7, -3),
    ]


def test_windows_at_voxels_are_slices_of_the_scan_with_zeros_outside(a_volume: torch.Tensor) -> None:
    voxels = voxels_inside_at_edges_and_outside()
    sampler = PatchSampler(a_volume, has_mid_range=True)
    windows = sampler.at_voxels(torch.tensor([voxels, voxels[::-1]]))
    for volume, ordered in enumerate((voxels, voxels[::-1])):
        for n, voxel in enumerate(ordered):
            expected = patch_by_hand(a_volume[volume].numpy(), voxel)
            np.testing.assert_allclose(windows[volume, n].numpy(), expected, atol=1e-6)


def test_windows_between_voxels_are_the_trilinear_blend_of_their_eight_neighbours(a_volume: torch.Tensor) -> None:
    locations = torch.tensor(
        [[4.25, 6.5, 8.125], [0.5, 0.25, 0.75], [7.9, 10.2, 15.6], [-0.4, 3.0, 16.3], [8.0, 11.5, 2.0]]
    )
    windows = PatchSampler(a_volume, has_mid_range=True).between_voxels(locations[None].expand(2, -1, -1))
    for n, location in enumerate(locations.numpy().astype(np.float64)):
        base = np.floor(location).astype(int)
        fraction = location - base
        expected = np.zeros((6, 7, 7, 7))
        for corner in product((0, 1), repeat=3):
            weight = np.prod([f if c else 1 - f for f, c in zip(fraction, corner, strict=True)])
            expected += weight * patch_by_hand(a_volume[1].numpy(), tuple(base + np.array(corner)))
        np.testing.assert_allclose(windows[1, n].numpy(), expected, atol=2e-6)


def test_at_integer_locations_both_ways_agree(a_volume: torch.Tensor) -> None:
    voxels = torch.tensor([voxels_inside_at_edges_and_outside()]).expand(2, -1, -1)
    sampler = PatchSampler(a_volume, has_mid_range=True)
    torch.testing.assert_close(sampler.between_voxels(voxels.float()), sampler.at_voxels(voxels), atol=1e-6, rtol=0)


@pytest.mark.parametrize("has_local", [True, False])
def test_only_the_wanted_kinds_of_windows_are_gathered(a_volume: torch.Tensor, has_local: bool) -> None:
    sampler = PatchSampler(a_volume, has_local=has_local, has_mid_range=not has_local)
    window = sampler.at_voxels(torch.tensor([[[4, 6, 8]]] * 2))[0, 0].numpy()
    by_hand = local_by_hand if has_local else mid_range_by_hand
    np.testing.assert_allclose(window, by_hand(a_volume[0].numpy(), (4, 6, 8)), atol=1e-6)


def test_box_means_count_the_zeros_around_the_volume() -> None:
    means = box_means(torch.ones(1, 1, 2, 2, 2), padding=1)
    assert means.shape == (1, 1, 3, 3, 3)
    assert means[0, 0, 0, 0, 0] == pytest.approx(1 / 8)
    assert means[0, 0, 1, 1, 1] == pytest.approx(1)
    assert means[0, 0, 2, 1, 1] == pytest.approx(1 / 2)
