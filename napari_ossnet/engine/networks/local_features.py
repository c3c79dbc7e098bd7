"""Native-resolution features of OSS-Net X: a few convolutions that can be computed on any box of the grid.

A branch has no normalisation over space and sees the grid as continued by zeros on all sides (each convolution is
'valid' over that continuation). So the features of a box depend on the box and a halo alone: computed on boxes they
equal those computed on the whole grid, which is what lets X train from boxes and segment lazily.
"""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from napari_ossnet.engine.networks.trilinear import feature_frame


def cut_box(volume: Tensor, start: tuple[int, int, int], size: tuple[int, int, int]) -> Tensor:
    """The box of a grid (channels, i, j, k) that begins at voxel ``start``, zeros where it leaves the grid."""
    lower = [max(0, begin) for begin in start]
    upper = [min(extent, begin + length) for extent, begin, length in zip(volume.shape[1:], start, size, strict=True)]
    if any(low >= high for low, high in zip(lower, upper, strict=True)):
        return volume.new_zeros((volume.shape[0], *size))
    inner = volume[:, lower[0] : upper[0], lower[1] : upper[1], lower[2] : upper[2]]
    padding: list[int] = []
    for axis in (2, 1, 0):
        padding += [lower[axis] - start[axis], start[axis] + size[axis] - upper[axis]]
    return functional.pad(inner, padding) if any(padding) else inner


class LocalBranch(nn.Module):
    """Convolutions of 3^3 over voxels of one scale (scale 2: every 2^3 native voxels mixed into one).

    Args:
        channels: Of the grid.
        widths: Channels after each convolution.
        scale: Width of the branch's voxels in grid voxels.
        mixed: Channels that the native voxels of one are mixed into, where the scale is above 1.
        activation: Makes the activation after each convolution.
    """

    def __init__(
        self, channels: int, widths: tuple[int, ...], scale: int, mixed: int, activation: type[nn.Module]
    ) -> None:
        super().__init__()
        self.scale = scale
        self.radius = len(widths)
        layers: list[nn.Module] = []
        width = channels
        if scale > 1:
            layers += [nn.Conv3d(channels, mixed, scale, stride=scale), activation()]
            width = mixed
        for following in widths:
            layers += [nn.Conv3d(width, following, 3), activation()]
            width = following
        self.layers = nn.Sequential(*layers)
        self.out_channels = width

    def multiply_adds(self, count: int) -> int:
        """What the features of a box of ``count``^3 feature voxels cost by themselves, their halo included."""
        total = 0
        size = count + 2 * self.radius
        for layer in self.layers:
            if isinstance(layer, nn.Conv3d):
                size -= 0 if layer.stride[0] > 1 else 2
                total += size**3 * layer.weight.numel()
        return total

    def cover(self, corner: tuple[int, int, int], size: int) -> tuple[tuple[int, int, int], int]:
        """First feature voxel and number of feature voxels an axis that interpolate within a box of the grid.

        Args:
            corner: First grid voxel of the box.
            size: Grid voxels an axis; locations lie in [corner, corner + size - 1].
        """
        first = [(2 * begin + 1 - self.scale) // (2 * self.scale) for begin in corner]
        count = size if self.scale == 1 else -(-(size - 1) // self.scale) + 2
        return (first[0], first[1], first[2]), count

    def cut(self, volume: Tensor, first: tuple[int, int, int], counts: tuple[int, int, int]) -> Tensor:
        """The native voxels that a box of feature voxels depends on: the box and its halo."""
        start = [self.scale * (begin - self.radius) for begin in first]
        size = [self.scale * (count + 2 * self.radius) for count in counts]
        return cut_box(volume, (start[0], start[1], start[2]), (size[0], size[1], size[2]))

    def convolve(self, windows: Tensor) -> Tensor:
        """Features of many boxes at once from their windows (boxes, channels, ...) of native voxels."""
        return self.layers(windows.contiguous(memory_format=torch.channels_last_3d))

    def whole(self, volume: Tensor) -> Tensor:
        """Features of the whole grids (batch, channels, i, j, k): the definition that boxes must reproduce."""
        spare = [-extent % self.scale for extent in volume.shape[2:]]
        halo = self.scale * self.radius
        padding: list[int] = []
        for axis in (2, 1, 0):
            padding += [halo, halo + spare[axis]]
        return self.convolve(functional.pad(volume, padding))

    def clamp(self, locations: Tensor, shape: torch.Size) -> Tensor:
        """Locations of the branch's frame, those outside the grid (i, j, k) moved to its border voxels."""
        last = locations.new_tensor([-(-extent // self.scale) - 1 for extent in shape])
        return torch.minimum(locations.clamp(min=0), last)

    def frame(self, locations: Tensor) -> Tensor:
        """Grid locations in the frame of the branch's voxels."""
        return feature_frame(locations, self.scale)
