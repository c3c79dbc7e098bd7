"""What thresholds of one channel achieve on the same cases: Otsu's, and the best of all for each case.

A network for bright lesions has to be better than these; figures of it are shown beside them.
"""

from __future__ import annotations

import numpy as np

from ossnet_training.overlap import dice_of, overlap_counts

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
    import torch

    inside = channel[channel != 0]
    best, best_dice = np.zeros(channel.shape, dtype=bool), -1.0
    for threshold in np.quantile(inside, np.linspace(0.5, 0.999, _TRIED)) if inside.size else ():
        mask = largest_component((channel > threshold) & (channel != 0))
        dice = float(dice_of(overlap_counts(torch.from_numpy(mask), torch.from_numpy(truth), 1))[0])
        if dice > best_dice:
            best, best_dice = mask, dice
    return best


def largest_component(mask: np.ndarray) -> np.ndarray:
    """The largest of a mask's parts that hang together over faces; all of an empty mask."""
    from scipy.ndimage import label

    parts, count = label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return parts == sizes.argmax()
