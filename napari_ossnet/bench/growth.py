"""How the octree's work grows with resolution, on shapes whose formula is known."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from napari_ossnet.bench.timing import drain
from napari_ossnet.engine.geometry import Lattice, scaling_affine
from napari_ossnet.engine.refining.refinement import refine

#: Voxels of the grid along each axis: lattices of more points ask between its voxels, beyond its resolution.
GRID = 256
#: Edge of the prior's cells in grid voxels, as the latent grid of the tumour task has them.
CELL = 32
CENTRE = (126.3, 129.1, 124.7)


def _lengths(offsets: Tensor) -> Tensor:
    lengths: Tensor = torch.linalg.vector_norm(offsets, dim=1)
    return lengths


def _ball(offsets: Tensor) -> Tensor:
    return 70.0 - _lengths(offsets)


def _lobes(offsets: Tensor) -> Tensor:
    radius = _lengths(offsets)
    x, y, z = (offsets / radius.clamp(min=1e-3)[:, None]).unbind(1)
    return 62.0 * (1 + 0.22 * torch.sin(5 * x + 1) * torch.cos(4 * y) + 0.1 * torch.sin(7 * z)) - radius


def _pair(offsets: Tensor) -> Tensor:
    apart = torch.tensor([58.0, 20.0, -12.0], device=offsets.device)
    along = ((offsets @ apart) / (apart @ apart)).clamp(-1, 1)
    bridge = 6.0 - _lengths(offsets - along[:, None] * apart)
    large = 44.0 - _lengths(offsets - apart)
    small = 30.0 - _lengths(offsets + apart)
    return torch.maximum(torch.maximum(large, small), bridge)


#: Logits by offset (n, 3) from the centre, grid voxels; positive inside, about the distance to the surface.
SHAPES: dict[str, Callable[[Tensor], Tensor]] = {"ball": _ball, "lobes": _lobes, "pair": _pair}


class AnalyticField:
    """A shape as a field, with the prior that an encoder would give: cells that may hold a part of it."""

    class_count = 1
    bytes_per_location = 64

    def __init__(self, shape: str) -> None:
        self.device = torch.device("cpu")
        self._logits = SHAPES[shape]

    def query(self, locations: Tensor) -> Tensor:
        """Logits (n, 1) of locations (n, 3)."""
        return self._logits(locations - torch.tensor(CENTRE))[:, None]

    def prior(self, locations: Tensor) -> Tensor:
        """Whether the location's cell may reach into the shape, (n,) bool."""
        middles = (locations / CELL).floor() * CELL + CELL / 2
        return self.query(middles)[:, 0] > -CELL * 3**0.5 / 2


def lattice_of(size: int) -> Lattice:
    """``size`` points along each axis, spread over the whole grid; faces meet faces."""
    scale = GRID / size
    to_grid = scaling_affine((scale,) * 3, (scale / 2 - 0.5,) * 3)
    return Lattice(shape=(size, size, size), to_grid=to_grid, affine=to_grid)


def measure_growth(sizes: tuple[int, ...], shapes: tuple[str, ...], location_s: float | None) -> Any:
    """Figures as JSON values.

    Args:
        sizes: Lattice points along an axis.
        shapes: Keys of ``SHAPES``.
        location_s: What a location costs a real decoder, measured in the same run; None leaves that part out.

    Returns:
        ``exponent`` is the slope of log(locations) over log(size), the largest of the shapes; ``steepest`` is that of
        the last two sizes alone, where coarse steps, which cost the same at every size, weigh least. A location's
        time is that of the traversal (measured here, where answers cost next to nothing) plus ``location_s``; the
        spread is how much longer it is at the worst size than at the best.
    """
    curves = {shape: [_measure(shape, size) for size in sizes] for shape in shapes}
    exponents = {shape: exponent_of(sizes, [point["locations"] for point in curve]) for shape, curve in curves.items()}
    steepest = [exponent_of(sizes[-2:], [point["locations"] for point in curve[-2:]]) for curve in curves.values()]
    spreads = []
    for curve in curves.values():
        for point in curve:
            point["location_us"] = point["traversal_us"] + (location_s or 0.0) * 1e6
        times = [point["location_us"] for point in curve]
        spreads.append(max(times) / min(times) - 1)
    return {
        "exponent": max(exponents.values()),
        "exponents": exponents,
        "steepest": max(steepest),
        "location_time_spread": max(spreads) if location_s is not None else None,
        "decoder_location_us": None if location_s is None else location_s * 1e6,
        "curves": curves,
    }


def exponent_of(sizes: tuple[int, ...], counts: list[int]) -> float:
    """The power of the size with which counts grow, by least squares of the logarithms."""
    slope, _ = np.polyfit(np.log(sizes), np.log(counts), 1)
    return float(slope)


def _measure(shape: str, size: int) -> dict[str, Any]:
    field = AnalyticField(shape)
    began_at = time.perf_counter()
    refined = drain(refine(field, lattice_of(size), chunk_size=2**17))
    seconds = time.perf_counter() - began_at
    return {
        "size": size,
        "locations": refined.evaluated_locations,
        "seconds": seconds,
        "traversal_us": seconds / refined.evaluated_locations * 1e6,
    }
