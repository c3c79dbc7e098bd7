"""Owns the probability of every voxel: exact where the field was asked, interpolated from coarser steps elsewhere."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from napari_ossnet.engine.encoded_scan import EncodedScan
from napari_ossnet.engine.geometry import Lattice
from napari_ossnet.engine.refining.known_points import KnownPoints
from napari_ossnet.engine.refining.level_grid import LevelGrid
from napari_ossnet.engine.refining.octree_hints import Hints
from napari_ossnet.engine.refining.steps import finest_grid, ladder
from napari_ossnet.engine.scans.scan_frame import cropped


def scan_probabilities(encoded: EncodedScan, lattice: Lattice, known: KnownPoints, *, first_step: int) -> np.ndarray:
    """Probability of each foreground class, float32 (classes, i, j, k) in the scan's axis order.

    What the network's grid does not cover has probability 0.

    Args:
        encoded: The scan.
        lattice: Its own voxels, or those of a refined region.
        known: What was evaluated on the part of the lattice that the grid covers.
        first_step: In lattice points; there every sample is known.
    """
    start, stop = encoded.prepared.covered_box(lattice)
    covered = cropped(lattice, start, stop)
    known = known.cropped(start, covered.shape)
    has_prior = Hints(encoded.field, covered, None).has_prior
    logits = interpolated_logits(known, covered, has_prior=has_prior, first_step=first_step)
    # One class: a sigmoid; several: a softmax whose first column is the background.
    found = logits.sigmoid() if logits.shape[0] == 1 else logits.softmax(dim=0)[1:]
    everything = np.zeros((len(found), *lattice.shape), dtype=np.float32)
    everything[(slice(None), *(slice(a, b) for a, b in zip(start, stop, strict=True)))] = found.cpu().numpy()
    return np.ascontiguousarray(encoded.prepared.orientation.to_scan(everything))


def interpolated_logits(known: KnownPoints, lattice: Lattice, *, has_prior: bool, first_step: int) -> Tensor:
    """Logits (classes, i, j, k) of all lattice points, from the steps of the octree, coarse to fine.

    At each step, what is known at its samples replaces what the coarser ones predict, trilinearly.
    """
    keys, logits = known.everything()
    points = finest_grid(lattice).samples_of(keys)
    values: Tensor | None = None
    grid: LevelGrid | None = None
    for rung in ladder(lattice, final_step=1, has_prior=has_prior, first_step=first_step):
        if values is None or grid is None:
            values = logits.amin(dim=0)[:, None, None, None].expand(-1, *rung.grid.shape).clone()
        else:
            values = _upsampled(values, grid, rung.grid)
        grid = rung.grid
        samples, is_sample = _samples_at(points, grid)
        values[(slice(None), *samples[is_sample].T)] = logits[is_sample].T
    assert values is not None
    return values


def _samples_at(points: Tensor, grid: LevelGrid) -> tuple[Tensor, Tensor]:
    """The sample of each lattice point (n, 3), and whether the point is one at all (n,)."""
    steps = torch.tensor(grid.steps, device=points.device)
    last = torch.tensor(grid.lattice_shape, device=points.device) - 1
    samples = torch.div(points + steps - 1, steps, rounding_mode="floor")
    return samples, ((points % steps == 0) | (points == last)).all(dim=1)


def _upsampled(values: Tensor, coarse: LevelGrid, fine: LevelGrid) -> Tensor:
    """The values (classes, a, b, c) of a coarser grid's samples at those of a finer one, linear along each axis."""
    for axis, size in enumerate(fine.lattice_shape):
        places = torch.arange(fine.shape[axis], device=values.device) * fine.steps[axis]
        position = places.clamp_(max=size - 1)
        lower = torch.div(position, coarse.steps[axis], rounding_mode="floor").clamp_(
            max=max(coarse.shape[axis] - 2, 0)
        )
        upper = (lower + 1).clamp_(max=coarse.shape[axis] - 1)
        first = lower * coarse.steps[axis]
        length = (upper * coarse.steps[axis]).clamp_(max=size - 1) - first
        share = ((position - first) / length.clamp_(min=1)).to(values.dtype)
        share = share.reshape([-1 if dimension == axis + 1 else 1 for dimension in range(4)])
        values = torch.lerp(values.index_select(axis + 1, lower), values.index_select(axis + 1, upper), share)
    return values
