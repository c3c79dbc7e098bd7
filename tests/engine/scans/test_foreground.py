"""What is foreground, whatever the background's value, noise and axis order."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.scans.foreground import background_level, find_foreground
from napari_ossnet.engine.volume import read_volume

START, STOP = np.array([12, 9, 20]), np.array([40, 37, 44])


def ball(shape: tuple[int, int, int] = (50, 60, 55)) -> np.ndarray:
    """An ellipsoid that just fills START to STOP."""
    middle, radius = (START + STOP - 1) / 2, (STOP - START) / 2
    grids = np.meshgrid(*[np.arange(size) for size in shape], indexing="ij")
    return sum(((grid - m) / r) ** 2 for grid, m, r in zip(grids, middle, radius, strict=True)) <= 1


def assert_found(data: np.ndarray) -> None:
    found = find_foreground(data)
    # Caps of a thousandth are cut off, the same on either side.
    assert np.abs(np.array(found.start) - START).max() <= 2
    assert np.abs(np.array(found.stop) - STOP).max() <= 2
    middle = (np.array(found.start) + found.stop) / 2
    assert np.abs(middle - (START + STOP) / 2).max() <= 0.5


@pytest.mark.parametrize("offset", [0.0, -1024.0, 300.0])
def test_the_background_may_have_any_value(offset: float) -> None:
    data = (np.where(ball(), 100.0, 0.0) + offset).astype(np.float32)[None]
    assert_found(data)
    assert find_foreground(data).background == (offset,)
    assert find_foreground(data).voxels == ball().sum()


def test_negative_voxels_inside_count_as_foreground() -> None:
    inside = np.random.default_rng(0).normal(0, 50, ball().shape)
    assert_found(np.where(ball(), inside, 0.0).astype(np.float32)[None])


def test_noise_around_the_patient_does_not() -> None:
    random = np.random.default_rng(0)
    noise = np.hypot(random.normal(0, 5, ball().shape), random.normal(0, 5, ball().shape))
    assert_found((noise + np.where(ball(), 200, 0)).astype(np.float32)[None])


def test_stray_voxels_do_not_move_the_box() -> None:
    data = np.where(ball(), 100.0, 0.0).astype(np.float32)[None]
    data[0, 0, 0, :3] = 100
    data[0, -1, -1, -1] = 100
    assert_found(data)


def test_what_any_channel_shows_is_foreground() -> None:
    left, right = ball(), ball()
    left[26:] = False
    right[:26] = False
    assert_found(np.stack([left, right]).astype(np.float32) * 100)


def test_a_tight_crop_without_background_is_foreground_throughout() -> None:
    tissue = np.random.default_rng(0).normal(300, 100, (1, 30, 40, 35)).astype(np.float32)
    found = find_foreground(tissue)
    assert (found.start, found.stop) == ((0, 0, 0), (30, 40, 35))
    assert background_level(tissue[0]) < 100


def test_an_empty_scan_is_refused() -> None:
    data = np.zeros((1, 60, 60, 60), np.float32)
    data[0, 30, 30, 30] = 100
    with pytest.raises(InputError, match="empty: only 1 of 216000 voxels"):
        find_foreground(data)


def test_mirrored_scans_have_mirrored_foregrounds() -> None:
    data = np.where(ball(), 100.0, 0.0).astype(np.float32)[None]
    found = find_foreground(data)
    for flips in product((1, -1), repeat=3):
        mirrored = find_foreground(data[:, :: flips[0], :: flips[1], :: flips[2]])
        for axis, size in enumerate(data.shape[1:]):
            box = (found.start[axis], found.stop[axis])
            if flips[axis] < 0:
                box = (size - box[1], size - box[0])
            assert (mirrored.start[axis], mirrored.stop[axis]) == box


def test_the_brain_is_found_in_real_scans(a_data_folder) -> None:
    volume = read_volume(a_data_folder / "ms_brain" / "patient07_t1.nii.gz")
    found = find_foreground(volume.data)
    assert found.background == (0.0,)
    assert 1.0e6 < found.voxels < 1.9e6
    lengths_mm = np.array(found.stop) - found.start
    assert np.all((lengths_mm > 105) & (lengths_mm < 185))
