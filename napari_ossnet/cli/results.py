"""The files that a case leaves: mask, surface, probability map, numbers, picture, report; each whole or not at all."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path

from napari_ossnet.cli.case import Case
from napari_ossnet.cli.reporters import Reporter, drive
from napari_ossnet.engine.files.atomic import atomic_path
from napari_ossnet.engine.results.numbers import Numbers, numbers_of, unsure_between, write_numbers
from napari_ossnet.engine.results.segmentation import Segmentation
from napari_ossnet.engine.session import SegmentationSession
from napari_ossnet.engine.surfaces.surface_finish import FinishedSurface, SurfaceWishes, finish_surface

#: A mask of this suffix is a DICOM Segmentation, which refers to the series that was segmented.
DICOM_SUFFIX = ".dcm"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultFiles:
    """Where the results of a case go; None leaves one out."""

    mask: Path
    surface: Path | None = None
    probability: Path | None = None
    #: PFSeg's other output.
    super_resolved: Path | None = None
    numbers: Path | None = None
    picture: Path | None = None
    #: JSON or HTML, by their suffixes.
    reports: tuple[Path, ...] = ()
    wishes: SurfaceWishes = field(default_factory=SurfaceWishes)
    #: Whether numbers and report say what a lower and a higher threshold would make of the volume.
    has_uncertainty: bool = True


def write_results(case: Case, files: ResultFiles, session: SegmentationSession, reporter: Reporter) -> None:
    """Writes the files of a case.

    Args:
        case: What went in and what came out.
        files: What is wanted.
        session: The one that segmented the case, and still holds its field.
        reporter: Is told of every file.

    Raises:
        OutputError: A file can't be written.
    """
    if files.mask.suffix.lower() != DICOM_SUFFIX:
        _write_mask(case, files.mask, reporter)
        _write_others(case, files, session, reporter)
        return
    # What a DICOM Segmentation asks of its series may fail; the rest of a long run is there by then.
    _write_others(case, files, session, reporter)
    if case.segmentation.is_empty:
        # It must have a segment; numbers and report are there for whoever counts the negatives.
        reporter.fact("mask", "Mask: none, since it is empty, which DICOM Segmentations can't be", path=None)
    else:
        _write_mask(case, files.mask, reporter)


def _write_others(case: Case, files: ResultFiles, session: SegmentationSession, reporter: Reporter) -> None:
    if files.surface is not None:
        case = _write_surface(case, files.surface, files.wishes, session, reporter)
    if files.probability is not None:
        _write_probability(files.probability, case.segmentation, session)
        reporter.fact("probability", f"Probability map: {files.probability}", path=str(files.probability))
    if files.super_resolved is not None:
        _write_super_resolved(files.super_resolved, session, reporter)
    if files.picture is not None:
        from napari_ossnet.engine.results.picture import draw_picture

        draw_picture(files.picture, case.volume, case.segmentation)
        reporter.fact("picture", f"Picture: {files.picture}", path=str(files.picture))
    if files.numbers is None and not files.reports:
        return
    numbers = _numbers(case.segmentation, session, reporter, has_uncertainty=files.has_uncertainty)
    if files.numbers is not None:
        write_numbers(files.numbers, numbers)
        reporter.fact("numbers", f"Numbers: {files.numbers}", path=str(files.numbers))
    for path in files.reports:
        write_report(path, case, numbers)
        reporter.fact("report", f"Report: {path}", path=str(path))


def write_report(path: Path, case: Case, numbers: Numbers | None = None) -> None:
    """Writes the report of a case, as JSON or as an HTML page: the segmentation's own, and what went in.

    Args:
        path: Its suffix decides.
        case: The case.
        numbers: Adds every object, and the uncertainty where it was measured.

    Raises:
        OutputError: The file can't be written.
    """
    images = {name: str(image) for name, image in case.assignment.items()}
    if path.suffix.lower() == ".html":
        from napari_ossnet.engine.results.report_page import write_report_page

        write_report_page(path, case.volume, case.segmentation, images, numbers)
        return
    content = {**case.segmentation.report(), **({} if numbers is None else numbers.as_dict()), "images": images}
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _write_mask(case: Case, path: Path, reporter: Reporter) -> None:
    if path.suffix.lower() == DICOM_SUFFIX:
        _write_dicom_mask(case, path)
    else:
        from napari_ossnet.engine.files.export import export_result

        export_result(case.segmentation, path)
    reporter.fact("mask", f"Mask: {path}", path=str(path))


def _write_dicom_mask(case: Case, path: Path) -> None:
    from napari_ossnet.engine.files.dicom_seg import write_dicom_seg

    with warnings.catch_warnings():
        # highdicom remarks on the series' own header (a name of one word, say), which is not ours to mend.
        warnings.simplefilter("ignore", UserWarning)
        write_dicom_seg(path, case.segmentation, next(iter(case.assignment.values())))


def _write_surface(
    case: Case, path: Path, wishes: SurfaceWishes, session: SegmentationSession, reporter: Reporter
) -> Case:
    """Writes the surface on the field's level set; the case that is returned tells what was done to it."""
    from napari_ossnet.engine.files.mesh_files import write_mesh

    finished = FinishedSurface(mesh=drive(session.surface(case.segmentation), reporter), sentences=())
    if not finished.mesh.is_empty:
        finished = finish_surface(finished.mesh, wishes)
    for sentence in finished.sentences:
        reporter.fact("surface-changed", sentence)
    if finished.mesh.is_empty:
        reason = "the mask is empty" if case.segmentation.is_empty else "every piece is too small"
        reporter.fact("surface", f"Surface: none, since {reason}", path=None)
    else:
        write_mesh(path, finished.mesh)
        reporter.fact("surface", f"Surface: {path} (RAS mm)", path=str(path))
    messages = (*case.segmentation.messages, *finished.sentences)
    return replace(case, segmentation=replace(case.segmentation, messages=messages))


def _write_probability(path: Path, segmentation: Segmentation, session: SegmentationSession) -> None:
    """One class as a 3D image, several as a 4D one in the order of the labels."""
    from napari_ossnet.engine.volume import write_volume

    probability = session.probability_map(segmentation)
    write_volume(path, probability[0] if len(probability) == 1 else probability, segmentation)


def _write_super_resolved(path: Path, session: SegmentationSession, reporter: Reporter) -> None:
    from napari_ossnet.engine.volume import write_volume

    image = drive(session.super_resolved_image(), reporter)
    write_volume(path, image.data[0], image)
    text = f"Image super-resolved by PFSeg, not a scan: {path}"
    reporter.fact("super-resolved", text, path=str(path))


def _numbers(
    segmentation: Segmentation, session: SegmentationSession, reporter: Reporter, *, has_uncertainty: bool
) -> Numbers:
    if not has_uncertainty:
        return numbers_of(segmentation)
    lower, higher = unsure_between(segmentation.threshold)
    return numbers_of(segmentation, uncertainty=drive(session.uncertainty(lower, higher, segmentation), reporter))
