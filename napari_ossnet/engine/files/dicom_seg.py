"""Writes DICOM Segmentation objects that reference the series which was segmented, by highdicom."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import napari_ossnet
from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.files.atomic import atomic_path
from napari_ossnet.engine.files.itk_files import count_frames, dicom_files
from napari_ossnet.engine.results.segmentation import Segmentation
from napari_ossnet.engine.task_definition import SegmentClass

#: DICOM's patient axes point to the left, back and head; ours to the right, front and head.
_RAS_FROM_LPS = np.array([-1.0, -1.0, 1.0])
_NO_CATEGORY = ("SCT", "85756007", "Tissue")
#: Positions that fall next to a voxel's centre by more than this share of a voxel are of another scan.
_TOLERANCE = 0.05


def write_dicom_seg(path: str | Path, segmentation: Segmentation, source: str | Path) -> None:
    """Writes the mask as a DICOM Segmentation (binary, one segment a class).

    Args:
        path: Of the new file, usually .dcm.
        segmentation: A result on the grid of the series.
        source: The folder of the series that was segmented, or one of its files.

    Raises:
        InputError: highdicom is missing, the series is not that of the mask or is one file of many frames, the mask is
            empty, or it is a finer region, whose voxels the series does not have.
        OutputError: The file can't be written.
    """
    if segmentation.region is not None:
        raise InputError("A finer region has no slices in the series; write it as .seg.nrrd or .nii.gz instead.")
    if segmentation.is_empty:
        raise InputError("DICOM has no empty segmentations, and the mask is empty; lower the threshold first.")
    with _highdicom() as highdicom:
        images = _read_series(Path(source), segmentation)
        frames = np.stack([_frame(image, segmentation) for image in images])
        _complete(images)
        try:
            seg = _segmentation_object(highdicom, images, frames, segmentation)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            msg = f"The series lacks what a segmentation must take over from it ({error}); write .seg.nrrd instead."
            raise InputError(msg) from error
        with atomic_path(path) as temporary:
            seg.save_as(temporary)


def slice_files(source: Path) -> tuple[Path, ...]:
    """The files that a segmentation of a series refers to: those, a slice each, that reading the source takes.

    Raises:
        InputError: SimpleITK is missing, there is no one series, or it is one file of many frames.
    """
    files = dicom_files(source)
    frames = count_frames(files[0])
    if frames > 1:
        raise InputError(
            f"A DICOM mask refers to single slices, and {files[0].name} has {frames} in one file; write .seg.nrrd or "
            ".nii.gz instead."
        )
    return files


@contextmanager
def _highdicom() -> Iterator[Any]:
    try:
        import highdicom
    except ImportError as error:
        msg = 'Writing DICOM needs highdicom; install it with: pip install "napari-ossnet[dicom]".'
        raise InputError(msg) from error
    yield highdicom


def _read_series(source: Path, segmentation: Segmentation) -> list[Any]:
    """The images of the series, all of which lie on the mask's grid, in the order of its slices."""
    import pydicom

    # ITK reads files without DICOM's mark, hence the force.
    images = [pydicom.dcmread(file, force=True) for file in slice_files(source)]
    places = [_slice_of(image, segmentation) if "ImagePositionPatient" in image else None for image in images]
    found = [(place, image) for place, image in zip(places, images, strict=True) if place is not None]
    if len(found) < len(images):
        raise InputError(
            f"{len(images) - len(found)} of {len(images)} images of {source} do not lie on the mask's grid; give the "
            "folder of the series it was made of."
        )
    return [image for _, image in sorted(found, key=lambda item: item[0])]


def _complete(images: list[Any]) -> None:
    """Gives images without a frame of reference one that is always the same for their series.

    Old series lack it, and a segmentation must name one; that the images share it is why they are one series.
    """
    from pydicom.uid import generate_uid

    for image in images:
        if not image.get("FrameOfReferenceUID"):
            image.FrameOfReferenceUID = generate_uid(entropy_srcs=[str(image.SeriesInstanceUID), "frame of reference"])


def _pixel_to_voxel(image: Any, segmentation: Segmentation) -> np.ndarray:
    """The map (3, 3) from (column, row, 1) of an image to voxels of the mask (DICOM PS3.3 C.7.6.2.1.1)."""
    row_direction, column_direction = np.array(image.ImageOrientationPatient, dtype=np.float64).reshape(2, 3)
    row_spacing, column_spacing = (float(value) for value in image.PixelSpacing)
    position = np.array(image.ImagePositionPatient, dtype=np.float64)
    columns = np.stack([row_direction * column_spacing, column_direction * row_spacing, position], axis=1)
    to_voxel = np.linalg.inv(segmentation.affine)
    in_world = columns * _RAS_FROM_LPS[:, None]
    voxels = to_voxel[:3, :3] @ in_world
    voxels[:, 2] += to_voxel[:3, 3]
    return voxels


def _slice_of(image: Any, segmentation: Segmentation) -> float | None:
    """Where along the slices an image lies; None where its pixels are not voxels of the mask."""
    to_voxel = _pixel_to_voxel(image, segmentation)
    corners = to_voxel @ np.array([[0, 0, 1], [image.Columns - 1, image.Rows - 1, 1]], dtype=np.float64).T
    is_on_grid = np.abs(corners - np.round(corners)).max() < _TOLERANCE
    last = np.array(segmentation.labels.shape)[:, None] - 1
    is_within = bool(((corners > -0.5) & (corners < last + 0.5)).all())
    across = int(np.abs(to_voxel[:, :2]).sum(axis=1).argmin())
    return float(corners[across, 0]) if is_on_grid and is_within else None


def _frame(image: Any, segmentation: Segmentation) -> np.ndarray:
    """The labels of an image's pixels, uint8 (rows, columns)."""
    to_voxel = _pixel_to_voxel(image, segmentation)
    rows, columns = np.meshgrid(np.arange(image.Rows), np.arange(image.Columns), indexing="ij")
    pixels = np.stack([columns.ravel(), rows.ravel(), np.ones(rows.size)])
    voxels = np.round(to_voxel @ pixels).astype(np.int64)
    return segmentation.labels[tuple(voxels)].reshape(image.Rows, image.Columns)


def _segmentation_object(highdicom: Any, images: list[Any], frames: np.ndarray, segmentation: Segmentation) -> Any:
    classes = [item for item in segmentation.task.classes if (frames == item.label).any()]
    numbered = np.zeros_like(frames)
    for number, item in enumerate(classes):
        numbered[frames == item.label] = number + 1
    return highdicom.seg.Segmentation(
        source_images=images,
        pixel_array=numbered,
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[
            _description(highdicom, number + 1, item, segmentation) for number, item in enumerate(classes)
        ],
        series_instance_uid=highdicom.UID(),
        series_number=900,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="napari-ossnet",
        manufacturer_model_name=f"OSS-Net {segmentation.provenance.variant}",
        software_versions=napari_ossnet.__version__,
        device_serial_number="0",
        series_description=f"{segmentation.task.title} (research use)",
    )


def _description(highdicom: Any, number: int, item: SegmentClass, segmentation: Segmentation) -> Any:
    from pydicom.sr.codedict import codes

    terminology = item.terminology
    category = _code(highdicom, _NO_CATEGORY if terminology is None else terminology.category)
    kind = _code(highdicom, _NO_CATEGORY if terminology is None else terminology.type)
    region = None if terminology is None or terminology.region is None else terminology.region
    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=item.title,
        segmented_property_category=category,
        segmented_property_type=kind,
        anatomic_regions=None if region is None else [_code(highdicom, region)],
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=f"OSS-Net {segmentation.provenance.variant}, {segmentation.provenance.weights}",
            version=napari_ossnet.__version__,
            family=codes.cid7162.ArtificialIntelligence,
        ),
        tracking_uid=highdicom.UID(),
        tracking_id=item.name,
        display_color=highdicom.color.CIELabColor.from_rgb(*item.color),
    )


def _code(highdicom: Any, code: tuple[str, str, str]) -> Any:
    scheme, value, meaning = code
    return highdicom.sr.CodedConcept(value=value, scheme_designator=scheme, meaning=meaning)
