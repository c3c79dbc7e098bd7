"""Thresholds as the yardstick: Otsu's, the best one, and the largest component of each."""

from __future__ import annotations

import numpy as np
import pytest
from ossnet_training.thresholds import best_threshold_mask, largest_component, otsu_mask
from scipy.ndimage import gaussian_filter


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


@pytest.mark.parametrize("seed", range(6))
def test_the_best_threshold_is_that_of_trying_all_of_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    channel = gaussian_filter(rng.normal(size=(24, 22, 20)), 1.5) * 100 + 50
    truth = gaussian_filter(rng.normal(size=channel.shape), 2) > 0.08
    channel[truth] += rng.uniform(0, 25)
    channel[:3] = channel[:, -4:] = 0

    def dice(mask: np.ndarray) -> float:
        return 2 * int((mask & truth).sum()) / int(mask.sum() + truth.sum())

    thresholds = np.quantile(channel[channel != 0], np.linspace(0.5, 0.999, 40))
    every = [dice(largest_component((channel > t) & (channel != 0))) for t in thresholds]
    assert dice(best_threshold_mask(channel, truth)) == max(every)
