"""DICOM files of many frames, as scanners write enhanced CT and MR."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from napari_ossnet.cli.segment import Segment
from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.files.dicom_seg import write_dicom_seg
from napari_ossnet.engine.tasks import get_task
from napari_ossnet.engine.volume import read_volume

AXIAL = (1, 0, 0, 0, 1, 0)
EVEN = [(-10, -20, 5 + 2.5 * index) for index in range(6)]
ENHANCED_CT, ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.4.1"

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes frames of 8 x 10 pixels of 2 (across) x 3 (down) mm, each frame filled with its index."""
    pytest.importorskip("SimpleITK")
    pydicom = pytest.importorskip("pydicom")

    def group(**values: object) -> Any:
        item = pydicom.Dataset()
        item.update(values)
        return [item]

    def write_frames(
        positions: Sequence[Sequence[float]],
        *,
        orientations: Sequence[Sequence[float]] | None = None,
        scales: Sequence[tuple[float, float]] | None = None,
        kind: str = ENHANCED_CT,
        change: Callable[[Any], None] | None = None,
        name: str = "scan.dcm",
    ) -> Path:
        file = pydicom.Dataset()
        file.file_meta = pydicom.dataset.FileMetaDataset()
        file.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        file.SOPClassUID = file.file_meta.MediaStorageSOPClassUID = kind
        file.SOPInstanceUID = file.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
        file.StudyInstanceUID, file.SeriesInstanceUID, file.Modality = "1.2.3", "1.2.3.4", "CT"
        file.Rows, file.Columns, file.NumberOfFrames = 10, 8, len(positions)
        file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
        file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 16, 16, 15, 1
        file.PixelData = np.repeat(np.arange(len(positions), dtype=np.int16), 80).tobytes()
        shared, frames = pydicom.Dataset(), [pydicom.Dataset() for _ in positions]
        shared.PixelMeasuresSequence = group(PixelSpacing=[3, 2])
        shared.PlaneOrientationSequence = group(ImageOrientationPatient=list(AXIAL))
        for index, frame in enumerate(frames):
            frame.PlanePositionSequence = group(ImagePositionPatient=list(positions[index]))
            if orientations is not None:
                frame.PlaneOrientationSequence = group(ImageOrientationPatient=list(orientations[index]))
            if scales is not None:
                slope, intercept = scales[index]
                frame.PixelValueTransformationSequence = group(
                    RescaleSlope=slope, RescaleIntercept=intercept, RescaleType="US"
                )
        file.SharedFunctionalGroupsSequence, file.PerFrameFunctionalGroupsSequence = [shared], frames
        if change is not None:
            change(file)
        file.save_as(tmp_path / name, enforce_file_format=True)
        return tmp_path / name

    return write_frames


@pytest.mark.parametrize("kind", [ENHANCED_CT, ENHANCED_MR])
def test_the_frames_of_a_file_are_a_scan_in_ras(write: Write, kind: str) -> None:
    volume = read_volume(write(EVEN, kind=kind))
    assert volume.shape == (8, 10, 6)
    assert np.array_equal(volume.data[0, 3, 4], np.arange(6))
    assert np.allclose(volume.affine, [[-2, 0, 0, 10], [0, -3, 0, 20], [0, 0, 2.5, 5], [0, 0, 0, 1]])
    assert volume.affine_codes == (1, 1)
    assert volume.modality == "CT"


def test_a_folder_may_hold_the_one_file(write: Write) -> None:
    assert read_volume(write(EVEN).parent).shape == (8, 10, 6)


@pytest.mark.parametrize("order", [(5, 4, 3, 2, 1, 0), (3, 0, 5, 1, 4, 2)])
def test_frames_in_any_order_are_sorted_with_their_pixels(write: Write, order: tuple[int, ...]) -> None:
    volume = read_volume(write([EVEN[place] for place in order]))
    assert np.array_equal(volume.data[0, 3, 4], np.argsort(order))
    assert volume.data.flags.c_contiguous
    assert np.allclose(volume.affine[:3, 2:], [[0, 10], [0, 20], [2.5, 5]])


def test_a_tilted_stack_of_frames_keeps_its_shear(write: Write) -> None:
    volume = read_volume(write([(-10, -20 + 0.75 * index, 2.5 * index) for index in range(6)]))
    assert np.allclose(volume.affine[:3, 2], [0, -0.75, 2.5])


@pytest.mark.parametrize("decimals", [1, 2, 3])
def test_oblique_frames_with_rounded_positions_keep_their_spacing(write: Write, decimals: int) -> None:
    turn, _ = np.linalg.qr(np.array([[1, 0.1, -0.2], [-0.1, 1, 0.3], [0.2, -0.3, 1]]))
    across, down = turn[:, 0].round(6), turn[:, 1].round(6)
    steps = 4.0 * np.cross(across, down) * np.arange(6)[:, None]
    orientations = [(*across.tolist(), *down.tolist())] * 6
    volume = read_volume(write(steps.round(decimals).tolist(), orientations=orientations))
    assert volume.spacing_mm == pytest.approx((2, 3, 4), abs=0.02)
    assert np.allclose(volume.affine[:3, 0], np.array([-2, -2, 2]) * across)


def test_frames_with_jitter_keep_their_spacing(write: Write) -> None:
    volume = read_volume(write([(-10, -20, 5 * index + 0.001 * (index % 2)) for index in range(7)]))
    assert volume.spacing_mm == pytest.approx((2, 3, 5))


def test_a_missing_frame_is_seen(write: Write) -> None:
    with pytest.raises(InputError, match=r"scan\.dcm are not evenly spaced \(2\.50 to 5\.00 mm\)"):
        read_volume(write([*EVEN[:3], *EVEN[4:]]))


def test_several_volumes_in_a_file_are_no_scan(write: Write) -> None:
    with pytest.raises(InputError, match="12 slices at 6 positions"):
        read_volume(write([*EVEN, *EVEN]))


def test_frames_that_are_not_parallel_are_no_scan(write: Write) -> None:
    with pytest.raises(InputError, match="not parallel"):
        read_volume(write(EVEN, orientations=[AXIAL] * 5 + [(0, 1, 0, 0, 0, -1)]))


def drop_groups(file: Any) -> None:
    del file.SharedFunctionalGroupsSequence, file.PerFrameFunctionalGroupsSequence


def drop_a_position(file: Any) -> None:
    del file.PerFrameFunctionalGroupsSequence[3].PlanePositionSequence


def drop_a_frame(file: Any) -> None:
    file.PerFrameFunctionalGroupsSequence = file.PerFrameFunctionalGroupsSequence[:5]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (drop_groups, "has 6 frames and says of 0 where they lie"),
        (drop_a_position, "lack positions, orientation or pixel size .*ImagePositionPatient"),
        (drop_a_frame, "has 6 frames and says of 5 where they lie"),
    ],
)
def test_frames_without_a_place_are_refused(write: Write, change: Callable[[Any], None], words: str) -> None:
    with pytest.raises(InputError, match=f"{words}.*; export it as single slices or as NIfTI"):
        read_volume(write(EVEN, change=change))


@pytest.mark.parametrize("kind", [ENHANCED_CT, ENHANCED_MR])
def test_frames_are_rescaled(write: Write, kind: str) -> None:
    volume = read_volume(write(EVEN, kind=kind, scales=[(1.5, -1024)] * 6))
    assert np.array_equal(volume.data[0, 3, 4], np.arange(6) * 1.5 - 1024)


def test_frames_that_are_not_rescaled_alike_are_refused(write: Write) -> None:
    with pytest.raises(InputError, match="not rescaled alike"):
        read_volume(write(EVEN, scales=[(1, 0)] * 5 + [(1.375, 0)]))


def test_a_file_of_one_frame_needs_no_groups(write: Write) -> None:
    assert read_volume(write(EVEN[:1], change=drop_groups)).shape == (8, 10, 1)


def test_a_file_of_frames_stands_for_itself_and_not_for_its_series(write: Write) -> None:
    one, _ = write(EVEN), write([(x, y, 2 * z) for x, y, z in EVEN], name="second.dcm")
    assert read_volume(one).spacing_mm == pytest.approx((2, 3, 2.5))
    with pytest.raises(InputError, match="name the one file you want"):
        read_volume(one.parent)


def test_a_missing_pydicom_is_answered_with_the_line_that_installs_it(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = write(EVEN)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(InputError, match=r'pip install "napari-ossnet\[dicom\]"'):
        read_volume(scan)


def test_a_file_of_frames_gets_no_dicom_mask(write: Write, tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    volume = read_volume(write(EVEN))
    labels = np.ones(volume.shape, dtype=np.uint8)
    mask = SimpleNamespace(labels=labels, affine=volume.affine, region=None, is_empty=False)
    for source in (tmp_path / "scan.dcm", tmp_path):
        with pytest.raises(InputError, match=r"scan\.dcm has 6 in one file; write \.seg\.nrrd"):
            write_dicom_seg(tmp_path / "out" / "mask.dcm", mask, source)


def test_the_command_line_says_so_before_the_work(write: Write, tmp_path: Path) -> None:
    scan = write(EVEN)
    network = SimpleNamespace(task=get_task("hippocampus"))
    for image in (scan, scan.parent):
        command = Segment(images=(str(image),), output=tmp_path / "out" / "mask.dcm")
        with pytest.raises(InputError, match=r"scan\.dcm has 6 in one file; write \.seg\.nrrd"):
            command._check_dicom(network)
