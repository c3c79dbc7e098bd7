"""A label lies on its scan voxel by voxel, in whatever order its file has them, or it is refused."""

from __future__ import annotations

import numpy as np
import pytest
from ossnet_training.label_placement import label_on_scan

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.volume import Volume

SHAPE = (16, 12, 14)
LPS = np.diag([-0.8, -1.0, 1.5, 1.0])
LPS[:3, 3] = 40, -3, 7


def _volume(data: np.ndarray, affine: np.ndarray, codes: tuple[int, int] = (0, 1)) -> Volume:
    return Volume(
        data=np.asarray(data, dtype=np.float32)[None], affine=affine, channel_names=("x",), affine_codes=codes
    )


@pytest.fixture
def a_truth() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 3, SHAPE)


@pytest.fixture
def a_scan(a_truth: np.ndarray) -> Volume:
    return _volume(a_truth, LPS)


def test_a_label_in_another_axis_order_is_turned_to_its_scan(a_scan: Volume, a_truth: np.ndarray) -> None:
    ras = LPS @ np.diag([-1.0, -1.0, 1.0, 1.0])
    ras[:3, 3] = (LPS @ [SHAPE[0] - 1, SHAPE[1] - 1, 0, 1])[:3]
    assert np.array_equal(label_on_scan(_volume(a_truth[::-1, ::-1], ras), a_scan), a_truth)
    turned = ras[:, [2, 0, 1, 3]]
    assert np.array_equal(label_on_scan(_volume(a_truth[::-1, ::-1].transpose(2, 0, 1), turned), a_scan), a_truth)


def test_a_label_of_the_scans_shape_that_lies_elsewhere_is_refused(a_scan: Volume, a_truth: np.ndarray) -> None:
    shifted = LPS.copy()
    shifted[2, 3] += 1.5
    for affine in (shifted, LPS @ np.diag([-1.0, -1.0, 1.0, 1.0]), LPS @ np.diag([1.0, 1.0, 1.1, 1.0])):
        with pytest.raises(InputError, match="mm from the scan's"):
            label_on_scan(_volume(a_truth, affine), a_scan)
    rounded = LPS + 1e-4
    rounded[3] = LPS[3]
    assert np.array_equal(label_on_scan(_volume(a_truth, rounded), a_scan), a_truth)


def test_a_label_of_another_shape_is_refused(a_scan: Volume, a_truth: np.ndarray) -> None:
    for codes in ((0, 1), (0, 0)):
        with pytest.raises(InputError, match=r"\(15, 12, 14\) is not the scan's \(16, 12, 14\)"):
            label_on_scan(_volume(a_truth[1:], LPS, codes), a_scan)


def test_a_label_that_does_not_say_where_it_lies_is_laid_on_voxel_by_voxel(
    a_scan: Volume, a_truth: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    assert np.array_equal(label_on_scan(_volume(a_truth, np.eye(4), (0, 0)), a_scan), a_truth)
    assert "voxel by voxel" in caplog.text
