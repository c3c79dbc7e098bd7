"""The report as a page: complete, self-contained, and nothing in it is taken for markup."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from napari_ossnet.engine.events import Snapshot
from napari_ossnet.engine.results.measurement import Measurement
from napari_ossnet.engine.results.numbers import Numbers, ObjectNumbers, ThresholdUncertainty
from napari_ossnet.engine.results.report_page import build_page
from napari_ossnet.engine.results.segmentation import RESEARCH_NOTICE, Provenance, Segmentation, SnapshotRecord, Timings
from napari_ossnet.engine.tasks import TASKS
from napari_ossnet.engine.volume import Volume

SHAPE = (20, 22, 24)


class Tags(HTMLParser):
    """Which tags a page opens and closes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.opened: list[tuple[str, dict[str, str | None]]] = []
        self.waiting: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.opened.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.waiting.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.opened.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.waiting.pop() == tag


def a_segmentation(labels: np.ndarray, **changes: object) -> Segmentation:
    snapshot = Snapshot(
        step=1, steps=(1, 1, 1), labels=labels, first_voxel=(0, 0, 0), affine=np.eye(4),
        bounds=((-0.5,) * 3, tuple(size - 0.5 for size in labels.shape)),
        band_samples=np.zeros((0, 3), dtype=np.int64), band_logits=np.zeros((0, 1), dtype=np.float32), threshold=0.5,
        class_labels=(1,), evaluated_locations=1234, elapsed_s=2.0, is_final=True,
    )  # fmt: skip
    whole = Measurement(
        name="whole", title="Whole tumour", label=None, voxels=int(labels.sum()),
        volume_ml=1.25, field_volume_ml=1.25, surface_area_cm2=6.5, max_diameter_mm=14.0,
    )  # fmt: skip
    provenance = Provenance(
        weights="w<1>", sha256="ab" * 32, task="brats", variant="x", device="cpu", schedule="octree",
        versions={"torch": "2.13"}, citation="Reich & others 2021",
    )  # fmt: skip
    values: dict[str, object] = {
        "labels": labels, "affine": np.eye(4), "affine_codes": (0, 1), "task": TASKS["brats"], "threshold": 0.4,
        "snapshot": snapshot, "measurements": (whole,), "provenance": provenance,
        "snapshots": (SnapshotRecord(step=2, evaluated_locations=400, elapsed_s=0.5),
                      SnapshotRecord(step=1, evaluated_locations=1234, elapsed_s=2.0)),
        "evaluated_locations": 1234, "timings": Timings(encoding_s=0.1, first_snapshot_s=0.5, elapsed_s=2.0),
        "peak_memory_bytes": 2**30, "messages": ("The skull is <still> there.",),
    }  # fmt: skip
    return Segmentation(**(values | changes))  # type: ignore[arg-type]


@pytest.fixture
def a_volume() -> Volume:
    data = np.random.default_rng(0).normal(size=(4, *SHAPE)).astype(np.float32)
    return Volume(data=data, affine=np.eye(4), channel_names=("flair", "t1", "t1ce", "t2"))


@pytest.fixture
def a_page(a_volume: Volume) -> str:
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[5:12, 6:14, 7:15] = 1
    return build_page(a_volume, a_segmentation(labels), {"flair": "/data/a&b_flair.nii.gz"})


def test_it_holds_numbers_provenance_citation_and_notice(a_page: str) -> None:
    for words in (
        "1.25",
        "6.5",
        "14.0",
        "ab" * 32,
        "1,234",
        "octree",
        "torch 2.13",
        "Reich &amp; others",
        RESEARCH_NOTICE,
    ):
        assert words in a_page


def test_everything_is_in_the_page_itself_and_no_script_runs(a_page: str) -> None:
    tags = Tags(a_page)
    assert tags.waiting == []
    names = {name for name, _ in tags.opened}
    assert not names & {"script", "link", "iframe", "object"}
    for _, attributes in tags.opened:
        for key in ("src", "href"):
            assert (attributes.get(key) or "data:").startswith("data:")
    assert "http" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", a_page)


def test_the_picture_is_a_png(a_page: str) -> None:
    (encoded,) = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", a_page)
    assert base64.b64decode(encoded).startswith(b"\x89PNG")


def test_names_and_messages_are_text_and_not_markup(a_page: str) -> None:
    for words in ("w&lt;1&gt;", "a&amp;b_flair.nii.gz", "The skull is &lt;still&gt; there."):
        assert words in a_page


def test_every_step_is_a_bar_in_the_chart(a_page: str) -> None:
    assert a_page.count("<rect") == 1 + 2
    assert "step 2</text>" in a_page
    assert "0.50 s, 400 locations" in a_page


def test_objects_and_uncertainty_are_told_with_their_units(a_volume: Volume) -> None:
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[5:12, 6:14, 7:15] = 1
    result = a_segmentation(labels)
    at_lower, at_higher = replace(result.whole, volume_ml=1.5), replace(result.whole, volume_ml=0.875)
    unsure = ThresholdUncertainty(
        lower_threshold=0.3, higher_threshold=0.5, at_lower=(at_lower,), at_higher=(at_higher,)
    )
    objects = [
        ObjectNumbers(
            name="whole", title="Whole tumour", label=None, number=number, volume_ml=1 / number, surface_area_cm2=2.0,
            max_diameter_mm=9.0, axial_longest_mm=8.0, axial_across_mm=7.5, axial_product_mm2=60.0, axial_slice=6,
        )
        for number in range(1, 16)
    ]  # fmt: skip
    numbers = Numbers(measurements=result.measurements, objects=tuple(objects), uncertainty=unsure)

    page = build_page(a_volume, result, {}, numbers)

    for words in ("0.875 to 1.50 mL at thresholds 0.5 and 0.3", "8.0 × 7.5 mm", "product 60 mm², in slice 6"):
        assert words in page
    assert "Whole tumour 12" in page
    assert "3 smaller ones are not listed here" in page
    assert Tags(page).waiting == []


def test_an_empty_mask_is_said(a_volume: Volume) -> None:
    page = build_page(a_volume, a_segmentation(np.zeros(SHAPE, dtype=np.uint8), snapshots=()), {})
    assert "Nothing was found: the mask is empty." in page
    assert Tags(page).waiting == []
