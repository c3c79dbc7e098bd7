"""The Pade unit against its definition in float64, its gradients against plain autograd."""

from __future__ import annotations

import pytest
import torch

from napari_ossnet.engine.networks.pade import START_DENOMINATOR, START_NUMERATOR, PadeActivation, pade_, rational


@pytest.fixture
def an_activation() -> PadeActivation:
    activation = PadeActivation()
    with torch.no_grad():
        activation.weight_denominator.copy_(torch.tensor([0.2, -3.9, -0.4, 0.3]))
    return activation


def definition(x: torch.Tensor, activation: PadeActivation) -> torch.Tensor:
    """P(x) / (1 + sum |b_k| |x|^k), term by term in float64."""
    wide = x.detach().double()
    top = sum(a.double() * wide**k for k, a in enumerate(activation.weight_numerator.detach()))
    bottom = 1 + sum(
        b.double().abs() * wide.abs() ** k for k, b in enumerate(activation.weight_denominator.detach(), 1)
    )
    return top / bottom


def test_it_starts_as_a_leaky_relu(an_activation: PadeActivation) -> None:
    fresh = PadeActivation()
    x = torch.linspace(-3, 3, 61)
    assert (fresh(x) - torch.nn.functional.leaky_relu(x, 0.01)).abs().max() < 0.06
    assert fresh.weight_numerator.tolist() == pytest.approx(START_NUMERATOR)
    assert fresh.weight_denominator.tolist() == pytest.approx(START_DENOMINATOR)


@pytest.mark.parametrize("is_published_form", [False, True])
def test_it_computes_the_safe_form_with_absolute_values_of_each_term(
    an_activation: PadeActivation, is_published_form: bool
) -> None:
    an_activation.is_published_form = is_published_form
    x = torch.randn(5, 7, 70_000 // 35, generator=torch.Generator().manual_seed(1)) * 4
    torch.testing.assert_close(an_activation(x).double(), definition(x, an_activation), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("is_published_form", [False, True])
@pytest.mark.parametrize("size", [1e4, 1e7, 1e8, 3e9, 1e20, 1e30])
def test_large_inputs_neither_overflow_nor_lose_the_slope(
    an_activation: PadeActivation, size: float, is_published_form: bool
) -> None:
    an_activation.is_published_form = is_published_form
    x = torch.tensor([size, -size], requires_grad=True)
    y = an_activation(x)
    torch.testing.assert_close(y.double(), definition(x, an_activation), rtol=1e-5, atol=0)
    y.sum().backward()
    slope = an_activation.weight_numerator[5] / an_activation.weight_denominator[3].abs()
    torch.testing.assert_close(x.grad, slope.expand(2).detach(), rtol=1e-3, atol=0)
    assert torch.isfinite(an_activation.weight_numerator.grad).all()


def test_gradients_pass_the_numerical_check_and_equal_those_of_plain_autograd(an_activation: PadeActivation) -> None:
    an_activation.double()
    x = torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) * 2
    parameters = (an_activation.weight_numerator, an_activation.weight_denominator)

    def apply(x: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
        return an_activation(x)

    assert torch.autograd.gradcheck(apply, (x.requires_grad_(), *parameters))
    upstream = torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    found = torch.autograd.grad(an_activation(x), (x, *parameters), upstream)
    expected = torch.autograd.grad(rational(x, *parameters), (x, *parameters), upstream)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("count", [1, 17, 1000, 200_001])
def test_gradients_in_float32_equal_those_of_plain_autograd_at_any_size(
    an_activation: PadeActivation, count: int
) -> None:
    x = (torch.randn(count, generator=torch.Generator().manual_seed(2)) * 3).requires_grad_()
    upstream = torch.randn(count, generator=torch.Generator().manual_seed(3))
    parameters = (an_activation.weight_numerator, an_activation.weight_denominator)
    found = torch.autograd.grad(an_activation(x), (x, *parameters), upstream)
    wide = [tensor.detach().double().requires_grad_() for tensor in (x, *parameters)]
    expected = torch.autograd.grad(rational(*wide), wide, upstream.double())
    for one, other in zip(found, expected, strict=True):
        scale = float(other.abs().max())
        torch.testing.assert_close(one.double(), other, atol=2e-5 * scale, rtol=1e-4)


def test_only_the_input_is_kept_for_the_way_back(an_activation: PadeActivation) -> None:
    kept: list[torch.Tensor] = []
    x = torch.randn(1000, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        an_activation(x)
    assert sum(tensor.numel() for tensor in kept) == 1000 + 10


def test_under_autocast_it_is_computed_in_float32(an_activation: PadeActivation) -> None:
    x = torch.tensor([300.0, -200.0, 0.1]).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        y = an_activation(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), definition(x.float(), an_activation).float(), rtol=4e-3, atol=1e-3)


def test_in_place_it_gives_the_same(an_activation: PadeActivation) -> None:
    x = torch.randn(3, 100_000)
    expected = an_activation(x)
    coefficients = torch.cat([an_activation.weight_numerator, an_activation.weight_denominator.abs()]).detach()
    result = pade_(x, coefficients)
    assert result is x
    torch.testing.assert_close(x, expected)


@pytest.mark.usefixtures("with_and_without_compiled_kernels")
@pytest.mark.parametrize("threads", [1, 2])
def test_values_and_gradients_are_the_same_with_and_without_compiled_kernels_and_on_any_number_of_cores(
    an_activation: PadeActivation, threads: int
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        x = (torch.randn(3, 150_001, generator=torch.Generator().manual_seed(2)) * 3).requires_grad_()
        leaves = (x, an_activation.weight_numerator, an_activation.weight_denominator)
        y = an_activation(x)
        gradients = torch.autograd.grad(y.mean(), leaves)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    wide = [tensor.detach().double().requires_grad_() for tensor in leaves]
    expected = rational(*wide)
    torch.testing.assert_close(y.double(), expected, atol=1e-5, rtol=1e-5)
    for found, exact in zip(gradients, torch.autograd.grad(expected.mean(), wide), strict=True):
        torch.testing.assert_close(found.double(), exact, atol=1e-5 * float(exact.abs().max()), rtol=1e-4)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 3, 4, 5, 6)])
def test_values_that_lie_channels_last_stay_so_and_any_other_order_is_right_too(
    an_activation: PadeActivation, shape: tuple[int, ...]
) -> None:
    x = torch.randn(shape)
    order = torch.channels_last if len(shape) == 4 else torch.channels_last_3d
    upstream = torch.randn(shape)
    plain = x.clone().requires_grad_()
    an_activation(plain).backward(upstream)
    for arranged in (x.contiguous(memory_format=order), x.transpose(-1, -2).contiguous().transpose(-1, -2)):
        leaf = arranged.clone().requires_grad_()
        y = an_activation(leaf)
        y.backward(upstream)
        torch.testing.assert_close(y, an_activation(x))
        torch.testing.assert_close(leaf.grad, plain.grad)
    assert an_activation(x.contiguous(memory_format=order)).is_contiguous(memory_format=order)
