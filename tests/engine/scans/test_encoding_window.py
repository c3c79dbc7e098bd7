from __future__ import annotations

import numpy as np
import pytest

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.scans.encoding_window import MARGIN, encoding_window


@pytest.fixture
def a_grid() -> np.ndarray:
    """Padding of 0 around a box of air at -1 with noise, a block of tissue in it."""
    grid = np.zeros((2, 96, 96, 80), dtype=np.float32)
    box = grid[:, 8:88, 8:88, 3:78]
    box[...] = -1 + 0.01 * np.random.default_rng(0).standard_normal(box.shape)
    grid[:, 40:60, 30:70, 5:30] = 2.0
    return grid


def test_a_window_holds_the_foreground_and_its_margin_in_whole_multiples(a_grid: np.ndarray) -> None:
    start, stop = encoding_window(a_grid, (8, 8, 3), (88, 88, 78), 16)
    assert [last - first for first, last in zip(start, stop, strict=True)] == [48, 64, 48]
    assert start[0] <= 40 - MARGIN
    assert stop[0] >= 60 + MARGIN
    assert start[2] == 0


def test_a_window_never_leaves_the_grid(a_grid: np.ndarray) -> None:
    a_grid[:, 8:88, 8:88, 3:78] += np.linspace(0, 1, 80, dtype=np.float32)[:, None, None] > 0.02
    start, stop = encoding_window(a_grid, (8, 8, 3), (88, 88, 78), 64)
    assert min(start) >= 0
    assert all(last <= extent for last, extent in zip(stop, a_grid.shape[1:], strict=True))
    assert stop[0] - start[0] == 96


def test_an_empty_grid_has_no_window() -> None:
    with pytest.raises(InputError, match="empty"):
        encoding_window(np.zeros((1, 32, 32, 32), dtype=np.float32), (0, 0, 0), (32, 32, 32), 8)
