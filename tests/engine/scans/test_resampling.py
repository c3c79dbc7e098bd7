"""Resampling along a volume's own axes, against torch and against the mean that a coarse sample stands for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_ossnet.engine.scans.resampling import resample_axis, resize_trilinear


@pytest.fixture
def some_data() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2, 11, 13, 7)).astype(np.float32)


def half_pixel_positions(size: int, wanted: int) -> np.ndarray:
    """Where torch looks with align_corners=False: faces of the two grids meet."""
    return (np.arange(wanted) + 0.5) * size / wanted - 0.5


@pytest.mark.parametrize("shape", [(22, 13, 20), (16, 16, 16), (11, 13, 7)])
def test_finer_resampling_axis_by_axis_equals_torchs_trilinear(
    some_data: np.ndarray, shape: tuple[int, int, int]
) -> None:
    resampled = some_data
    for axis, (size, wanted) in enumerate(zip(some_data.shape[1:], shape, strict=True), start=1):
        resampled = resample_axis(resampled, axis, half_pixel_positions(size, wanted))
    oracle = torch.nn.functional.interpolate(
        torch.from_numpy(some_data)[None], size=shape, mode="trilinear", align_corners=False
    )[0]
    assert np.allclose(resampled, oracle.numpy(), atol=1e-5)
    assert np.allclose(resize_trilinear(some_data, shape), oracle.numpy(), atol=1e-7)


@pytest.mark.parametrize("step", [1.02, 1.25, 2.0, 3.7])
def test_coarser_resampling_is_the_mean_of_the_interpolation_over_a_window(some_data: np.ndarray, step: float) -> None:
    positions = np.arange(3.0, 9.0, step)
    window = np.sqrt(step**2 - 1)
    voxels = np.arange(some_data.shape[2])
    resampled = resample_axis(some_data, 2, positions)
    for index, position in enumerate(positions):
        samples = np.linspace(position - window / 2, position + window / 2, 20001)
        mean = np.interp(samples, voxels, some_data[1, 4, :, 2]).mean()
        assert resampled[1, 4, index, 2] == pytest.approx(mean, abs=1e-4)


@pytest.mark.parametrize("step", [0.3, 1.0, 1.03, 1.25, 2.2, 5.0])
def test_a_ramp_stays_a_ramp_at_any_step(step: float) -> None:
    ramp = np.arange(200, dtype=np.float32)[None, :, None, None]
    positions = np.arange(20.0, 180.0, step)
    assert np.allclose(resample_axis(ramp, 1, positions)[0, :, 0, 0], positions, atol=1e-4)


@pytest.mark.parametrize("size", [3, 5, 8])
def test_a_flat_scan_stays_flat_to_its_edges(size: int) -> None:
    flat = np.full((1, 13, 2, 2), 7.0, np.float32)
    assert np.allclose(resample_axis(flat, 1, half_pixel_positions(13, size)), 7.0, atol=1e-5)


def test_a_coarse_sample_of_noise_is_calmer_than_a_single_voxel() -> None:
    noise = np.random.default_rng(1).normal(size=(1, 4000, 1, 1)).astype(np.float32)
    coarse = resample_axis(noise, 1, np.arange(2.0, 3990.0, 4.0))
    assert coarse.std() < 0.5 * noise.std()


def test_whole_positions_return_the_voxels_themselves(some_data: np.ndarray) -> None:
    assert np.array_equal(resample_axis(some_data, 3, np.arange(2.0, 6.0)), some_data[..., 2:6])


def test_beyond_the_outermost_centres_the_outermost_voxel_counts(some_data: np.ndarray) -> None:
    beyond = resample_axis(some_data, 1, np.array([-0.5, 0.5]))[:, 0]
    assert np.allclose(beyond, some_data[:, 0])


def test_a_single_position_is_a_plain_lookup(some_data: np.ndarray) -> None:
    middle = resample_axis(some_data, 1, np.array([2.25]))
    assert middle.shape == (2, 1, 13, 7)
    assert np.allclose(middle[:, 0], 0.75 * some_data[:, 2] + 0.25 * some_data[:, 3], atol=1e-6)


def test_what_needs_no_stretching_gets_memory_of_its_own(some_data: np.ndarray) -> None:
    turned = some_data[:, ::-1].transpose(0, 2, 3, 1)
    found = resize_trilinear(turned, turned.shape[1:])
    assert found.flags.c_contiguous
    assert not np.shares_memory(found, some_data)
    np.testing.assert_array_equal(found, turned)
