"""The encoder of OSS-Net X: sees the whole grid at a reduced size and gives feature volumes, context and prior."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

Result = TypeVar("Result")

#: Native voxels of one slab of the stem at inference: bounds what the half-size features take.
SLAB_VOXELS = 2**21


class ResidualConvolution(nn.Module):
    """Group norm, activation, convolution of 3^3, added to the input (pre-activation, He et al., ECCV 2016)."""

    def __init__(self, channels: int, groups: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels)
        self.activation = activation()
        self.convolution = nn.Conv3d(channels, channels, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """Same shape in and out, (batch, channels, i, j, k)."""
        return added(self.convolution(self.activation(self.norm(features))), features)


class HalvingConvolution(nn.Module):
    """A convolution of 2^3 with stride 2: neighbouring voxels folded into channels and mixed by one matrix.

    Nothing overlaps, so it has no halo; in channels-last memory it costs little more than reading its input once.
    """

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.mix = nn.Conv3d(channels, out_channels, 2, stride=2)

    def forward(self, features: Tensor) -> Tensor:
        """(batch, channels, i, j, k) -> (batch, out_channels, i/2, j/2, k/2)."""
        return self.mix(features.contiguous(memory_format=torch.channels_last_3d))


class ContextEncoder(nn.Module):
    """A residual encoder with skips back up, behind a stem of halving convolutions that has no halo and no norm.

    The group norms (Wu and He, ECCV 2018) take their statistics per volume: nothing depends on the batch, so that a
    batch split over processes trains like the whole.

    Args:
        channels: Of the grid.
        stem: Channels after each halving of the stem; the last is the width of the first level.
        levels: Channels of each level, the first at 1 / 2^len(stem) of the grid.
        down: Residual convolutions a level on the way down.
        up: Residual convolutions a level on the way back up, finest first, one less than levels.
        groups: Of the group norms.
        activation: Makes every activation.
    """

    def __init__(
        self,
        channels: int,
        stem: tuple[int, ...],
        levels: tuple[int, ...],
        down: tuple[int, ...],
        up: tuple[int, ...],
        groups: int,
        activation: type[nn.Module],
    ) -> None:
        super().__init__()
        widths = (channels, *stem[:-1], levels[0])
        stages: list[nn.Module] = []
        for index, (width, following) in enumerate(itertools.pairwise(widths)):
            stages += [activation()] if index else []
            stages += [HalvingConvolution(width, following)]
        self.stem = nn.Sequential(*stages)
        self.stem_factor = 2 ** len(stem)
        self.width = levels[0]
        self.factor = self.stem_factor * 2 ** (len(levels) - 1)
        self.scales = tuple(self.stem_factor * 2**level for level in range(len(levels)))

        def chain(width: int, count: int) -> nn.Sequential:
            return nn.Sequential(*(ResidualConvolution(width, groups, activation) for _ in range(count)))

        def closing(width: int) -> nn.Sequential:
            return nn.Sequential(nn.GroupNorm(groups, width), activation())

        self.down = nn.ModuleList(chain(width, count) for width, count in zip(levels, down, strict=True))
        self.halve = nn.ModuleList(HalvingConvolution(a, b) for a, b in itertools.pairwise(levels))
        self.project = nn.ModuleList(nn.Conv3d(b, a, 1) for a, b in itertools.pairwise(levels))
        self.up = nn.ModuleList(chain(width, count) for width, count in zip(levels, up, strict=False))
        self.closing = nn.ModuleList(closing(width) for width in levels)

    def forward(self, volume: Tensor) -> list[Tensor]:
        """Feature volumes, finest first; the last is the deepest level.

        Args:
            volume: Normalised grid, (batch, channels, i, j, k), each extent a multiple of ``factor``.
        """
        return run_to_end(self.steps(volume))

    def steps(self, volume: Tensor) -> Generator[None, None, list[Tensor]]:
        """The same, with a pause after every slab of the stem and every convolution: there a run reports and stops."""
        return (yield from self.steps_after_stem((yield from self.fold(volume))))

    def steps_after_stem(self, features: Tensor) -> Generator[None, None, list[Tensor]]:
        """The same from the stem's output on."""
        skips: list[Tensor] = []
        for level, chain in enumerate(self.down):
            features = yield from _passed(chain, features if level == 0 else self.halve[level - 1](features))
            skips.append(features)
        outputs = [self.closing[-1](skips.pop())]
        for level in reversed(range(len(self.up))):
            features = functional.interpolate(self.project[level](features), scale_factor=2, mode="trilinear")
            features = yield from _passed(self.up[level], added(features, skips.pop()))
            outputs.append(self.closing[level](features))
        return outputs[::-1]

    def fold(self, volume: Tensor) -> Generator[None, None, Tensor]:
        """The stem's output; without gradients in slabs, exactly the same because a halving convolution has no halo."""
        if torch.is_grad_enabled():
            return self.stem(volume)
        return (yield from self.fold_planes(lambda start, stop: volume[:, :, start:stop], volume.shape))

    def fold_planes(self, read: Callable[[int, int], Tensor], shape: Sequence[int]) -> Generator[None, None, Tensor]:
        """The stem's output, from a few planes of the volume at a time.

        Args:
            read: Gives the planes (batch, channels, planes, j, k) of the first axis from a start up to a stop.
            shape: Of the whole, (batch, channels, i, j, k).
        """
        batch, _, i, j, k = shape
        factor = self.stem_factor
        planes = factor * max(1, SLAB_VOXELS // (factor * j * k))
        if planes >= i:
            return self.stem(read(0, i))
        folded: Tensor | None = None
        for start in range(0, i, planes):
            slab = self.stem(read(start, min(start + planes, i)))
            if folded is None:
                # In one piece from the start: slabs kept one by one would lie scattered between the memory of the work.
                folded = slab.new_empty((batch, self.width, i // factor, j // factor, k // factor))
                folded = folded.to(memory_format=torch.channels_last_3d)
            folded[:, :, start // factor : start // factor + slab.shape[2]] = slab
            yield
        assert folded is not None
        return folded


def added(result: Tensor, other: Tensor) -> Tensor:
    """The sum; without gradients in the memory of ``result``, because whole scans at a quarter of their size count."""
    return result + other if torch.is_grad_enabled() else result.add_(other)


def _passed(chain: nn.Module, features: Tensor) -> Generator[None, None, Tensor]:
    """Features after a chain of residual convolutions, with a pause after each."""
    assert isinstance(chain, nn.Sequential)
    for convolution in chain:
        features = convolution(features)
        yield
    return features


def run_to_end(steps: Generator[None, None, Result]) -> Result:
    """What a generator returns, without its pauses."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value
