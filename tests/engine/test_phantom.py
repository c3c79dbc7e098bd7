"""Scans made by code: the demo's scan, and the pieces that it and synthetic training are made of."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from skimage.filters import threshold_otsu
from skimage.measure import label

from napari_ossnet.engine.phantom import Phantom, demo_phantom, make_brain_phantom
from napari_ossnet.engine.phantom.acquisition import AcquisitionRanges, acquire
from napari_ossnet.engine.phantom.anatomy import KNOT_SPACING, SCAN_SHAPE, Head, Pose, PoseRanges, knot_positions
from napari_ossnet.engine.phantom.random_fields import (
    gaussian_matrix,
    knot_count,
    linear_matrix,
    smooth_noise,
    spline_matrix,
)
from napari_ossnet.engine.phantom.remap import remapped
from napari_ossnet.engine.phantom.tissues import Tissue
from napari_ossnet.engine.phantom.tumour import closed_brain, grow, place_core, push_of
from napari_ossnet.engine.phantom.tumour_kinds import KINDS, TumourRanges, draw_plan


@pytest.fixture(scope="module")
def a_demo() -> Phantom:
    return demo_phantom()


@pytest.fixture(scope="module")
def a_ball_head() -> Head:
    """White matter of radius 64 within 4 mm of cortex, 3 of fluid, and bone; a ventricle in the middle."""
    axes = np.meshgrid(*[np.arange(150.0) - 75] * 3, indexing="ij", sparse=True)
    radius = np.sqrt(axes[0] ** 2 + axes[1] ** 2 + axes[2] ** 2)
    tissues = np.zeros(radius.shape, dtype=np.uint8)
    for limit, tissue in (
        (74, Tissue.BONE),
        (71, Tissue.CSF),
        (68, Tissue.CORTEX),
        (64, Tissue.WHITE),
        (8, Tissue.VENTRICLE),
    ):
        tissues[radius < limit] = tissue
    return Head(name="ball", tissues=tissues)


@pytest.fixture(scope="module")
def a_still_pose(a_ball_head: Head) -> Pose:
    """The ball head in the middle of the scan, neither turned nor bent."""
    offset = np.array([119.5, 119.5, 77.0]) - 75
    return Pose(a_ball_head, (knot_positions() - offset[:, None, None, None]).astype(np.float32))


class TestTheDemo:
    def test_lies_in_the_grid_of_the_brats_files(self, a_demo: Phantom) -> None:
        assert a_demo.volume.shape == SCAN_SHAPE
        assert a_demo.volume.axis_codes == "LPS"
        assert a_demo.volume.spacing_mm == (1.0, 1.0, 1.0)
        assert a_demo.volume.channel_names == ("flair", "t1", "t1ce", "t2")

    def test_is_stripped_to_the_brain(self, a_demo: Phantom) -> None:
        brain = a_demo.volume.data[0] > 0
        assert 900e3 < brain.sum() < 2100e3
        assert not np.concatenate([brain[0].ravel(), brain[-1].ravel(), brain[:, 0].ravel()]).any()
        assert (a_demo.volume.data >= 0).all()

    def test_has_a_tumour_inside_the_brain(self, a_demo: Phantom) -> None:
        tumour = a_demo.labels > 0
        assert 20e3 < tumour.sum() < 120e3
        assert set(np.unique(a_demo.labels)) == {0, 1, 2, 3}
        assert (a_demo.volume.data[0][tumour] > 0).mean() > 0.99

    def test_is_not_solved_by_a_threshold_of_the_flair(self, a_demo: Phantom) -> None:
        flair, tumour = a_demo.volume.data[0], a_demo.labels > 0
        for voxels in (flair, flair[flair > 0]):
            components = label(flair > threshold_otsu(voxels))
            largest = components == np.bincount(components.ravel())[1:].argmax() + 1
            assert 2 * (largest & tumour).sum() / (largest.sum() + tumour.sum()) <= 0.7

    def test_is_the_same_every_time(self, a_demo: Phantom) -> None:
        again = make_brain_phantom(a_demo.seed)
        np.testing.assert_array_equal(again.volume.data, a_demo.volume.data)
        np.testing.assert_array_equal(again.labels, a_demo.labels)

    def test_differs_from_other_seeds(self, a_demo: Phantom) -> None:
        other = make_brain_phantom(a_demo.seed + 1)
        assert not np.array_equal(other.labels, a_demo.labels)

    def test_does_not_import_torch(self) -> None:
        code = "import sys, napari_ossnet.engine.phantom; sys.exit('torch' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class TestRandomFields:
    def test_splines_give_linear_functions_exactly(self) -> None:
        positions = np.linspace(0, 37, 50)
        knots = (np.arange(knot_count(38, 5.0)) - 1) * 5.0
        np.testing.assert_allclose(spline_matrix(positions, 5.0, len(knots)) @ knots, positions, atol=1e-4)

    def test_noise_has_unit_deviation_and_is_smooth(self) -> None:
        noise = np.concatenate([smooth_noise(np.random.default_rng(s), (60, 50, 40), 4.0).ravel() for s in range(4)])
        field = smooth_noise(np.random.default_rng(0), (60, 50, 40), 4.0)
        assert noise.std() == pytest.approx(1, abs=0.08)
        assert abs(noise.mean()) < 0.1
        assert np.abs(np.diff(field, axis=0)).mean() < 0.35

    def test_linear_weights_hold_the_border(self) -> None:
        values = np.array([2.0, 4.0, 8.0], dtype=np.float32)
        np.testing.assert_allclose(linear_matrix(np.array([-1, 0.5, 2, 9]), 3) @ values, [2, 3, 8, 8])

    def test_a_blur_moves_by_its_shift(self) -> None:
        peak = np.zeros(21, dtype=np.float32)
        peak[10] = 1
        moved = gaussian_matrix(21, 1.0, shift=2.0) @ peak
        assert moved.argmax() == 8


class TestPoses:
    def test_a_push_moves_what_it_points_at(self, a_still_pose: Pose) -> None:
        push = np.zeros_like(knot_positions())
        push[0] = 10
        before = np.argwhere(a_still_pose.render(stride=3).tissues == Tissue.VENTRICLE).mean(0)
        after = np.argwhere(a_still_pose.pushed(push).render(stride=3).tissues == Tissue.VENTRICLE).mean(0)
        np.testing.assert_allclose((before - after) * 3, [10, 0, 0], atol=0.7)

    def test_a_random_pose_scales_the_brain_to_the_volume_asked_for(self, a_ball_head: Head) -> None:
        ranges = PoseRanges(brain_ml=(1300.0, 1e-6), log_stretch=0.0, bends=())
        tissues = Pose.draw(np.random.default_rng(0), a_ball_head, ranges).render(stride=3).tissues
        brain = (tissues > Tissue.CSF) & (tissues < Tissue.VESSEL)
        assert brain.sum() * 27e-3 == pytest.approx(1300, rel=0.03)
        assert KNOT_SPACING > 3

    def test_closing_the_brain_fills_its_furrows(self) -> None:
        tissues = np.zeros((40, 40, 40), dtype=np.uint8)
        tissues[8:32, 8:32, 8:32] = Tissue.WHITE
        tissues[8:28, 19:21, 8:32] = Tissue.CSF
        depth = closed_brain(tissues, 1, radius_mm=5.0)
        assert depth[20, 20, 20] > 5
        assert depth[3, 20, 20] < 0


class TestTumours:
    @pytest.mark.parametrize("seed", range(3))
    def test_has_the_volume_asked_for_and_leaves_the_ventricle(self, a_still_pose: Pose, seed: int) -> None:
        rng = np.random.default_rng(seed)
        plan = draw_plan(rng, TumourRanges(small_share=0.0, large_ml=(40.0, 60.0)))
        core = place_core(rng, a_still_pose, plan)
        pose = a_still_pose.pushed(push_of(core, plan.push_mm))
        box = (slice(40, 200), slice(40, 200), slice(0, 155))
        tissues = pose.render(box).tissues
        lesion = grow(rng, tissues, box, core, plan)
        tissues = tissues[lesion.window]
        assert (lesion.labels > 0).sum() / 1e3 == pytest.approx(plan.whole_ml, rel=0.15)
        assert (lesion.labels[tissues == Tissue.VENTRICLE] == 2).sum() == 0
        assert (lesion.labels[tissues == Tissue.BONE] > 0).mean() < 0.01
        assert lesion.water[lesion.labels == 2].mean() > 5 * lesion.water[lesion.labels == 0].mean()

    def test_every_kind_is_drawn_and_no_core_exceeds_its_tumour(self) -> None:
        rng = np.random.default_rng(0)
        plans = [draw_plan(rng, TumourRanges()) for _ in range(300)]
        assert {plan.kind for plan in plans} == set(KINDS)
        assert all(plan.core_ml <= plan.whole_ml for plan in plans)
        assert all(3 <= plan.whole_ml <= 170 for plan in plans)
        assert 0.25 < np.mean([plan.whole_ml < 30 for plan in plans]) < 0.65


class TestAcquisition:
    def test_keeps_white_matter_near_one_and_nothing_negative(self) -> None:
        flat = np.ones((40, 44, 36), dtype=np.float32)
        for seed in range(6):
            image = acquire(np.random.default_rng(seed), flat, AcquisitionRanges())
            assert image.shape == flat.shape
            assert image.min() >= 0
            assert np.median(image) == pytest.approx(1, abs=0.35)

    def test_remapping_keeps_the_order_of_intensities(self) -> None:
        ramp = np.broadcast_to(np.linspace(0, 2, 60, dtype=np.float32)[:, None, None], (60, 30, 30))
        tissues = np.where((ramp > 0.95) & (ramp < 1.05), Tissue.WHITE, Tissue.CORTEX).astype(np.uint8)
        for image in remapped(np.random.default_rng(0), np.stack([ramp] * 4), tissues):
            assert (np.diff(image.mean((1, 2))) > -0.02).all()
            assert np.median(image[tissues == Tissue.WHITE]) == pytest.approx(1, abs=0.1)
