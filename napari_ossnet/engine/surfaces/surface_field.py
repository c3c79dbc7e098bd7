"""Owns the scalar that a surface is drawn through: heights above the decision in the band, mere signs elsewhere."""

from __future__ import annotations

import math

import numpy as np

from napari_ossnet.engine.events import Snapshot

Triple = tuple[int, int, int]


class BandField:
    """One scalar a sample, positive inside; boxes of it are made when they are asked for.

    Args of the constructor:
        snapshot: Labels and the logits next to their boundary.
        label: The class that is inside; None takes all but the background.
    """

    def __init__(self, snapshot: Snapshot, label: int | None) -> None:
        self._labels = snapshot.labels
        self._label = label
        low, high = np.array(snapshot.bounds)
        #: How far beyond the first and the last sample of each axis the surface closes, in samples.
        self._margins = np.stack([-low, high - (np.array(self._labels.shape) - 1)], axis=1)
        heights = band_heights(snapshot, label)
        order = np.argsort(_flat(snapshot.band_samples, self._labels.shape), kind="stable")
        self._samples = snapshot.band_samples[order]
        self._heights = heights[order]
        #: What stands for a value that is not known; only its sign matters, for no edge of the surface ends there.
        self._fill = float(np.median(np.abs(heights))) if len(heights) else 1.0

    @property
    def shape(self) -> Triple:
        """Samples along each axis."""
        i, j, k = self._labels.shape
        return i, j, k

    def is_inside(self, start: Triple, stop: Triple) -> np.ndarray:
        """Whether each sample of a box inside the grid is inside the object."""
        box = self._labels[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))]
        return (box > 0) if self._label is None else (box == self._label)

    def box(self, start: Triple, stop: Triple) -> np.ndarray:
        """Scalars, float32, of the samples from ``start`` up to, not including, ``stop``; it may leave the grid by one.

        Beyond the grid the scalar has the other sign and such a size that the line from the last sample to it meets
        zero at the outer face of the voxels: there the surface closes.
        """
        low = [max(first, 0) for first in start]
        high = [min(last, size) for last, size in zip(stop, self.shape, strict=True)]
        known = self._known((low[0], low[1], low[2]), (high[0], high[1], high[2]))
        before_after = [
            (inner - outer, last - inner_last)
            for inner, outer, last, inner_last in zip(low, start, stop, high, strict=True)
        ]
        padded = np.pad(known, before_after, mode="edge")
        for axis, (before, after) in enumerate(before_after):
            rim = np.moveaxis(padded, axis, 0)
            first, last = (1 - self._margins[axis]) / self._margins[axis]
            if before:
                rim[0] = -np.abs(rim[0]) * first
            if after:
                rim[-1] = -np.abs(rim[-1]) * last
        return padded

    def _known(self, start: Triple, stop: Triple) -> np.ndarray:
        values = np.where(self.is_inside(start, stop), np.float32(self._fill), np.float32(-self._fill))
        # The samples are sorted by their first index first: those of the box lie in one run.
        first, last = np.searchsorted(self._samples[:, 0], [start[0], stop[0]])
        samples, heights = self._samples[first:last], self._heights[first:last]
        is_within = ((samples >= start) & (samples < stop)).all(axis=1)
        values[tuple((samples[is_within] - start).T)] = heights[is_within]
        return values


def band_heights(snapshot: Snapshot, label: int | None) -> np.ndarray:
    """How far each band sample is above the decision, float32 (n,): positive where it is inside."""
    logits = snapshot.band_logits
    offset = math.log(snapshot.threshold / (1 - snapshot.threshold))
    if logits.shape[1] == 1:
        heights = logits[:, 0] - offset
    elif label is None:
        heights = logits[:, 1:].max(axis=1) - (logits[:, 0] + offset)
    else:
        column = 1 + snapshot.class_labels.index(label)
        shifted = logits.copy()
        shifted[:, 0] += offset
        others = np.delete(shifted, column, axis=1)
        heights = shifted[:, column] - others.max(axis=1)
    return _off_zero(heights.astype(np.float32))


def _off_zero(heights: np.ndarray) -> np.ndarray:
    """Heights that are never quite zero: a surface through a sample would have triangles without an area.

    Zero is outside, as in the decision.
    """
    if not len(heights):
        return heights
    least = np.float32(max(1e-6 * float(np.abs(heights).max()), 1e-12))
    return np.where(heights > 0, np.maximum(heights, least), np.minimum(heights, -least))


def _flat(samples: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.ravel_multi_index(tuple(samples.T.astype(np.int64)), shape) if len(samples) else np.empty(0, np.int64)
