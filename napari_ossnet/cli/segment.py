"""``ossnet segment``: images in, a mask out; or a whole cohort with ``--batch``."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from napari_ossnet.cli.case import Network, RunOptions, choose_network, run_case, show_summary, show_weights
from napari_ossnet.cli.extras import check_extras
from napari_ossnet.cli.region import choose_region
from napari_ossnet.cli.reporters import ProgressKind, make_reporter
from napari_ossnet.cli.results import DICOM_SUFFIX, ResultFiles, write_results
from napari_ossnet.engine.device import parse_memory
from napari_ossnet.engine.errors import InputError, OutputError
from napari_ossnet.engine.files.atomic import is_protected
from napari_ossnet.engine.files.itk_files import is_dicom
from napari_ossnet.engine.files.mesh_files import MESH_SUFFIXES
from napari_ossnet.engine.networks.variants import VARIANTS
from napari_ossnet.engine.refining.step_sizes import STEPS
from napari_ossnet.engine.results.segmentation import RESEARCH_NOTICE
from napari_ossnet.engine.scans.assignment import assign_images, split_image
from napari_ossnet.engine.session import Schedule, SegmentationSession
from napari_ossnet.engine.surfaces.surface_finish import SurfaceWishes
from napari_ossnet.engine.volume import WRITABLE_SUFFIXES

REPORT_SUFFIXES = (".json", ".html")


def _option(metavar: str, *aliases: str) -> object:
    """An option that may be left out, without "default: None" in the help."""
    return tyro.conf.arg(metavar=metavar, aliases=list(aliases), help_behavior_hint="")


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Segment a scan: one mask from one file a modality, or from one 4D file."""

    images: Annotated[tuple[str, ...], tyro.conf.Positional, _option("IMAGE ...")] = ()
    """The images. Which is which modality is told from whole words in their names (flair, t1, t1ce, t2), or said
    outright: flair=FILE."""
    output: Annotated[Path | None, _option("MASK", "-o")] = None
    """The mask, on the scan's own grid: .nii.gz, .nii, .mgz, .nrrd, .mha; .seg.nrrd has segments for Slicer,
    .dcm is a DICOM Segmentation (for a DICOM series)."""
    task: Annotated[str | None, _option("NAME")] = None
    """What to segment: brats (the default), lits, hippocampus, or the task of your own weights."""
    variant: Annotated[str | None, _option("NAME")] = None
    """Kind of network: o-net, a, b, c, d, x ...; without it, that of the best weights on this machine."""
    weights: Annotated[str | None, _option("NAME|FILE")] = None
    """A name from 'ossnet weights list', or a file."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:n or mps."""
    memory: Annotated[str | None, _option("SIZE")] = None
    """Budget for the work above the loaded scan, such as 2GiB; without it, half of what is free."""
    step: int = 1
    """Finest step that is evaluated, in scan voxels: 1, 2, 4, 8 or 16."""
    schedule: Schedule = "octree"
    """How the mask is refined; the published ones are slower and are kept for comparison."""
    threshold: float = 0.5
    """Probability from which a voxel belongs to the object."""
    mirrored: Literal["yes", "no"] = "no"
    """Whether to ask the scan's mirror image too and take the mean: twice the time, a little better on brains."""
    surface: Annotated[Path | None, _option("FILE")] = None
    """Also write the surface, in RAS mm: .stl, .ply, .obj, .glb or .vtp."""
    faces: Annotated[int | None, _option("N")] = None
    """Thin the surface to about so many triangles; the largest deviation is said."""
    smoothing: int = 0
    """Smooth the surface by so many passes (20 is usual); the largest deviation is said."""
    pieces: Annotated[float, _option("ML")] = 0.0
    """Leave out pieces of the surface under so many millilitres."""
    probability: Annotated[Path | None, _option("FILE")] = None
    """Also write the probability of every voxel: .nii.gz, .nii, .mgz, .nrrd or .mha."""
    super_resolved: Annotated[Path | None, _option("FILE")] = None
    """Also write the image that PFSeg restores beside its mask (--variant pfseg): a network's work, not a scan."""
    numbers: Annotated[Path | None, _option("FILE")] = None
    """Also write a table of every class and every object: .csv."""
    uncertainty: Literal["yes", "no"] = "yes"
    """Whether numbers and report also say what thresholds lower and higher by 0.1 would make of the volume; the
    reports of a batch do not."""
    report: Annotated[Path | None, _option("FILE")] = None
    """Also write a report: .json for programs, .html as a page with pictures."""
    picture: Annotated[Path | None, _option("FILE")] = None
    """Also write a picture of slices and surface: a .png file."""
    region: Annotated[str | None, _option("BOX")] = None
    """Write this box only, as half-open voxel ranges i0:i1,j0:j1,k0:k1 of the scan."""
    upscale: Annotated[float | None, _option("FACTOR")] = None
    """Voxels this many times smaller, in the box of --region or else around the object."""
    batch: Annotated[tuple[Path, Path] | None, _option("IN OUT")] = None
    """Instead of images: a folder with a folder (or a file) a case, and the folder for masks and results.csv."""
    progress: ProgressKind = "bar"
    """How progress is shown; json prints a line an event."""

    def run(self) -> int:
        """Segments and writes; 1 where cases of a batch failed.

        Raises:
            EngineError: Something that was given can't be used, or the run failed.
        """
        options = self._check()
        network = choose_network(self.task, self.variant, self.weights)
        self._check_dicom(network)
        self._check_super_resolved(network)
        reporter = make_reporter(self.progress)
        show_weights(network, reporter)
        session = SegmentationSession()
        if self.batch is not None:
            from napari_ossnet.cli.batch import Batch

            source, target = self.batch
            batch = Batch(
                session=session, network=network, source=source, target=target, options=options, reporter=reporter
            )
            return batch.run()
        assert self.output is not None
        case = run_case(session, network, self.images, options, reporter)
        write_results(case, self._files(self.output), session, reporter)
        show_summary(case.segmentation, reporter)
        reporter.fact("notice", RESEARCH_NOTICE)
        return 0

    def _files(self, mask: Path) -> ResultFiles:
        return ResultFiles(
            mask=mask,
            surface=self.surface,
            probability=self.probability,
            super_resolved=self.super_resolved,
            numbers=self.numbers,
            picture=self.picture,
            reports=() if self.report is None else (self.report,),
            wishes=SurfaceWishes(least_ml=self.pieces, faces=self.faces, smoothing=self.smoothing),
            has_uncertainty=self.uncertainty == "yes",
        )

    def _check(self) -> RunOptions:
        """What can be said about the options without reading anything, said before anything is read."""
        if self.variant is not None and self.variant not in VARIANTS:
            raise InputError(f"--variant must be one of {', '.join(VARIANTS)}, got {self.variant}.")
        if self.step not in STEPS:
            raise InputError(f"--step must be one of {', '.join(map(str, STEPS))}, got {self.step}.")
        if not 0 < self.threshold < 1:
            raise InputError(f"--threshold must lie between 0 and 1, got {self.threshold:g}.")
        if self.batch is not None:
            self._check_batch()
        else:
            self._check_files()
        return RunOptions(
            device=self.device,
            memory_bytes=None if self.memory is None else parse_memory(self.memory),
            step=self.step,
            schedule=self.schedule,
            threshold=self.threshold,
            mirrored=self.mirrored == "yes",
            region=choose_region(self.region, self.upscale),
        )

    def _check_batch(self) -> None:
        given: dict[str, object] = {
            "images": self.images,
            "-o": self.output,
            "--surface": self.surface,
            "--faces": self.faces,
            "--smoothing": self.smoothing,
            "--pieces": self.pieces,
            "--probability": self.probability,
            "--super-resolved": self.super_resolved,
            "--numbers": self.numbers,
            "--report": self.report,
            "--picture": self.picture,
            "--region": self.region,
            "--upscale": self.upscale,
            "--uncertainty": self.uncertainty == "no",
        }
        extra = [name for name, value in given.items() if value]
        if extra:
            raise InputError(f"--batch names its own files in the folder OUT; leave out {', '.join(extra)}.")

    def _check_wishes(self) -> None:
        """Whether the options that change a surface have one to change, and make sense."""
        given = {"--faces": self.faces, "--smoothing": self.smoothing, "--pieces": self.pieces}
        extra = [name for name, value in given.items() if value]
        if extra and self.surface is None:
            raise InputError(f"{', '.join(extra)} changes the surface; add --surface FILE, or leave it out.")
        if self.faces is not None and self.faces < 4:
            raise InputError(
                f"--faces must be 4 or more, which is the least that a closed surface has, got {self.faces}."
            )
        if self.smoothing < 0:
            raise InputError(f"--smoothing must be 0 or more passes, got {self.smoothing}.")
        if not self.pieces >= 0:
            raise InputError(f"--pieces must be 0 mL or more, got {self.pieces:g}.")

    def _check_files(self) -> None:
        if not self.images:
            raise InputError("There is no image to segment; give one file a modality, or a 4D file.")
        if self.output is None:
            raise InputError("Where should the mask go? Add: -o MASK.nii.gz.")
        self._check_wishes()
        wanted = {
            "-o": (self.output, (*WRITABLE_SUFFIXES, DICOM_SUFFIX)),
            "--surface": (self.surface, MESH_SUFFIXES),
            "--probability": (self.probability, WRITABLE_SUFFIXES),
            "--super-resolved": (self.super_resolved, WRITABLE_SUFFIXES),
            "--numbers": (self.numbers, (".csv",)),
            "--report": (self.report, REPORT_SUFFIXES),
            "--picture": (self.picture, (".png",)),
        }
        sources = {split_image(text)[1].resolve() for text in self.images}
        series = {path if path.is_dir() else path.parent for path in sources if path.is_dir() or is_slice(path)}
        targets: dict[Path, str] = {}
        for option, (path, suffixes) in wanted.items():
            if path is None:
                continue
            if not path.name.lower().endswith(suffixes):
                raise InputError(f"{option} must end in {', '.join(suffixes)}, got {path.name}.")
            if path.resolve() in sources or (path.resolve().parent in series and is_slice(path)):
                raise InputError(f"{option} would overwrite the image {path}; choose another name.")
            if option != "-o" and path.name.lower().endswith(".seg.nrrd"):
                raise InputError(f"{option} is no segmentation, which {path.name} would say it is; choose .nrrd.")
            other = targets.setdefault(path.resolve(), option)
            if other != option:
                raise InputError(f"{other} and {option} would be one file, {path}; give each a name of its own.")
            check_writable(path)
        check_extras(self._files(self.output))

    def _check_super_resolved(self, network: Network) -> None:
        if self.super_resolved is not None and network.card.variant != "pfseg":
            raise InputError(
                f"Only PFSeg restores an image, but {network.card.name} is of the variant {network.card.variant}; "
                "give weights of PFSeg, or leave out --super-resolved."
            )

    def _check_dicom(self, network: Network) -> None:
        """Whether the mask can be a DICOM Segmentation: one refers to the series whose voxels it has."""
        if self.output is None or self.output.suffix.lower() != DICOM_SUFFIX:
            return
        if self.region is not None or self.upscale is not None:
            raise InputError(
                "A DICOM mask has the voxels of its series; write a region as .seg.nrrd or .nii.gz instead."
            )
        first = next(iter(assign_images(network.task, self.images).values()))
        if first.is_file() and not is_dicom(first):
            raise InputError(
                f"A DICOM mask refers to a DICOM series, and {first.name} is none; write .seg.nrrd instead."
            )
        if first.exists():
            from napari_ossnet.engine.files.dicom_seg import slice_files

            # It refuses what has no single slices.
            slice_files(first)


def is_slice(path: Path) -> bool:
    """Whether a file is there that is DICOM."""
    return path.is_file() and is_dicom(path)


def check_writable(path: Path) -> None:
    """Finds out before the work whether a file can be written after it.

    Raises:
        OutputError: It can't; the sentence says why.
    """
    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise OutputError(f"Can't write {path} ({folder} is not a folder); choose another place.")
    if path.is_dir():
        raise OutputError(f"Can't write {path} (it is a folder); give a file name in it.")
    if is_protected(path):
        raise OutputError(f"Can't write {path} (it is there and read-only); choose another name.")
    try:
        # Permissions alone don't tell: there are read-only file systems, and root may do anything.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(f"Can't write {path} ({error.strerror or error}); choose another place.") from error
