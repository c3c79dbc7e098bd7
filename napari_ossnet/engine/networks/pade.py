"""The Pade activation unit: a learnt rational function, stable for every finite input, cheap to train.

Molina, Schramowski, Kersting: "Pade Activation Units", ICLR 2020, equation 3 (the "safe" form), degree 5 over 4::

    f(x) = (a0 + a1 x + ... + a5 x^5) / (1 + |b1| |x| + |b2| |x|^2 + |b3| |x|^3 + |b4| |x|^4)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from napari_ossnet.engine.kernels.compilation import compiled, is_compiled
from napari_ossnet.engine.kernels.pade_kernels import pade_backward, pade_flat
from napari_ossnet.engine.kernels.threads import run_in_threads

#: Start values, the "leaky ReLU" fit of the published code.
START_NUMERATOR = (3.35583603e-02, 5.05000375e-01, 1.65343934e00, 2.01001052e00, 9.31901999e-01, 1.52424124e-01)
START_DENOMINATOR = (3.30847488e-06, 3.98021568e00, 5.12471206e-07, 3.01830109e-01)

#: Beyond this the quotient of the two fourth-degree polynomials is constant to rounding, and x^5 still fits float32.
LARGEST_POWERED = 1e7

#: Elements that are worked on at a time on the CPU, so that the passes over them stay in the second-level cache.
CPU_BLOCK = 1 << 16


def rational(x: Tensor, numerator: Tensor, denominator: Tensor) -> Tensor:
    """The safe Pade form as plain differentiable tensor operations: the definition, and the published form's cost.

    It is written as ``a0 / Q + x (P1 / Q)`` with P1 of fourth degree, so that no power is formed of an ``x`` beyond
    ``LARGEST_POWERED``: nothing overflows into infinity over infinity.

    Args:
        x: Any shape; computed in float32 at least.
        numerator: (6,) a0 to a5.
        denominator: (4,) b1 to b4, of either sign.
    """
    wide = x if x.dtype == torch.float64 else x.float()
    a, b = numerator.to(wide.dtype), denominator.to(wide.dtype).abs()
    bounded = wide.clamp(-LARGEST_POWERED, LARGEST_POWERED)
    size = bounded.abs()
    top = a[1] + bounded * (a[2] + bounded * (a[3] + bounded * (a[4] + bounded * a[5])))
    bottom = 1 + size * (b[0] + size * (b[1] + size * (b[2] + size * b[3])))
    return (a[0] / bottom + wide * (top / bottom)).to(x.dtype)


def _horner(x: Tensor, coefficients: Tensor) -> Tensor:
    """Polynomial with ``coefficients`` from the lowest power to the highest, in one buffer."""
    total = x * coefficients[-1]
    for coefficient in coefficients[1:-1].flip(0):
        total.add_(coefficient).mul_(x)
    return total.add_(coefficients[0])


def _quotient(x: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Bounded x, P1 / Q and Q for one block; ``b`` is (5,) with the leading one, not negative."""
    bounded = x.clamp(-LARGEST_POWERED, LARGEST_POWERED)
    bottom = _horner(bounded.abs(), b)
    return bounded, _horner(bounded, a[1:]).div_(bottom), bottom


def _blocks(flat: Tensor) -> list[slice]:
    size = CPU_BLOCK if flat.device.type == "cpu" else max(flat.numel(), 1)
    return [slice(start, start + size) for start in range(0, flat.numel(), size)]


def _evaluate(flat: Tensor, a: Tensor, b: Tensor, result: Tensor) -> Tensor:
    """Write the activation of ``flat`` (n,) into ``result`` (n,), which may be the same tensor."""
    if _has_kernel(flat):
        kernel, coefficients = compiled(pade_flat), torch.cat([a, b[1:]]).numpy()
        x, y = flat.detach().numpy(), result.numpy()
        run_in_threads(lambda piece: kernel(x[piece], y[piece], coefficients), _pieces(flat))
        return result
    for block in _blocks(flat):
        wide = flat[block].to(a.dtype)
        _, ratio, bottom = _quotient(wide, a, b)
        result[block] = ratio.mul_(wide).addcdiv_(a[0], bottom)
    return result


def _layout(x: Tensor) -> torch.memory_format:
    """The order in which a tensor's values lie in memory; contiguous where they lie in none of the usual ones."""
    channels_last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(x.dim())
    if channels_last is not None and not x.is_contiguous() and x.is_contiguous(memory_format=channels_last):
        return channels_last
    return torch.contiguous_format


def _as_it_lies(x: Tensor, layout: torch.memory_format) -> Tensor:
    """The values in a row (n,), a view where they lie in this order."""
    return x.contiguous(memory_format=layout).as_strided((x.numel(),), (1,))


def _has_kernel(flat: Tensor) -> bool:
    return flat.device.type == "cpu" and flat.dtype == torch.float32 and is_compiled()


def _pieces(flat: Tensor) -> list[slice]:
    """A piece a core, or fewer where there is little to do."""
    count = max(1, min(torch.get_num_threads(), flat.numel() // CPU_BLOCK))
    size = -(-flat.numel() // count)
    return [slice(start, start + size) for start in range(0, flat.numel(), size)]


def pade_(x: Tensor, coefficients: Tensor) -> Tensor:
    """Apply a Pade unit in place, without gradients.

    Args:
        x: Any shape, contiguous, float32.
        coefficients: (10,) a0 to a5, |b1| to |b4|, float32, on the same device.
    """
    flat = x.view(-1)
    _evaluate(flat, coefficients[:6], torch.cat([coefficients.new_ones(1), coefficients[6:]]), flat)
    return x


class _Pade(torch.autograd.Function):
    """Keeps nothing but its input for the way back; everything else is computed again there, block by block."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, numerator: Tensor, denominator: Tensor) -> Tensor:
        ctx.save_for_backward(x, numerator, denominator)
        a, b = _wide_coefficients(x, numerator, denominator)
        layout = _layout(x)
        result = torch.empty_like(x, memory_format=layout)
        _evaluate(_as_it_lies(x, layout), a, b, _as_it_lies(result, layout))
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, numerator, denominator = ctx.saved_tensors
        layout = _layout(x)
        result = torch.empty_like(x, memory_format=layout)
        flat, slope, grad_x = (_as_it_lies(tensor, layout) for tensor in (x, upstream.to(x.dtype), result))
        a, b = _wide_coefficients(x, numerator, denominator)
        if _has_kernel(flat):
            sums = _backward_compiled(flat, slope, a, b, grad_x)
        else:
            sums = torch.zeros(10, dtype=a.dtype, device=x.device)
            for block in _blocks(flat):
                wide = flat[block].to(a.dtype)
                grad_x[block] = _backward_block(wide, slope[block].to(a.dtype), a, b, sums)
        grad_b = -sums[6:].to(denominator.dtype) * denominator.sign()
        return result, sums[:6].to(numerator.dtype), grad_b


def _backward_compiled(flat: Tensor, slope: Tensor, a: Tensor, b: Tensor, grad_x: Tensor) -> Tensor:
    """Fill ``grad_x``; the sums (10,) float64 for the coefficients come back."""
    kernel, coefficients = compiled(pade_backward, do_reorder=True), torch.cat([a, b[1:]]).numpy()
    pieces = _pieces(flat)
    sums = torch.zeros(len(pieces), 10, dtype=torch.float64)
    x, upstream, result, total = flat.detach().numpy(), slope.numpy(), grad_x.numpy(), sums.numpy()

    def work(index: int) -> None:
        piece = pieces[index]
        kernel(x[piece], upstream[piece], result[piece], coefficients, total[index])

    run_in_threads(work, range(len(pieces)))
    return sums.sum(0)


def _backward_block(x: Tensor, upstream: Tensor, a: Tensor, b: Tensor, sums: Tensor) -> Tensor:
    """Gradient with respect to one block of x; adds the block's share of the coefficients' gradients to ``sums``."""
    bounded, ratio, bottom = _quotient(x, a, b)
    size = bounded.abs()
    weighted = upstream / bottom
    value = torch.addcdiv(ratio * bounded, a[0], bottom)
    power_numerator, power_denominator = weighted, weighted * value
    sums[0] += power_numerator.sum()
    for k in range(1, 6):
        power_numerator = power_numerator * bounded
        sums[k] += power_numerator.sum()
        if k < 5:
            power_denominator = power_denominator * size
            sums[5 + k] += power_denominator.sum()
    # f' = (P' - f Q') / Q, and the constant quotient where x is beyond the bound.
    steps = torch.arange(1, 6, device=x.device, dtype=a.dtype)
    top_slope = _horner(bounded, a[1:] * steps)
    bottom_slope = _horner(size, b[1:] * steps[:4]).mul_(bounded.sign())
    inner = top_slope.sub_(value.mul_(bottom_slope)).mul_(weighted)
    return torch.where(bounded == x, inner, ratio.mul_(upstream))


def _wide_coefficients(x: Tensor, numerator: Tensor, denominator: Tensor) -> tuple[Tensor, Tensor]:
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    bottom = denominator.detach().to(dtype).abs()
    return numerator.detach().to(dtype), torch.cat([bottom.new_ones(1), bottom])


class PadeActivation(nn.Module):
    """One activation with ten learnt coefficients, computed in float32 even under autocast.

    Set ``is_published_form`` to compute it by plain tensor operations: the oracle, and the benchmark's baseline.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weight_numerator = nn.Parameter(torch.tensor(START_NUMERATOR))
        self.weight_denominator = nn.Parameter(torch.tensor(START_DENOMINATOR))
        self.is_published_form = False

    def forward(self, x: Tensor) -> Tensor:
        """The activation of every element; shape and type stay."""
        with torch.autocast(x.device.type, enabled=False):
            if self.is_published_form:
                return rational(x, self.weight_numerator, self.weight_denominator)
            return _Pade.apply(x, self.weight_numerator, self.weight_denominator)
