"""The compiled loops against the torch operations that they stand for; interpreted, too, where numba is missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from napari_ossnet.engine.kernels.box_kernels import copy_boxes
from napari_ossnet.engine.kernels.compilation import SWITCH, compiled, is_compiled
from napari_ossnet.engine.kernels.pade_kernels import pade_backward, pade_columns, pade_flat, pade_pool
from napari_ossnet.engine.kernels.window_kernels import local_windows, mid_range_windows
from napari_ossnet.engine.networks.local_features import cut_box
from napari_ossnet.engine.networks.pade import rational
from napari_ossnet.engine.patches import PatchSampler

COEFFICIENTS = np.array([0.03, 0.5, 1.6, 2.0, 0.9, 0.15, 0.2, 3.9, 0.4, 0.3], np.float32)


@pytest.fixture(params=["compiled", "interpreted"])
def compile_(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    if request.param == "interpreted":
        return lambda function, **_: function
    pytest.importorskip("numba")
    return compiled


def reference(x: torch.Tensor) -> torch.Tensor:
    a, b = torch.from_numpy(COEFFICIENTS).double().split([6, 4])
    return rational(x.double(), a, b)


def inputs(count: int) -> np.ndarray:
    x = np.random.default_rng(0).normal(size=count).astype(np.float32) * 3
    x[:4] = [0.0, 1e9, -1e30, -0.0]
    return x


def test_the_flat_kernel_computes_the_activation_in_place_too(compile_: Callable[[Any], Any]) -> None:
    x = inputs(1001)
    result = np.empty_like(x)
    compile_(pade_flat)(x, result, COEFFICIENTS)
    np.testing.assert_allclose(result, reference(torch.from_numpy(x)).numpy(), rtol=1e-5, atol=1e-6)
    compile_(pade_flat)(x, x, COEFFICIENTS)
    np.testing.assert_array_equal(x, result)


def test_the_column_kernel_adds_a_bias_and_leaves_other_columns_alone(compile_: Callable[[Any], Any]) -> None:
    x = inputs(60).reshape(6, 10)
    before, bias = x.copy(), np.linspace(-1, 1, 7, dtype=np.float32)
    compile_(pade_columns)(x, 2, bias, COEFFICIENTS)
    np.testing.assert_array_equal(x[:, :2], before[:, :2])
    np.testing.assert_array_equal(x[:, 9], before[:, 9])
    expected = reference(torch.from_numpy(before[:, 2:9] + bias)).numpy()
    np.testing.assert_allclose(x[:, 2:9], expected, rtol=1e-5, atol=1e-6)


def test_the_pooling_kernel_averages_the_activations_of_eight_voxels(compile_: Callable[[Any], Any]) -> None:
    x = np.random.default_rng(2).normal(size=(4, 6, 2, 5)).astype(np.float32)
    result = np.full((2, 3, 1, 5), np.nan, np.float32)
    compile_(pade_pool)(x, result, COEFFICIENTS)
    activated = reference(torch.from_numpy(x)).permute(3, 0, 1, 2)[None]
    expected = torch.nn.functional.avg_pool3d(activated, 2)[0].permute(1, 2, 3, 0)
    np.testing.assert_allclose(result, expected.numpy(), rtol=1e-5, atol=1e-6)


def test_the_backward_kernel_gives_the_gradients_of_plain_autograd(compile_: Callable[[Any], Any]) -> None:
    # The plain form's own gradients lose their meaning further out.
    x = inputs(3000).clip(-1e4, 1e4)
    upstream = np.random.default_rng(1).normal(size=x.size).astype(np.float32)
    grad_x, sums = np.empty_like(x), np.zeros(10)
    compile_(pade_backward, do_reorder=True)(x, upstream, grad_x, COEFFICIENTS, sums)
    leaf = torch.from_numpy(x).double().requires_grad_()
    a, b = (part.requires_grad_() for part in torch.from_numpy(COEFFICIENTS).double().split([6, 4]))
    rational(leaf, a, b).backward(torch.from_numpy(upstream).double())
    np.testing.assert_allclose(grad_x, leaf.grad.numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(sums[:6], a.grad.numpy(), rtol=1e-3, atol=1e-2)
    np.testing.assert_allclose(-sums[6:], b.grad.numpy(), rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("has_mid_range", [False, True])
def test_windows_are_those_of_the_torch_gather_in_the_order_of_the_compiled_decoder(
    compile_: Callable[[Any], Any], has_mid_range: bool
) -> None:
    generator = torch.Generator().manual_seed(2)
    grid = torch.randn(2, 20, 18, 23, generator=generator)
    at_voxels = torch.tensor([[10.0, 9, 11], [0, 0, 0], [19, 17, 22], [4, 12, 3], [-1, 25, 5], [3, 3, 3], [16, 14, 19]])
    between = torch.rand(12, 3, generator=generator) * 26 - 3
    partly = torch.tensor([[10.0, 9.5, 11.0], [5.25, 9.0, 11.0], [6.0, 6.0, 6.75]])
    outside = torch.tensor([[-900.0, 4, 4], [4, 1e7, 4], [4, 4, -31.5]])
    locations = torch.cat([at_voxels, between, partly, outside])
    sampler = PatchSampler(grid[None], has_mid_range=has_mid_range)
    expected = sampler.between_voxels(locations[None])[0].transpose(1, 2).flatten(1).numpy()
    channels = 4 if has_mid_range else 2
    found = np.full((len(locations), channels * 343), np.nan, np.float32)
    compile_(local_windows)(grid.numpy(), locations.numpy(), channels, found)
    if has_mid_range:
        compile_(mid_range_windows)(grid.numpy(), locations.numpy(), channels, found)
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_compiled_kernels_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "0")
    assert not is_compiled()


def test_boxes_are_copied_and_filled_outside_the_grid(compile_: Callable[[Any], Any]) -> None:
    grid = np.random.default_rng(5).normal(size=(2, 9, 7, 8)).astype(np.float32)
    starts = np.array([[0, 0, 0], [4, 2, 3], [-2, 5, 6], [7, -4, 0], [-9, 0, 0], [0, 0, 40]])
    result = np.full((len(starts), 2, 5, 5, 5), np.nan, np.float32)
    compile_(copy_boxes)(grid, starts, np.array([0.0, 7.0], np.float32), result)
    for box, (i, j, k) in zip(result, starts.tolist(), strict=True):
        shifted = torch.from_numpy(grid) - torch.tensor([0.0, 7.0])[:, None, None, None]
        expected = cut_box(shifted, (i, j, k), (5, 5, 5)).numpy() + np.array([0.0, 7.0])[:, None, None, None]
        np.testing.assert_allclose(box, expected, atol=1e-5)
