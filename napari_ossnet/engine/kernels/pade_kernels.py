"""Pade units over arrays in one pass, to be compiled: the formulas of ``networks/pade.py``, where they are explained.

Coefficients come as (10,) float32: a0 to a5, |b1| to |b4|.
"""

from __future__ import annotations

import numpy as np

#: As in ``networks/pade.py``.
_BOUND = np.float32(1e7)
_ZERO, _ONE, _TWO, _THREE, _FOUR, _FIVE = (np.float32(number) for number in range(6))
#: Elements whose gradients are summed up in float32 before they go on in float64.
_GROUP = 256


def _bounded(value: np.float32) -> np.float32:
    return min(max(value, -_BOUND), _BOUND)


def _top(x: np.float32, c: np.ndarray) -> np.float32:
    """P1 of P = a0 + x P1."""
    return c[1] + x * (c[2] + x * (c[3] + x * (c[4] + x * c[5])))


def _bottom(size: np.float32, c: np.ndarray) -> np.float32:
    """Q."""
    return _ONE + size * (c[6] + size * (c[7] + size * (c[8] + size * c[9])))


def _top_slope(x: np.float32, c: np.ndarray) -> np.float32:
    """P'."""
    return c[1] + x * (_TWO * c[2] + x * (_THREE * c[3] + x * (_FOUR * c[4] + x * (_FIVE * c[5]))))


def _bottom_slope(size: np.float32, c: np.ndarray) -> np.float32:
    """Q' with respect to |x|."""
    return c[6] + size * (_TWO * c[7] + size * (_THREE * c[8] + size * (_FOUR * c[9])))


def _activation(value: np.float32, c: np.ndarray) -> np.float32:
    bounded = _bounded(value)
    bottom = _bottom(abs(bounded), c)
    return c[0] / bottom + value * (_top(bounded, c) / bottom)


def pade_flat(x: np.ndarray, result: np.ndarray, coefficients: np.ndarray) -> None:
    """Activation of ``x`` (n,) into ``result`` (n,), which may be ``x``; float32."""
    c = coefficients.copy()
    for i in range(x.size):
        result[i] = _activation(x[i], c)


def pade_columns(x: np.ndarray, first: int, bias: np.ndarray, coefficients: np.ndarray) -> None:
    """Activation of some columns plus their ``bias``, in place.

    Args:
        x: (n, features) float32, contiguous.
        first: The first of the columns.
        bias: (columns,), for as many columns as are meant.
        coefficients: (10,).
    """
    c = coefficients.copy()
    for row in range(x.shape[0]):
        values = x[row, first : first + bias.size]
        for i in range(bias.size):
            values[i] = _activation(values[i] + bias[i], c)


def pade_backward(
    x: np.ndarray, upstream: np.ndarray, grad_x: np.ndarray, coefficients: np.ndarray, sums: np.ndarray
) -> None:
    """Gradient with respect to ``x`` (n,), and the sums (10,) float64 for the coefficients, added to what is there.

    To be compiled with re-ordering: every product that may form stays below the largest float.

    Entry k of ``sums`` is sum of g x^k / Q for k up to 5; entry 5 + k is sum of g f |x|^k / Q for k from 1 to 4.
    """
    c = coefficients.copy()
    for start in range(0, x.size, _GROUP):
        # Slices, because an index that may wrap around keeps the loop from being vectorised.
        values, slopes, out = (
            x[start : start + _GROUP],
            upstream[start : start + _GROUP],
            grad_x[start : start + _GROUP],
        )
        s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = s8 = s9 = _ZERO
        for i in range(values.size):
            x1 = _bounded(values[i])
            size = abs(x1)
            inverse = _ONE / _bottom(size, c)
            ratio = _top(x1, c) * inverse
            activation = c[0] * inverse + x1 * ratio
            slope = _bottom_slope(size, c)
            # The size has no slope at zero, as torch has it.
            signed = slope if x1 > 0 else (-slope if x1 < 0 else _ZERO)
            inner = (_top_slope(x1, c) - activation * signed) * inverse
            out[i] = slopes[i] * (inner if x1 == values[i] else ratio)
            share, x2 = slopes[i] * inverse, x1 * x1
            weighted = share * activation
            s0 += share
            s1 += share * x1
            s2 += share * x2
            s3 += share * x1 * x2
            s4 += (share * x2) * x2
            s5 += (share * x2) * x2 * x1
            s6 += weighted * size
            s7 += weighted * x2
            s8 += (weighted * x2) * size
            s9 += (weighted * x2) * x2
        for k, total in enumerate((s0, s1, s2, s3, s4, s5, s6, s7, s8, s9)):
            sums[k] += total


def pade_pool(x: np.ndarray, result: np.ndarray, coefficients: np.ndarray) -> None:
    """Activation of ``x`` and then the mean of every 2^3 voxels, in one pass.

    Args:
        x: (2 i, 2 j, 2 k, channels) float32, contiguous; left as it is.
        result: (i, j, k, channels).
        coefficients: (10,).
    """
    c = coefficients.copy()
    eighth = np.float32(0.125)
    for i in range(result.shape[0]):
        for j in range(result.shape[1]):
            for k in range(result.shape[2]):
                total = result[i, j, k]
                total[:] = _ZERO
                for corner in range(8):
                    values = x[2 * i + (corner >> 2), 2 * j + (corner >> 1 & 1), 2 * k + (corner & 1)]
                    for channel in range(total.size):
                        total[channel] += eighth * _activation(values[channel], c)
