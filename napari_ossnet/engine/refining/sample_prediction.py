"""Predicts the samples of a finer step from a coarser one: labels where corners agree, trilinear logits elsewhere."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import torch
from torch import Tensor

from napari_ossnet.engine.refining.level_grid import LevelGrid, Triple
from napari_ossnet.engine.tensors import Logits

#: Cells that are subdivided at once.
_BLOCK = 2**14
#: Coarse planes that are upsampled at once.
_PLANES = 16


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
    finer = volume.new_empty(fine.shape)
    ratio, *ratios = _ratios(coarse, fine)
    # A few planes at a time: beside a large lattice there is no room for half of it, upsampled along two axes.
    for start in range(0, len(volume), _PLANES):
        planes = volume[start : start + _PLANES]
        for axis in (2, 1):
            if ratios[axis - 1] == 2:
                planes = _doubled(planes, axis, fine.shape[axis], label_bits)
        _spread(planes, finer[ratio * start : ratio * (start + _PLANES)], ratio, label_bits)
    finer[-1] = planes[-1]
    return finer.reshape(-1)


def _doubled(volume: Tensor, axis: int, size: int, label_bits: int) -> Tensor:
    shape = list(volume.shape)
    shape[axis] = size
    finer = volume.new_empty(shape)
    # A view with the axis in front shares its memory.
    source, target = volume.movedim(axis, 0), finer.movedim(axis, 0)
    _spread(source, target, 2, label_bits)
    # The lattice's last point is a sample of both grids, also where it is not a whole step from the one before.
    target[-1] = source[-1]
    return finer


def _spread(source: Tensor, target: Tensor, ratio: int, label_bits: int) -> None:
    """Copies each plane to one of the target, or to two, of which only the first is known."""
    target[0::ratio] = source[: -(-len(target) // ratio)]
    if ratio == 2:
        torch.bitwise_and(source[: len(target) // 2], label_bits, out=target[1::2])


def predict_children(
    fine: LevelGrid, coarse: LevelGrid, cells: Tensor, corner_logits: Logits, is_forced: Tensor, doubt: float
) -> Generator[None, None, Children]:
    """The finer samples of coarse cells; it pauses after every block of them.

    Args:
        fine: The finer grid.
        coarse: The coarser grid.
        cells: Keys of coarse cells, sorted, (c,).
        corner_logits: Logits of their corners, (c, 8, classes), the last axis of the grid fastest.
        is_forced: Cells whose samples are all in doubt, (c,).
        doubt: Share of the corners' variation at which a prediction is in doubt.
    """
    ratios = _ratios(coarse, fine)
    found, inside = [], []
    # In blocks, because neighbouring cells share most of their samples: what is kept is a third of what is made.
    for start in range(0, max(1, len(cells)), _BLOCK):
        block = slice(start, start + _BLOCK)
        lowest = coarse.samples_of(cells[block]) * torch.tensor(ratios, device=cells.device)
        keys = _keys_in_cells(fine, lowest, ratios)
        logits = _subdivided(corner_logits[block], ratios, lowest, fine.shape)
        tolerance = torch.where(is_forced[block], torch.inf, doubt * variation(corner_logits[block]))
        found.append(_each_once(keys.flatten(), logits.flatten(0, 1), tolerance.repeat_interleave(keys.shape[1])))
        inside.append(_cells_within(fine, lowest, ratios))
        yield
    keys, logits, tolerance = (torch.cat(parts) for parts in zip(*found, strict=True))
    if len(found) > 1:
        keys, logits, tolerance = _each_once(keys, logits, tolerance)
    return Children(keys=keys, logits=logits, tolerance=tolerance, cells=torch.cat(inside).unique())


def variation(corner_logits: Logits) -> Tensor:
    """How much the logits vary over each cell, (cells,), from its corners' (cells, 8, classes)."""
    return (corner_logits.amax(dim=1) - corner_logits.amin(dim=1)).amax(dim=1)


def _each_once(keys: Tensor, logits: Logits, tolerance: Tensor) -> tuple[Tensor, Logits, Tensor]:
    """Sorted keys with the logits that came first and the largest tolerance."""
    keys, order = keys.sort(stable=True)
    is_first = torch.ones(len(keys), dtype=torch.bool, device=keys.device)
    is_first[1:] = keys[1:] != keys[:-1]
    group = torch.cumsum(is_first, dim=0) - 1
    keys = keys[is_first]
    widest = torch.zeros(len(keys), device=keys.device).scatter_reduce(0, group, tolerance[order], "amax")
    return keys, logits[order[is_first]], widest


def _subdivided(corner_logits: Logits, ratios: Triple, lowest: Tensor, shape: Triple) -> Logits:
    """Corner logits (c, 8, classes) to those of all finer samples of the cells, (c, samples, classes)."""
    cells, _, classes = corner_logits.shape
    values = corner_logits.reshape(cells, 2, 2, 2, classes)
    for axis, ratio in enumerate(ratios):
        if ratio == 1:
            continue
        lower, upper = values.unbind(axis + 1)
        # The lattice's last cell may be one finer step wide only: then its middle sample is its upper corner.
        is_clamped = (lowest[:, axis] + 1 >= shape[axis] - 1).reshape(-1, 1, 1, 1)
        middle = torch.where(is_clamped, upper, 0.5 * (lower + upper))
        values = torch.stack([lower, middle, upper], dim=axis + 1)
    return values.flatten(1, 3)


def _keys_in_cells(fine: LevelGrid, lowest: Tensor, ratios: Triple) -> Tensor:
    """Keys (c, samples) of the finer samples in cells whose lowest ones (c, 3) are given, the last axis fastest."""
    _, j, k = fine.shape
    keys = torch.zeros((len(lowest), 1), dtype=torch.int64, device=lowest.device)
    for axis, (ratio, stride) in enumerate(zip(ratios, (j * k, k, 1), strict=True)):
        along = lowest[:, axis, None] + torch.arange(ratio + 1, device=lowest.device)
        along = along.clamp_(max=fine.shape[axis] - 1) * stride
        keys = (keys[:, :, None] + along[:, None, :]).flatten(1)
    return keys


def _cells_within(fine: LevelGrid, lowest: Tensor, ratios: Triple) -> Tensor:
    """The finer cells in coarse cells whose lowest finer samples are given."""
    offsets = torch.cartesian_prod(*[torch.arange(ratio, device=lowest.device) for ratio in ratios])
    samples = (lowest[:, None, :] + offsets).reshape(-1, 3)
    last = torch.tensor(fine.shape, device=lowest.device) - 1
    return fine.keys_of(samples[((samples < last) | (last == 0)).all(dim=1)]).unique()


def _ratios(coarse: LevelGrid, fine: LevelGrid) -> Triple:
    i, j, k = (a // b for a, b in zip(coarse.steps, fine.steps, strict=True))
    return i, j, k
