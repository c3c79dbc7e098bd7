"""The numbers of a result: objects one by one, and what the threshold makes of them."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.events import Snapshot
from napari_ossnet.engine.files.export import export_result
from napari_ossnet.engine.results.numbers import COLUMNS, numbers_of, unsure_between
from napari_ossnet.engine.session import SegmentationSession


@pytest.fixture
def a_result(a_session, a_turned_volume, toy):
    return toy.run(a_session.segment(toy.request(a_turned_volume)))[1]


def test_a_ball_has_the_same_numbers_in_every_axis_order(a_result, toy):
    (ball,) = numbers_of(a_result).objects

    assert ball.volume_ml == pytest.approx(4 / 3 * np.pi * toy.radius**3 / 1000, rel=0.005)
    assert ball.max_diameter_mm == pytest.approx(2 * toy.radius, rel=0.005)
    assert ball.axial_longest_mm == pytest.approx(2 * toy.radius, rel=0.01)
    assert ball.axial_across_mm == pytest.approx(2 * toy.radius, rel=0.01)
    assert ball.axial_product_mm2 == pytest.approx(4 * toy.radius**2, rel=0.02)


def test_the_field_measures_a_volume_more_finely_than_the_mask(a_session, toy):
    of_mask, of_field = [], []
    for spacing_mm in (2.7, 2.8, 2.9, 3.0, 3.1, 3.2):
        _, result = toy.run(
            a_session.segment(toy.request(toy.volume((14, 13, 12), (0, 1, 2), (-1, -1, 1), spacing_mm=spacing_mm)))
        )
        of_mask.append(result.whole.volume_ml)
        of_field.append(result.whole.field_volume_ml)

    truth = 4 / 3 * np.pi * toy.radius**3 / 1000
    assert np.std(of_field) < 0.5 * np.std(of_mask)
    # Chords between samples of 3 mm lie inside the ball.
    assert of_field == pytest.approx([truth] * 6, rel=0.06)


@pytest.mark.parametrize("degrees", [(0, 0, 0), (17, 0, 0), (25, -40, 10), (-33, 12, 71)])
def test_an_ellipsoid_has_the_same_numbers_however_the_scan_is_turned(toy, degrees):
    """Semi-axes of 14, 9 and 6 mm, the longest along the patient's left and right; voxels of 1 mm at any angle."""
    semi_axes = np.array([14.0, 9.0, 6.0])

    def ellipsoid(points):
        scaled = (points - toy.centre) / semi_axes
        return 6 * (1 - np.linalg.norm(scaled, axis=1))

    scan = toy.volume((46, 46, 46), (0, 1, 2), (-1, -1, 1))
    turn, affine = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix(), scan.affine.copy()
    affine[:3, :3] = turn @ affine[:3, :3]
    affine[:3, 3] = toy.centre - affine[:3, :3] @ (np.array(scan.shape) - 1) / 2
    session = SegmentationSession(encode=toy.encoder(formula=ellipsoid))
    _, result = toy.run(session.segment(toy.request(replace(scan, affine=affine))))

    (found,) = numbers_of(result).objects
    assert found.volume_ml == pytest.approx(4 / 3 * np.pi * semi_axes.prod() / 1000, rel=0.01)
    assert result.whole.field_volume_ml == pytest.approx(4 / 3 * np.pi * semi_axes.prod() / 1000, rel=0.01)
    assert found.max_diameter_mm == pytest.approx(28.0, rel=0.01)
    # Thomsen's approximation of the area, right to 1.1 %.
    a, b, c = semi_axes**1.6075
    assert found.surface_area_cm2 == pytest.approx(
        4 * np.pi * ((a * b + a * c + b * c) / 3) ** (1 / 1.6075) / 100, rel=0.025
    )


def test_the_slice_of_a_region_is_the_scan_s(a_session, a_turned_volume, toy):
    """A box of two thirds of the scan along each axis, which holds the ball's centre."""
    _, whole = toy.run(a_session.segment(toy.request(a_turned_volume)))
    start, stop = ([size // 6 for size in whole.labels.shape], [5 * size // 6 for size in whole.labels.shape])
    _, fine = toy.run(a_session.refine_region(tuple(start), tuple(stop), 2))

    (of_whole,), (of_region,) = numbers_of(whole).objects, numbers_of(fine).objects

    assert abs(of_region.axial_slice - of_whole.axial_slice) <= 1


def test_thresholds_around_the_usual_one_bracket_the_volume(a_session, a_volume, toy):
    _, result = toy.run(a_session.segment(toy.request(a_volume)))

    events, unsure = toy.run(a_session.uncertainty())

    low, high = unsure.volumes_ml()
    assert low < result.whole.volume_ml < high
    # The logit is the distance in mm here: thresholds 0.4 and 0.6 lie 0.405 mm to either side.
    assert high == pytest.approx(4 / 3 * np.pi * (toy.radius + 0.405) ** 3 / 1000, rel=0.01)
    assert not any(isinstance(event, Snapshot) for event in events)
    assert a_session.result is result
    assert json.dumps(numbers_of(result, uncertainty=unsure).as_dict())


def test_a_region_has_an_uncertainty_of_its_own(a_session, a_volume, toy):
    toy.run(a_session.segment(toy.request(a_volume)))
    _, part = toy.run(a_session.refine_region((5, 5, 3), (20, 33, 32), 2))
    _, again = toy.run(a_session.refine_region((5, 5, 3), (20, 33, 32), 2))

    _, unsure = toy.run(a_session.uncertainty(0.4, 0.6, part))

    low, high = unsure.volumes_ml()
    assert low < part.whole.volume_ml < high < 1.2 * part.whole.volume_ml
    assert again.evaluated_locations == 0


@pytest.mark.parametrize(("threshold", "expected"), [(0.5, (0.4, 0.6)), (0.1, (0.05, 0.2)), (0.95, (0.85, 0.975))])
def test_thresholds_to_either_side_stay_between_0_and_1(threshold, expected):
    assert unsure_between(threshold) == pytest.approx(expected)


def test_uncertainty_before_any_scan_is_refused(toy):
    with pytest.raises(InputError, match="segment a scan first"):
        toy.run(SegmentationSession(encode=toy.encoder()).uncertainty())


def test_the_table_has_a_row_for_each_class_and_each_object(a_volume, toy, tmp_path):
    session = SegmentationSession(encode=toy.encoder(formula=toy.two_parts, task=toy.task(2)))
    _, result = toy.run(session.segment(toy.request(a_volume)))

    export_result(result, tmp_path / "numbers.csv")

    with (tmp_path / "numbers.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [(row["label"], row["object"]) for row in rows] == [
        ("", "all"),
        ("", "1"),
        ("2", "all"),
        ("2", "1"),
        ("3", "all"),
        ("3", "1"),
    ]
    assert float(rows[0]["mask_volume_ml"]) == pytest.approx(result.whole.volume_ml, abs=1e-4)


def test_specks_are_left_out_of_the_list(a_volume, toy):
    far = toy.centre + np.array([-15.0, 12.0, 10.0])
    session = SegmentationSession(
        encode=toy.encoder(
            formula=lambda points: np.maximum(
                toy.radius - 3 - np.linalg.norm(points - toy.centre, axis=1), 2.5 - np.linalg.norm(points - far, axis=1)
            )
        )
    )
    _, result = toy.run(session.segment(toy.request(a_volume)))

    assert len(numbers_of(result, least_ml=0.01).objects) == 2
    assert len(numbers_of(result, least_ml=0.2).objects) == 1
