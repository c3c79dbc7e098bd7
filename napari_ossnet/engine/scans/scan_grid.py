"""A network's grid that is the scan itself, normalised part by part as it is read: the scan lies in memory once."""

from __future__ import annotations

import numpy as np

from napari_ossnet.engine.shapes import GridData, ScanData


class ScanGrid:
    """A scan of the grid's own shape.

    Args of the constructor:
        data: (channels, i, j, k) float32 in the task's axis order, a view of the scan with any strides.
        statistics: Mean and standard deviation of each channel.
    """

    def __init__(self, data: ScanData, statistics: list[tuple[float, float]]) -> None:
        self.data = data
        self.shape: tuple[int, int, int, int] = data.shape
        self.means, self._deviations = np.array(statistics, dtype=np.float32).T.copy()

    def whole(self) -> GridData:
        """All of it, normalised, in memory of its own."""
        return self.planes(0, self.shape[1])

    def planes(self, start: int, stop: int) -> GridData:
        """The planes of the first axis from ``start`` up to ``stop``, normalised."""
        part = np.array(self.data[:, start:stop], dtype=np.float32, order="C")
        self.normalise(part, axis=0)
        return part

    def normalise(self, voxels: np.ndarray, axis: int) -> None:
        """Z-scores voxels in place whose channels lie along ``axis``."""
        shape = [-1 if other == axis else 1 for other in range(voxels.ndim)]
        voxels -= self.means.reshape(shape)
        voxels /= self._deviations.reshape(shape)
