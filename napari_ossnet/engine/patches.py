"""Windows of the scan around locations: local (7^3) and mid-range (14^3 averaged to 7^3), at voxels and between them.

Spec of the preprocessing, and paper section 3.2: the local window of voxel i is centred at i; the mid-range window runs
from i - 7 to i + 6 and is average-pooled by 2 (the published inference code max-pools; the weights were trained with
the average, which is what we do everywhere). Outside the grid there are zeros, and they count in the average.

A mid-range window is a 7^3 window of stride 2 through the volume of 2^3 box means, so both kinds are one gather from a
padded volume. Between voxels a window is the trilinear blend of the eight windows around it: one gather that is a voxel
wider on each axis, and three one-axis blends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from napari_ossnet.engine.tensors import VolumeBatch

#: Voxels of a window along each axis.
EDGE = 7
#: Voxels from a location back to the first one of a local window, and of a mid-range window.
LOCAL_REACH = 3
MID_RANGE_REACH = 7

#: Gives the lower and the upper samples of windows along an axis.
_Split = Callable[[Tensor, int], tuple[Tensor, Tensor]]


def box_means(volume: Tensor, padding: int) -> Tensor:
    """Means of the 2^3 boxes that start at every voxel, of a volume padded with zeros.

    Args:
        volume: (b, channels, i, j, k).
        padding: Zeros on either side of each axis first; the value for voxel p lands at index p + padding.

    Returns:
        (b, channels, i + 2 padding - 1, ...): one less on each axis than the padded volume.
    """
    means = functional.pad(volume, (padding,) * 6)
    for axis in (-3, -2, -1):
        size = means.shape[axis] - 1
        means = means.narrow(axis, 0, size) + means.narrow(axis, 1, size)
    return means.mul_(0.125)


class _WindowGather:
    """Gathers windows of one kind: ``edge`` samples ``stride`` voxels apart on each axis, from a padded volume.

    The padding is a whole window wide: a window that starts anywhere outside the padded volume holds only zeros, as
    does the outermost one inside it, so that starts can be clamped.
    """

    def __init__(self, padded: Tensor, padding: int, reach: int, stride: int) -> None:
        self._padded = padded.contiguous()
        self._offset = padding - reach
        self._stride = stride
        self._extent = stride * (EDGE - 1) + 1

    def at_voxels(self, volumes: Tensor, voxels: Tensor) -> Tensor:
        """(n, channels, 7, 7, 7) around integer ``voxels`` (n, 3) of the volumes (n,) of the batch."""
        view = self._windows(EDGE, self._extent, self._stride)
        return self._take(view, volumes, voxels)

    def between_voxels(self, volumes: Tensor, locations: Tensor) -> Tensor:
        """(n, channels, 7, 7, 7) around fractional ``locations`` (n, 3)."""
        base = locations.floor()
        weights = (locations - base).to(self._padded.dtype)
        if self._stride == 1:
            windows = self._take(self._windows(EDGE + 1, EDGE + 1, 1), volumes, base.long())
            return _blend(windows, weights, _neighbours)
        # Samples two voxels apart and their neighbours one further on: fourteen in a row, in pairs.
        windows = self._take(self._windows(2 * EDGE, 2 * EDGE, 1), volumes, base.long())
        return _blend(windows, weights, _pairs)

    def _windows(self, samples: int, extent: int, stride: int) -> Tensor:
        """Every window as a view (b, i, j, k, channels, samples, samples, samples) without a copy."""
        batch, channels, *sizes = self._padded.shape
        strides = self._padded.stride()
        starts = [size - extent + 1 for size in sizes]
        return self._padded.as_strided(
            (batch, *starts, channels, samples, samples, samples),
            (strides[0], *strides[2:], strides[1], *(stride * step for step in strides[2:])),
        )

    def _take(self, view: Tensor, volumes: Tensor, voxels: Tensor) -> Tensor:
        starts = voxels + self._offset
        i, j, k = (starts[:, axis].clamp(0, view.shape[1 + axis] - 1) for axis in range(3))
        return view[volumes, i, j, k]


def _neighbours(windows: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    size = windows.shape[axis] - 1
    return windows.narrow(axis, 0, size), windows.narrow(axis, 1, size)


def _pairs(windows: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    first, second = windows.unflatten(axis, (-1, 2)).unbind(axis if axis < 0 else axis + 1)
    return first, second


def _blend(windows: Tensor, weights: Tensor, split: _Split) -> Tensor:
    """Three one-axis blends, the fastest axis first so that the largest array is read in order."""
    for axis in (-1, -2, -3):
        lower, upper = split(windows, axis)
        windows = torch.lerp(lower, upper, weights[:, axis, None, None, None, None])
    return windows


class PatchSampler:
    """The windows that a variant's decoder takes, gathered on the device of the volume.

    Args of the constructor:
        volume: (b, channels, i, j, k), normalised, the network's grid.
        has_local: Whether 7^3 windows are wanted.
        has_mid_range: Whether averaged 14^3 windows are wanted; their channels follow the local ones.
    """

    def __init__(self, volume: VolumeBatch, *, has_local: bool = True, has_mid_range: bool = False) -> None:
        self._gathers: list[_WindowGather] = []
        if has_local:
            # A window between voxels has eight samples: it must fit the padding whole.
            padding = EDGE + 1
            padded = functional.pad(volume, (padding,) * 6)
            self._gathers.append(_WindowGather(padded, padding, LOCAL_REACH, 1))
        if has_mid_range:
            # Box means reach one voxel further back than the volume.
            padding = 2 * EDGE + 1
            self._gathers.append(_WindowGather(box_means(volume, padding), padding, MID_RANGE_REACH, 2))

    def at_voxels(self, voxels: Tensor) -> Tensor:
        """Windows around voxels of a batch.

        Args:
            voxels: (b, n, 3) integer, grid frame; any value, zeros are found outside the grid.

        Returns:
            (b, n, channels, 7, 7, 7).
        """
        batch, count = voxels.shape[:2]
        volumes = torch.arange(batch, device=voxels.device).repeat_interleave(count)
        flat = voxels.reshape(-1, 3).long()
        return self._join([gather.at_voxels(volumes, flat) for gather in self._gathers], batch, count)

    def between_voxels(self, locations: Tensor) -> Tensor:
        """Windows around locations of a batch, sampled trilinearly.

        Args:
            locations: (b, n, 3) floating, grid frame, in voxels.

        Returns:
            (b, n, channels, 7, 7, 7); at integer locations what ``at_voxels`` gives.
        """
        batch, count = locations.shape[:2]
        volumes = torch.arange(batch, device=locations.device).repeat_interleave(count)
        flat = locations.reshape(-1, 3)
        return self._join([gather.between_voxels(volumes, flat) for gather in self._gathers], batch, count)

    @staticmethod
    def _join(windows: Sequence[Tensor], batch: int, count: int) -> Tensor:
        joined = windows[0] if len(windows) == 1 else torch.cat(list(windows), dim=1)
        return joined.unflatten(0, (batch, count))
