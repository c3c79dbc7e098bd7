"""The picture of a result: turned as radiologists look at it, to scale, and honest about an empty mask."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from skimage.measure import find_contours

from napari_ossnet.engine.errors import OutputError
from napari_ossnet.engine.events import Snapshot
from napari_ossnet.engine.results.measurement import Measurement
from napari_ossnet.engine.results.picture import build_figure, draw_picture
from napari_ossnet.engine.results.picture_slices import slice_views
from napari_ossnet.engine.results.picture_surface import render_surfaces
from napari_ossnet.engine.results.segmentation import Provenance, RegionOfScan, Segmentation, Timings
from napari_ossnet.engine.scans.scan_frame import region_affine
from napari_ossnet.engine.tasks import TASKS
from napari_ossnet.engine.volume import Volume

#: RAS, 1 x 1 x 2 mm, its middle at the world's origin.
SHAPE = (60, 50, 24)
AFFINE = np.array([[1.0, 0, 0, -30], [0, 1, 0, -25], [0, 0, 2, -24], [0, 0, 0, 1]])
#: To the patient's right, front and head of the middle.
CENTER, RADIUS = (12.0, 8.0, 6.0), 9.0


def world_grid(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    indices = np.stack(np.meshgrid(*(np.arange(size) for size in shape), indexing="ij"), axis=-1)
    return np.asarray(indices @ affine[:3, :3].T + affine[:3, 3])


def ball(affine: np.ndarray = AFFINE, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return (np.linalg.norm(world_grid(affine, shape) - CENTER, axis=-1) <= RADIUS).astype(np.uint8)


def a_scan(affine: np.ndarray = AFFINE, shape: tuple[int, ...] = SHAPE, task: str = "brats") -> Volume:
    world = world_grid(affine, shape)
    head = np.linalg.norm(world / (27, 22, 21), axis=-1) < 1
    data = np.where(head, 300 + 3 * world[..., 0], 0).astype(np.float32) + 200 * ball(affine, shape)
    channels = len(TASKS[task].modalities)
    return Volume(data=np.stack([data] * channels), affine=affine, channel_names=TASKS[task].modality_names)


def a_segmentation(
    labels: np.ndarray, affine: np.ndarray = AFFINE, task: str = "brats", region: RegionOfScan | None = None
) -> Segmentation:
    definition = TASKS[task]
    whole = Measurement(
        name="whole", title="Whole object", label=None, voxels=int((labels > 0).sum()),
        volume_ml=3.0, field_volume_ml=3.0, surface_area_cm2=10.2, max_diameter_mm=18.0,
    )  # fmt: skip
    snapshot = Snapshot(
        step=1, steps=(1, 1, 1), labels=labels, first_voxel=(0, 0, 0), affine=affine,
        bounds=((-0.5,) * 3, tuple(size - 0.5 for size in labels.shape)),
        band_samples=np.zeros((0, 3), dtype=np.int64), band_logits=np.zeros((0, 1), dtype=np.float32), threshold=0.5,
        class_labels=tuple(item.label for item in definition.classes), evaluated_locations=1, elapsed_s=1.0,
        is_final=True,
    )  # fmt: skip
    provenance = Provenance(
        weights="w", sha256="0" * 64, task=task, variant="c", device="cpu", schedule="octree", versions={}
    )
    return Segmentation(
        labels=labels, affine=affine, affine_codes=(0, 1), task=definition, threshold=0.5, snapshot=snapshot,
        measurements=(whole,), provenance=provenance, snapshots=(), evaluated_locations=1,
        timings=Timings(encoding_s=0.1, first_snapshot_s=0.2, elapsed_s=1.0), peak_memory_bytes=1, region=region,
    )  # fmt: skip


def center_of(mask: np.ndarray) -> tuple[float, float]:
    """Rows and columns of a mask's centre, as shares of its size."""
    rows, columns = np.nonzero(mask)
    return (rows.mean() + 0.5) / mask.shape[0], (columns.mean() + 0.5) / mask.shape[1]


class TestSlices:
    def test_they_are_turned_as_radiologists_look_at_them(self) -> None:
        axial, coronal, sagittal = slice_views(a_scan(), a_segmentation(ball()))
        assert [view.title for view in (axial, coronal, sagittal)] == ["axial", "coronal", "sagittal"]
        # The ball lies to the right of the patient, which is on the left of the picture, in front and up.
        for view, letters in ((axial, "RLAP"), (coronal, "RLSI"), (sagittal, "APSI")):
            assert "".join(view.letters) == letters
            row, column = center_of(view.labels)
            assert row < 0.5, view.title
            assert column < 0.5, view.title

    def test_they_cut_the_object_where_it_is_largest(self) -> None:
        for view in slice_views(a_scan(), a_segmentation(ball())):
            height, width = view.pixel_mm
            assert view.labels.sum() * height * width == pytest.approx(np.pi * RADIUS**2, rel=0.08)

    def test_they_do_not_depend_on_the_order_in_which_the_file_stores_its_axes(self) -> None:
        turn = np.array([[0, 0, -1, SHAPE[0] - 1], [0, -1, 0, SHAPE[1] - 1], [1, 0, 0, 0], [0, 0, 0, 1]], dtype=float)
        affine, shape = AFFINE @ turn, (SHAPE[2], SHAPE[1], SHAPE[0])
        expected = slice_views(a_scan(), a_segmentation(ball()))
        turned = slice_views(a_scan(affine, shape), a_segmentation(ball(affine, shape), affine))
        for one, other in zip(expected, turned, strict=True):
            np.testing.assert_array_equal(one.labels, other.labels)
            np.testing.assert_allclose(one.image, other.image, atol=1e-4)
            assert one.pixel_mm == other.pixel_mm
        # Each slice has the number that it has in the file at hand: the first two axes are turned round here.
        axial, coronal, sagittal = (view.number for view in expected)
        assert [view.number for view in turned] == [axial, SHAPE[1] - 1 - coronal, SHAPE[0] - 1 - sagittal]

    def test_outlines_follow_the_field_between_the_pixels(self) -> None:
        labels = ball()
        # The band's logits are distances in mm; next to the boundary they are known.
        heights = RADIUS - np.linalg.norm(world_grid(AFFINE, SHAPE) - CENTER, axis=-1)
        band = np.argwhere(np.abs(heights) < 3)
        segmentation = a_segmentation(labels)
        logits = heights[tuple(band.T)][:, None].astype(np.float32)
        snapshot = replace(segmentation.snapshot, band_samples=band, band_logits=logits)
        axial, _, _ = slice_views(a_scan(), replace(segmentation, snapshot=snapshot))
        (outline,) = find_contours(axial.heights[1], 0.0)
        middle = (outline.min(axis=0) + outline.max(axis=0)) / 2
        np.testing.assert_allclose(np.linalg.norm(outline - middle, axis=1), RADIUS, atol=0.1)

    def test_without_a_band_outlines_follow_the_mask(self) -> None:
        axial, _, _ = slice_views(a_scan(), a_segmentation(ball()))
        np.testing.assert_array_equal(axial.heights[1] > 0, axial.labels == 1)

    def test_a_refined_region_shows_the_scan_at_its_place(self) -> None:
        fine = np.diag([0.5, 0.5, 0.5, 1.0])
        fine[:3, 3] = np.array(CENTER) - 12
        views = slice_views(a_scan(), a_segmentation(ball(fine, (48, 48, 48)), fine))
        for view in views:
            inside = view.labels > 0
            assert view.image[inside].mean() > view.image[~inside].mean() + 0.2

    def test_a_slice_of_a_refined_region_has_the_scan_s_number(self) -> None:
        region = RegionOfScan(start=(30, 21, 9), stop=(54, 45, 21), factor=2)
        fine = region_affine(AFFINE, region, (48, 48, 24))
        of_region = slice_views(a_scan(), a_segmentation(ball(fine, (48, 48, 24)), fine, region=region))
        of_scan = slice_views(a_scan(), a_segmentation(ball()))
        for one, other in zip(of_region, of_scan, strict=True):
            assert abs(one.number - other.number) <= 1

    def test_the_air_around_is_cut_off_and_the_object_never(self) -> None:
        scan = a_scan()
        axial, _, _ = slice_views(scan, a_segmentation(ball()))
        assert axial.image.shape[0] < SHAPE[1]
        corner = np.zeros(SHAPE, dtype=np.uint8)
        corner[:3, :3, :3] = 1
        axial, _, _ = slice_views(scan, a_segmentation(corner))
        assert axial.labels.sum() == 9


class TestSurface:
    def test_a_ball_is_as_large_as_it_is(self) -> None:
        rendering = render_surfaces([ball() > 0], [(1.0, 0.5, 0.2)], AFFINE)
        area = np.count_nonzero(rendering.rgba[..., 3] > 0.5) * rendering.pixel_mm**2
        assert area == pytest.approx(np.pi * RADIUS**2, rel=0.05)

    def test_the_nearer_of_two_hides_the_farther(self) -> None:
        # The viewer looks from the front right and above.
        near, far = np.zeros((2, 40, 40, 40), dtype=bool)
        near[24:34, 24:34, 24:34] = True
        far[8:18, 4:14, 16:26] = True
        red, blue = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)
        both = [
            render_surfaces(masks, colors, np.eye(4)).rgba
            for masks, colors in (([near, far], [red, blue]), ([far, near], [blue, red]))
        ]
        np.testing.assert_allclose(both[0], both[1])
        assert (both[0][..., 0] > 0.3).any()

    def test_light_makes_it_round(self) -> None:
        rendering = render_surfaces([ball() > 0], [(0.6, 0.6, 0.6)], AFFINE)
        shades = rendering.rgba[..., 0][rendering.rgba[..., 3] > 0.5]
        assert len(np.unique(np.round(shades, 2))) > 20

    def test_the_anatomy_around_is_seen_through(self) -> None:
        scan = a_scan()
        alone = render_surfaces([ball() > 0], [(1.0, 0.0, 0.0)], AFFINE)
        within = render_surfaces([ball() > 0], [(1.0, 0.0, 0.0)], AFFINE, scan.data[0] > 0, AFFINE)
        assert np.count_nonzero(within.rgba[..., 3]) * within.pixel_mm**2 > 2 * np.pi * RADIUS**2
        red = within.rgba[..., 0] - within.rgba[..., 2] > 0.2
        assert np.count_nonzero(red) * within.pixel_mm**2 == pytest.approx(
            np.count_nonzero(alone.rgba[..., 3] > 0.5) * alone.pixel_mm**2, rel=0.1
        )


class TestPicture:
    def test_it_is_written_with_numbers_legend_and_notice(self, tmp_path: Path) -> None:
        draw_picture(tmp_path / "p.png", a_scan(), a_segmentation(ball()))
        image = matplotlib.image.imread(tmp_path / "p.png")
        assert image.shape == (924, 1650, 4)
        assert len(np.unique(image.reshape(-1, 4), axis=0)) > 500
        texts = " ".join(text.get_text() for text in build_figure(a_scan(), a_segmentation(ball())).texts)
        for words in ("Brain tumour", "3.0 mL", "Whole tumour", "research use only", "threshold 0.5"):
            assert words in texts

    def test_an_empty_mask_is_drawn_and_said(self) -> None:
        figure = build_figure(a_scan(), a_segmentation(np.zeros(SHAPE, dtype=np.uint8)))
        words = [text.get_text() for axes in figure.axes for text in axes.texts]
        assert "Nothing was found" in words

    def test_a_refined_region_is_marked_as_interpolated(self) -> None:
        fine = np.diag([0.5, 0.5, 0.5, 1.0])
        fine[:3, 3] = np.array(CENTER) - 12
        region = RegionOfScan(start=(0, 0, 0), stop=(24, 24, 24), factor=2.0)
        figure = build_figure(a_scan(), a_segmentation(ball(fine, (48, 48, 48)), fine, region=region))
        assert any("interpolated beyond" in text.get_text() for text in figure.texts)

    def test_every_class_has_its_colour_and_its_line_in_the_legend(self) -> None:
        labels = ball()
        labels[: SHAPE[0] // 2 + 12][labels[: SHAPE[0] // 2 + 12] > 0] = 2
        figure = build_figure(a_scan(task="hippocampus"), a_segmentation(labels, task="hippocampus"))
        texts = " ".join(text.get_text() for text in figure.texts)
        assert "Anterior hippocampus" in texts
        assert "Posterior hippocampus" in texts

    def test_a_place_that_can_not_be_written_is_an_output_error(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("", encoding="utf-8")
        with pytest.raises(OutputError):
            draw_picture(tmp_path / "file" / "p.png", a_scan(), a_segmentation(ball()))

    def test_a_mask_one_voxel_thick_is_no_problem(self) -> None:
        labels = np.zeros(SHAPE, dtype=np.uint8)
        labels[20:30, 20:30, 12] = 1
        assert build_figure(a_scan(), a_segmentation(labels)).axes

    @pytest.mark.parametrize("size", [(1, 1, 1), (2, 2, 2), (10, 10, 1)])
    def test_a_small_or_thin_surface_is_seen_without_anatomy_around(self, size: tuple[int, int, int]) -> None:
        mask = np.zeros(SHAPE, dtype=bool)
        mask[tuple(slice(12, 12 + length) for length in size)] = True
        rendering = render_surfaces([mask], [(1.0, 0.0, 0.0)], AFFINE)
        assert (rendering.rgba[..., 3] > 0).mean() > 0.1
