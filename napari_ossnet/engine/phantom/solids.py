"""Level sets of simple solids, in mm, negative inside: what anatomy made by code is put together from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from napari_ossnet.engine.phantom.random_fields import FloatArray

Point = tuple[float, float, float]


def ellipsoid(where: Sequence[FloatArray], centre: Point, radii: Point) -> FloatArray:
    """About the signed distance from an ellipsoid's surface in mm, negative inside.

    Args:
        where: Coordinates in mm, three arrays that broadcast against each other.
        centre: Its centre in mm.
        radii: Its half-axes in mm.
    """
    scaled = [((w - c) / r) ** 2 for w, c, r in zip(where, centre, radii, strict=True)]
    size = float(np.prod(radii)) ** (1 / 3)
    return ((np.sqrt(scaled[0] + scaled[1] + scaled[2]) - 1) * size).astype(np.float32)


def tube(
    where: Sequence[FloatArray], points: Sequence[Point], radii: Sequence[float] | NDArray[np.floating]
) -> FloatArray:
    """Signed distance in mm from a chain of cones with round ends, through points with a radius each."""
    best: FloatArray | None = None
    for start, end, first, last in zip(points[:-1], points[1:], radii[:-1], radii[1:], strict=True):
        along = np.subtract(end, start)
        offsets = [w - s for w, s in zip(where, start, strict=True)]
        share = sum(o * a for o, a in zip(offsets, along, strict=True)) / float(along @ along)
        share = np.clip(share, 0, 1)
        square = sum((o - share * a) ** 2 for o, a in zip(offsets, along, strict=True))
        cone = (np.sqrt(square) - (first + share * (last - first))).astype(np.float32)
        best = cone if best is None else np.minimum(best, cone)
    assert best is not None
    return best


def union(fields: Iterable[FloatArray], softness: float) -> FloatArray:
    """Smooth minimum: bodies that flow into each other over about ``softness`` mm."""
    total: FloatArray | None = None
    for field in fields:
        if total is None:
            total = field
            continue
        blend = np.clip(0.5 + 0.5 * (field - total) / softness, 0, 1)
        total = field + blend * (total - field) - softness * blend * (1 - blend)
    assert total is not None
    return total
