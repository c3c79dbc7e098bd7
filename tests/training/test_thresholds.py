"""Thresholds as the yardstick: Otsu's, the best one, and the largest component of each."""

from __future__ import annotations

import numpy as np
from ossnet_training.thresholds import best_threshold_mask, largest_component, otsu_mask


def _channel() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    channel = rng.normal(100, 5, (20, 20, 20))
    truth = np.zeros(channel.shape, dtype=bool)
    truth[4:11, 4:11, 4:11] = True
    channel[truth] += 80
    channel[15:18, 15:18, 15:18] += 160  # brighter, and no lesion
    channel[:2] = 0  # outside of the brain
    return channel, truth


def test_the_largest_component_is_kept() -> None:
    mask = np.zeros((6, 6, 6), dtype=bool)
    mask[0, 0, 0] = mask[3:5, 3:5, 3:5] = True
    assert largest_component(mask).sum() == 8
    assert not largest_component(np.zeros((3, 3, 3), dtype=bool)).any()


def test_a_lesion_that_stands_out_is_found_by_otsus_and_by_the_best_threshold() -> None:
    channel, truth = _channel()
    assert np.array_equal(otsu_mask(channel), truth)
    assert np.array_equal(best_threshold_mask(channel, truth), truth)


def test_the_best_threshold_is_never_worse_than_otsus() -> None:
    channel, truth = _channel()
    channel[truth] -= 68  # now hardly brighter than the brain

    def dice(mask: np.ndarray) -> float:
        return 2 * float((mask & truth).sum()) / float(mask.sum() + truth.sum())

    assert dice(best_threshold_mask(channel, truth)) > dice(otsu_mask(channel)) + 0.3


def test_a_scan_without_contrast_has_no_mask() -> None:
    assert not otsu_mask(np.zeros((4, 4, 4))).any()
    assert not otsu_mask(np.ones((4, 4, 4))).any()
    assert not best_threshold_mask(np.zeros((4, 4, 4)), np.zeros((4, 4, 4), dtype=bool)).any()
