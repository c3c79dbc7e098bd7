"""Which locations of a volume a training step looks at: uniform, near the border, where unsure, or inside boxes.

Locations are whole voxels of the network's grid. Everything is drawn from a generator that is seeded by (seed, epoch,
case), so that neither workers nor ranks change what is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ossnet_training.config import SamplingSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """One volume's locations of a step.

    ``indices`` (n, 3) int64 grid voxels; ``boxes`` (b, 3) int64 first voxels of the boxes that they lie in, location
    ``m`` in box ``m * b // n``, or None where they may lie anywhere.
    """

    indices: Tensor
    boxes: Tensor | None = None


def case_generator(seed: int, epoch: int, case: int, stream: int = 0) -> torch.Generator:
    """A generator that depends on these numbers alone; ``stream`` keeps locations and augmentation apart."""
    # Odd multipliers of SplitMix64 (Steele et al., 2014) spread neighbouring numbers over the 64 bits.
    mixed = (
        seed * 0x9E3779B97F4A7C15 + epoch * 0xBF58476D1CE4E5B9 + case * 0x94D049BB133111EB + stream * 0xD6E8FEB86659FD93
    )
    return torch.Generator().manual_seed((mixed ^ (mixed >> 31)) & (2**63 - 1))


def draw_locations(
    image: Tensor, label: Tensor, settings: SamplingSettings, generator: torch.Generator, count: int
) -> Draw:
    """Draw a step's locations of one volume: spread out or in boxes, uniform or half near the border.

    Args:
        image: The grid (channels, i, j, k), any device.
        label: Class numbers (i, j, k), integer, on the same device.
        settings: The recipe's.
        generator: On the CPU.
        count: Locations to draw.
    """
    if settings.strategy == "all":
        return Draw(indices=every_voxel(label.shape))
    if settings.boxes:
        return draw_boxes(image, label, settings, generator, count)
    indices = uniform_locations(label.shape, count, generator)
    if settings.strategy == "border":
        near = band_locations(label, settings.border_voxels, int(count * settings.border_fraction), generator)
        # A band with fewer voxels gives what it has, the rest is uniform.
        indices = torch.cat([near.cpu(), indices[: count - len(near)]])
    return Draw(indices=indices)


def every_voxel(shape: Sequence[int]) -> Tensor:
    """All voxels (n, 3) of a grid, the last axis fastest."""
    return torch.stack(torch.meshgrid(*(torch.arange(n) for n in shape), indexing="ij"), dim=-1).reshape(-1, 3)


def draw_planes(shape: Sequence[int], axis: int, count: int, generator: torch.Generator) -> Draw:
    """All voxels of ``count`` different planes across an axis, plane by plane."""
    chosen = torch.randperm(shape[axis], generator=generator)[:count]
    flat = every_voxel([1 if a == axis else n for a, n in enumerate(shape)])
    indices = flat.repeat(len(chosen), 1)
    indices[:, axis] = chosen.repeat_interleave(len(flat))
    return Draw(indices=indices)


def uniform_locations(shape: Sequence[int], count: int, generator: torch.Generator) -> Tensor:
    """Voxels (count, 3) drawn evenly, with replacement."""
    return torch.stack([torch.randint(size, (count,), generator=generator) for size in shape], dim=1)


def band_locations(label: Tensor, reach: int, count: int, generator: torch.Generator) -> Tensor:
    """At most ``count`` distinct voxels (n, 3) within ``reach`` voxels of a border between classes."""
    voxels = border_band(label, reach).nonzero()
    order = torch.randperm(len(voxels), generator=generator)[:count]
    return voxels[order.to(voxels.device)]


def border_band(label: Tensor, reach: int) -> Tensor:
    """Voxels (i, j, k) bool within a cube of ``reach`` voxels of one whose neighbour has another class.

    The published script takes a Sobel edge and its 13^3 maximum; an edge here is a difference between neighbours along
    an axis, which is where the Sobel response is not zero for a label map. Computed inside the label's own box.
    """
    band = torch.zeros(label.shape, dtype=torch.bool, device=label.device)
    occupied = label.nonzero()
    if not len(occupied):
        return band
    start = (occupied.amin(0) - reach - 1).clamp_min(0).tolist()
    stop = (occupied.amax(0) + reach + 2).tolist()
    window = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    edge = _edges(label[window]).to(torch.float32)[None, None]
    # A cube's maximum is three maxima along one axis each.
    for axis in range(3):
        size = [1, 1, 1]
        size[axis] = 2 * reach + 1
        edge = functional.max_pool3d(edge, size, stride=1, padding=[s // 2 for s in size])
    band[window] = edge[0, 0] > 0
    return band


def _edges(label: Tensor) -> Tensor:
    edge = torch.zeros(label.shape, dtype=torch.bool, device=label.device)
    for axis in range(3):
        differs = label.narrow(axis, 1, label.shape[axis] - 1) != label.narrow(axis, 0, label.shape[axis] - 1)
        edge.narrow(axis, 1, label.shape[axis] - 1).logical_or_(differs)
        edge.narrow(axis, 0, label.shape[axis] - 1).logical_or_(differs)
    return edge


def draw_boxes(
    image: Tensor, label: Tensor, settings: SamplingSettings, generator: torch.Generator, count: int
) -> Draw:
    """Boxes with evenly many uniform locations in each: with ``border``, ``border_fraction`` of them lie on the border.

    The others lie anywhere, which means around voxels at which the scan is not constant; one box of four of these may
    lie in the background too, which needs few examples.
    """
    edge = settings.box_voxels
    last = (torch.tensor(label.shape) - edge).clamp_min(0)
    on_border = round(settings.boxes * settings.border_fraction) if settings.strategy == "border" else 0
    inside = on_border + round((settings.boxes - on_border) * 0.75)
    starts = torch.stack([torch.randint(int(high) + 1, (settings.boxes,), generator=generator) for high in last], dim=1)
    starts[:on_border] = _starts_around(_edges(label), starts[:on_border], edge, 1, generator)
    # Every fourth voxel will do to find anatomy.
    coarse = image[0, ::4, ::4, ::4]
    varied = torch.zeros_like(coarse, dtype=torch.bool)
    varied[1:] = coarse[1:] != coarse[:-1]
    starts[on_border:inside] = _starts_around(varied, starts[on_border:inside], edge, 4, generator)
    starts = starts.minimum(last).clamp_min(0)
    each = max(1, count // settings.boxes)
    size = torch.minimum(torch.tensor(label.shape), torch.tensor(edge))
    offsets = torch.stack(
        [torch.randint(int(high), (settings.boxes, each), generator=generator) for high in size], dim=2
    )
    return Draw(indices=(starts[:, None] + offsets).reshape(-1, 3), boxes=starts)


def _starts_around(wanted: Tensor, otherwise: Tensor, edge: int, step: int, generator: torch.Generator) -> Tensor:
    """First voxels (n, 3) of boxes around randomly chosen voxels of a mask whose voxels are ``step`` apart."""
    voxels = wanted.nonzero().cpu() * step
    if not len(voxels):
        return otherwise
    picked = voxels[torch.randint(len(voxels), (len(otherwise),), generator=generator)]
    # The voxel lies anywhere in the middle half of the box.
    return picked - torch.randint(edge // 4, edge - edge // 4, picked.shape, generator=generator)


def unsure_locations(candidates: Tensor, probabilities: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """The locations of which the network is least sure, drawn in proportion to the entropy of its answer.

    The paper's section 5 names sampling by the network's own answers as future work. Drawing in proportion (and not
    taking the top) keeps the hardest label errors from filling every step.

    Args:
        candidates: Voxels (n, 3) drawn by another strategy.
        probabilities: The network's answer there (n, classes), rows sum to one.
        count: Voxels to keep, without replacement.
        generator: On the CPU.
    """
    entropy = -(probabilities * probabilities.clamp_min(1e-6).log()).sum(dim=1).cpu() + 1e-4
    return candidates[torch.multinomial(entropy, count, replacement=False, generator=generator)]
