"""Predicts the samples of a finer step from a coarser one: labels where corners agree, trilinear logits elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from napari_ossnet.engine.level_grid import LevelGrid, Triple
from napari_ossnet.engine.tensors import Logits


@dataclass(frozen=True, slots=True, kw_only=True)
class Children:
    """The finer samples in subdivided cells.

    Attributes:
        keys: Of the finer grid, sorted, each once, (n,).
        logits: Trilinear between the coarse corners, (n, classes); at a coarse sample its own.
        tolerance: A sample nearer to the decision than this is in doubt, (n,); infinite in forced cells.
        cells: The finer cells in the subdivided ones, sorted, (m,).
    """

    keys: Tensor
    logits: Logits
    tolerance: Tensor
    cells: Tensor


def upsampled_state(state: Tensor, coarse: LevelGrid, fine: LevelGrid, label_bits: int) -> Tensor:
    """The state of every finer sample: that of the coarse sample below it, known only where the two coincide."""
    volume = state.reshape(coarse.shape)
    for axis, ratio in enumerate(_ratios(coarse, fine)):
        places = torch.arange(fine.shape[axis], device=state.device)
        volume = volume.index_select(axis, _lower_sample(places, ratio, coarse.shape[axis], fine.shape[axis]))
        if ratio == 2:
            between: list[slice] = [slice(None)] * 3
            between[axis] = slice(1, fine.shape[axis] - 1, 2)
            volume[tuple(between)] &= label_bits
    return volume.reshape(-1)


def predict_children(
    fine: LevelGrid, coarse: LevelGrid, cells: Tensor, corner_logits: Logits, is_forced: Tensor, doubt: float
) -> Children:
    """The finer samples of coarse cells.

    Args:
        fine: The finer grid.
        coarse: The coarser grid.
        cells: Keys of coarse cells, sorted, (c,).
        corner_logits: Logits of their corners, (c, 8, classes), the last axis of the grid fastest.
        is_forced: Cells whose samples are all in doubt, (c,).
        doubt: Share of the corners' variation at which a prediction is in doubt.
    """
    ratios = _ratios(coarse, fine)
    ratio = torch.tensor(ratios, device=cells.device)
    last = torch.tensor(fine.shape, device=cells.device) - 1
    lowest = coarse.samples_of(cells) * ratio
    offsets = torch.cartesian_prod(*[torch.arange(r + 1, device=cells.device) for r in ratios])
    samples = torch.minimum(lowest[:, None, :] + offsets, last)
    keys = fine.keys_of(samples).flatten()
    logits = _subdivided(corner_logits, ratios, lowest, last)
    tolerance = doubt * (corner_logits.amax(dim=1) - corner_logits.amin(dim=1)).amax(dim=1)
    tolerance = torch.where(is_forced, torch.inf, tolerance)[:, None].expand(-1, len(offsets)).flatten()
    order = torch.argsort(keys, stable=True)
    keys = keys[order]
    is_first = torch.ones(len(keys), dtype=torch.bool, device=keys.device)
    is_first[1:] = keys[1:] != keys[:-1]
    group = torch.cumsum(is_first, dim=0) - 1
    widest = torch.zeros(int(is_first.sum()), device=keys.device).scatter_reduce(0, group, tolerance[order], "amax")
    return Children(
        keys=keys[is_first],
        logits=logits.flatten(0, 1)[order[is_first]],
        tolerance=widest,
        cells=_cells_within(fine, lowest, ratios),
    )


def _subdivided(corner_logits: Logits, ratios: Triple, lowest: Tensor, last: Tensor) -> Logits:
    """Corner logits (c, 8, classes) to those of all finer samples of the cells, (c, samples, classes)."""
    cells, _, classes = corner_logits.shape
    values = corner_logits.reshape(cells, 2, 2, 2, classes)
    for axis, ratio in enumerate(ratios):
        if ratio == 1:
            continue
        lower, upper = values.unbind(axis + 1)
        # The lattice's last cell may be one finer step wide only: then its middle sample is its upper corner.
        is_clamped = (lowest[:, axis] + 1 >= last[axis]).reshape(-1, 1, 1, 1)
        middle = torch.where(is_clamped, upper, 0.5 * (lower + upper))
        values = torch.stack([lower, middle, upper], dim=axis + 1)
    return values.flatten(1, 3)


def _cells_within(fine: LevelGrid, lowest: Tensor, ratios: Triple) -> Tensor:
    """The finer cells in coarse cells whose lowest finer samples are given."""
    offsets = torch.cartesian_prod(*[torch.arange(ratio, device=lowest.device) for ratio in ratios])
    samples = (lowest[:, None, :] + offsets).reshape(-1, 3)
    last = torch.tensor(fine.shape, device=lowest.device) - 1
    return fine.keys_of(samples[((samples < last) | (last == 0)).all(dim=1)]).unique()


def _ratios(coarse: LevelGrid, fine: LevelGrid) -> Triple:
    i, j, k = (a // b for a, b in zip(coarse.steps, fine.steps, strict=True))
    return i, j, k


def _lower_sample(places: Tensor, ratio: int, coarse_size: int, fine_size: int) -> Tensor:
    """The coarse sample at or below each finer one; the lattice's last point is a sample of both."""
    lower = torch.div(places, ratio, rounding_mode="floor")
    return torch.where(places == fine_size - 1, coarse_size - 1, lower)
