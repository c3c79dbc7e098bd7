"""DICOM Segmentations of a real series, read back by pydicom and highdicom."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.files.dicom_seg import write_dicom_seg
from napari_ossnet.engine.tasks import get_task
from napari_ossnet.engine.volume import read_volume

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom", "ignore::UserWarning:highdicom")


@pytest.fixture(scope="module")
def a_series(a_data_folder):
    for package in ("highdicom", "SimpleITK"):
        pytest.importorskip(package)
    return a_data_folder / "dicom_head"


@pytest.fixture(scope="module")
def a_result(a_series):
    """A mask of the skull, whose place nobody can mistake, and a box of the second class."""
    volume = read_volume(a_series)
    labels = (volume.data[0] > 1300).astype(np.uint8)
    labels[10:20, 30:50, 5:9] = 2
    return SimpleNamespace(
        labels=labels,
        affine=volume.affine,
        task=get_task("hippocampus"),
        region=None,
        is_empty=False,
        provenance=SimpleNamespace(variant="c", weights="some-weights"),
        volume=volume,
    )


def test_every_frame_holds_the_mask_of_the_image_that_it_references(a_result, a_series, tmp_path):
    import highdicom
    import pydicom

    write_dicom_seg(tmp_path / "seg.dcm", a_result, a_series)

    seg = highdicom.seg.segread(tmp_path / "seg.dcm")
    images = {image.SOPInstanceUID: image for image in map(pydicom.dcmread, a_series.glob("*.dcm"))}
    assert seg.Modality == "SEG"
    assert seg.number_of_segments == 2
    checked = 0
    for uid in list(images)[::7]:
        pixels = seg.get_pixels_by_source_instance([uid], combine_segments=False, ignore_spatial_locations=True)[0]
        image = images[uid]
        bright = image.pixel_array * float(image.RescaleSlope) + float(image.RescaleIntercept) > 1300
        is_skull = (pixels[..., 0] > 0) | (pixels[..., 1] > 0)
        # Outside of the box, the first segment is the threshold of that very image.
        outside = pixels[..., 1] == 0
        assert np.array_equal(is_skull[outside], bright[outside])
        checked += 1
    assert checked > 10


def test_the_series_and_its_patient_are_referenced(a_result, a_series, tmp_path):
    import pydicom

    write_dicom_seg(tmp_path / "seg.dcm", a_result, a_series)

    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    image = pydicom.dcmread(next(a_series.glob("*.dcm")))
    assert seg.PatientID == image.PatientID
    assert seg.StudyInstanceUID == image.StudyInstanceUID
    assert seg.FrameOfReferenceUID
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == image.SeriesInstanceUID
    first = seg.SegmentSequence[0]
    assert first.SegmentLabel == a_result.task.classes[0].title
    assert first.SegmentAlgorithmType == "AUTOMATIC"
    assert "some-weights" in first.SegmentAlgorithmName


def test_one_file_stands_for_its_series(a_result, a_series, tmp_path):
    write_dicom_seg(tmp_path / "seg.dcm", a_result, sorted(a_series.glob("*.dcm"))[3])

    assert (tmp_path / "seg.dcm").stat().st_size > 0


def test_a_short_series_on_the_same_grid_is_passed_over_as_it_is_in_reading(a_result, a_series, tmp_path):
    import pydicom
    from pydicom.uid import generate_uid

    folder = shutil.copytree(a_series, tmp_path / "study")
    key_images, companion = sorted(folder.glob("*.dcm"))[:3], generate_uid()
    for number, file in enumerate(key_images):
        image = pydicom.dcmread(file)
        image.SeriesInstanceUID = companion
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        image.save_as(folder / f"key-{number}.dcm")

    write_dicom_seg(tmp_path / "seg.dcm", a_result, folder)

    (series,) = pydicom.dcmread(tmp_path / "seg.dcm").ReferencedSeriesSequence
    assert series.SeriesInstanceUID == pydicom.dcmread(key_images[0]).SeriesInstanceUID


def test_a_series_of_another_scan_is_refused(a_result, a_series, tmp_path):
    moved = SimpleNamespace(**{**vars(a_result), "affine": a_result.affine + np.diag([0.1, 0, 0, 0])})

    with pytest.raises(InputError, match="mask's grid"):
        write_dicom_seg(tmp_path / "seg.dcm", moved, a_series)

    assert not list(tmp_path.iterdir())


def test_an_empty_mask_and_a_finer_region_are_refused(a_result, a_series, tmp_path):
    empty = SimpleNamespace(**{**vars(a_result), "is_empty": True})
    region = SimpleNamespace(**{**vars(a_result), "region": object()})

    with pytest.raises(InputError, match="empty"):
        write_dicom_seg(tmp_path / "seg.dcm", empty, a_series)
    with pytest.raises(InputError, match="finer region"):
        write_dicom_seg(tmp_path / "seg.dcm", region, a_series)
