"""What thresholds of one channel achieve on the same cases: Otsu's, and the best of all for each case.

A network for bright lesions has to be better than these; figures of it are shown beside them.
"""

from __future__ import annotations

import numpy as np

#: Thresholds between the smallest and the largest intensity that the best one is looked for among.
_TRIED = 40


def otsu_mask(channel: np.ndarray) -> np.ndarray:
    """The largest component above Otsu's threshold of the voxels that aren't background (0).

    Args:
        channel: Intensities (i, j, k), 0 outside of the brain.
    """
    from skimage.filters import threshold_otsu

    inside = channel[channel != 0]
    if not inside.size or inside.min() == inside.max():
        return np.zeros(channel.shape, dtype=bool)
    return largest_component((channel > threshold_otsu(inside)) & (channel != 0))


def best_threshold_mask(channel: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The largest component above that threshold which agrees best with the truth: more than any threshold can do."""
    best = np.zeros(channel.shape, dtype=bool)
    occupied = channel != 0
    if not occupied.any():
        return best
    # Air around the head costs time and changes nothing.
    window = _bounds(occupied)
    small, occupied, true = channel[window], occupied[window], truth[window]
    total, best_dice = int(truth.sum()), -1.0
    # From the highest down: masks that are small at first, and an end where even a perfect one would be too large.
    for threshold in np.quantile(small[occupied], np.linspace(0.5, 0.999, _TRIED))[::-1]:
        component, dice = _component_and_dice((small > threshold) & occupied, true, total)
        if dice > best_dice:
            best_dice, best[window] = dice, component
        # The largest component only grows from here on; even with all of the truth in it, it can't be better.
        if 2 * total / (total + component.sum()) <= best_dice:
            break
    return best


def largest_component(mask: np.ndarray) -> np.ndarray:
    """The largest of a mask's parts that hang together over faces; all of an empty mask."""
    from scipy.ndimage import label

    if not mask.any():
        return mask
    window = _bounds(mask)
    parts, count = label(mask[window])
    if count < 2:
        return mask
    largest = np.zeros_like(mask)
    largest[window] = parts == _largest(parts)
    return largest


def _component_and_dice(mask: np.ndarray, truth: np.ndarray, total: int) -> tuple[np.ndarray, float]:
    """The largest component and its Dice with the truth, of whose ``total`` voxels some may lie elsewhere."""
    component = largest_component(mask)
    found = int(component.sum())
    both = int((component & truth).sum())
    return component, 2 * both / (found + total) if found + total else 1.0


def _largest(parts: np.ndarray) -> int:
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return int(sizes.argmax())


def _bounds(mask: np.ndarray) -> tuple[slice, ...]:
    """The box of a mask that isn't empty."""
    spans = []
    for axis in range(mask.ndim):
        hit = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        spans.append(slice(int(hit[0]), int(hit[-1]) + 1))
    return tuple(spans)
