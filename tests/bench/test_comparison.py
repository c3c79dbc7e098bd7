"""Rows of a scan, the exhaustive mask behind them, and the worst of several scans."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_ossnet.bench.benchmark import estimated_ratio, worst_of
from napari_ossnet.bench.comparison import compare_on_scan, exhaustive_mask
from napari_ossnet.bench.end_to_end import segment_once
from napari_ossnet.bench.exhaustive import UNKNOWN, ExhaustiveMask, cache_path
from napari_ossnet.bench.networks import Contender
from napari_ossnet.bench.scans import BenchScan


def test_the_exhaustive_mask_knows_every_voxel_and_is_kept(
    a_contender: Contender, a_scan: BenchScan, a_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = exhaustive_mask(a_scan, a_contender, "cpu", 60.0)
    assert mask.share == 1.0
    assert cache_path(a_home, a_contender.sha256, a_scan.sha256).is_file()
    again = exhaustive_mask(a_scan, a_contender, "cpu", 0.0)
    assert np.array_equal(again.classes, mask.classes)


def test_without_time_the_exhaustive_mask_knows_nothing_and_says_so(a_contender: Contender, a_scan: BenchScan) -> None:
    mask = exhaustive_mask(a_scan, a_contender, "cpu", 0.0)
    assert mask.share == 0.0
    assert mask.share_different(np.zeros(a_scan.volume.shape, np.uint8)) is None


def test_differences_count_only_where_the_mask_is_known() -> None:
    classes = np.array([[[0, 1, 1, UNKNOWN]]], dtype=np.uint8)
    mask = ExhaustiveMask(classes=classes)
    assert mask.share == 0.75
    assert mask.share_different(np.array([[[1, 1, 1, 0]]])) == pytest.approx(1 / 3)


def test_other_weights_or_another_scan_have_another_mask(a_home: Path) -> None:
    paths = {cache_path(a_home, "a" * 64, "b" * 64), cache_path(a_home, "c" * 64, "b" * 64)}
    paths.add(cache_path(a_home, "a" * 64, "d" * 64))
    assert len(paths) == 3


def test_a_scan_has_a_row_for_ours_and_for_the_published_form(a_contender: Contender, a_scan: BenchScan) -> None:
    table = compare_on_scan(a_scan, {"c": a_contender}, "cpu", repeats=2, exhaustive_s=60.0)
    ours, published = table["rows"]["c"], table["rows"]["published"]
    assert ours["ratio"] > 0
    assert published["ratio"] == 1.0
    assert ours["repeats"] == 2
    assert ours["exhaustive_share"] == 1.0
    run = segment_once(a_scan.volume, a_contender)
    whole = exhaustive_mask(a_scan, a_contender, "cpu", 0.0)
    assert ours["voxels_different"] == whole.share_different(run.labels)
    assert ours["locations"] == run.locations


def row(**values: object) -> dict[str, object]:
    usual = {"ratio": 7.0, "seconds": 2.0, "locations": 10, "voxels_different": 0.0}
    return usual | {"exhaustive_share": 1.0, "repeats": 5} | values


def test_on_top_stands_the_worst_scan_of_each_figure() -> None:
    worst = worst_of([row(ratio=6.5, locations=10), None, row(ratio=8.0, locations=30, voxels_different=None)])
    assert worst["ratio"] == 6.5
    assert worst["locations"] == 30
    assert worst["voxels_different"] == 0.0
    assert worst_of([None])["ratio"] is None


def test_the_estimate_adds_the_measured_parts_of_the_published_form() -> None:
    parts = {
        "encoder": {"published_seconds": 4.0, "published_cpu_s": 6.0},
        "decoder": {"published_location_us": 200.0, "published_location_cpu_us": 340.0},
    }
    rows = [row(seconds=2.0, cpu_s=4.0, published_schedule={"locations": 100_000}), None]
    # 4 s of encoder and 100,000 locations of 200 microseconds, against 2 s.
    assert estimated_ratio(rows, parts) == pytest.approx(12.0)
    assert estimated_ratio(rows, parts, of_cpu=True) == pytest.approx(10.0)
    assert estimated_ratio([], parts) is None
