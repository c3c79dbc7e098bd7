"""``ossnet demo``: a synthetic brain with a tumour, segmented by the bundled weights and compared with its truth."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_ossnet.cli.case import Case, RunOptions, choose_network, segment_volume, show_summary
from napari_ossnet.cli.reporters import ProgressKind, Reporter, make_reporter
from napari_ossnet.cli.results import ResultFiles, write_results
from napari_ossnet.cli.segment import check_writable
from napari_ossnet.engine.results.segmentation import RESEARCH_NOTICE
from napari_ossnet.engine.session import SegmentationSession
from napari_ossnet.engine.volume import write_mask, write_volume

if TYPE_CHECKING:
    from napari_ossnet.engine.phantom.brain import Phantom
    from napari_ossnet.engine.shapes import ScanData


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Make a synthetic brain with a tumour, segment it, and compare the mask with the truth."""

    output: Path = Path("ossnet-demo")
    """The folder for the scan, the mask, the surface, the numbers, the report and the picture."""
    variant: str | None = None
    """Kind of network; without it, that of the best weights."""
    weights: str | None = None
    """A name from 'ossnet weights list', or a file."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:n or mps."""
    progress: ProgressKind = "bar"
    """How progress is shown."""

    def run(self) -> None:
        """Does it and says how well it went.

        Raises:
            EngineError: There are no weights for it, or the folder can't be written.
        """
        check_writable(self.output / "mask.nii.gz")
        network = choose_network("brats", self.variant, self.weights)
        reporter = make_reporter(self.progress)
        reporter.fact("stage", "Making a synthetic scan (four modalities, with a tumour whose outline is known) ...")
        phantom = _demo_phantom()
        assignment = _write_scan(phantom, self.output)
        session = SegmentationSession()
        segmentation = segment_volume(session, network, phantom.volume, RunOptions(device=self.device), reporter)
        case = Case(assignment=assignment, volume=phantom.volume, segmentation=segmentation)
        write_results(case, _files(self.output), session, reporter)
        _compare(segmentation.labels, phantom, reporter)
        show_summary(segmentation, reporter)
        _show_how_to_view(assignment["flair"], self.output / "mask.nii.gz", reporter)
        reporter.fact("notice", RESEARCH_NOTICE)


def _files(folder: Path) -> ResultFiles:
    return ResultFiles(
        mask=folder / "mask.nii.gz",
        surface=folder / "surface.stl",
        numbers=folder / "numbers.csv",
        picture=folder / "picture.png",
        reports=(folder / "report.json", folder / "report.html"),
    )


def _show_how_to_view(scan: Path, mask: Path, reporter: Reporter) -> None:
    """Says by which commands napari opens this very result, and is installed first where it is missing."""
    # By this Python, since the environment need not be activated.
    python = _in_quotes(_from_here(Path(sys.executable)))
    command = f"{python} -m napari {_in_quotes(scan)} {_in_quotes(mask)}"
    install = f'{python} -m pip install -c constraints.txt -e ".[viewer]"'
    lines = [f"See it in napari: {command}"]
    if find_spec("napari") is None:
        lines = [f"To see it, install napari: {install}", f"Then: {command}"]
    reporter.fact("view", "\n".join(lines), scan=str(scan), mask=str(mask), command=command)


def _from_here(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _in_quotes(path: Path) -> str:
    """A path as a shell of any system takes it."""
    return f'"{path}"' if " " in str(path) else str(path)


def dice(mask: np.ndarray, truth: np.ndarray) -> float:
    """The Dice coefficient of two masks (i, j, k); 1 where both are empty."""
    total = int(np.count_nonzero(mask)) + int(np.count_nonzero(truth))
    return 2.0 * int(np.count_nonzero((mask > 0) & (truth > 0))) / total if total else 1.0


def otsu_mask(flair: np.ndarray) -> np.ndarray:
    """What a user would try first: Otsu's threshold of the FLAIR inside the brain, its largest component.

    Args:
        flair: The FLAIR channel (i, j, k), 0 outside the brain.
    """
    from skimage.filters import threshold_otsu
    from skimage.measure import label

    components = label(flair > threshold_otsu(flair[flair != 0]))
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    return np.asarray(components == sizes.argmax())


def _demo_phantom() -> Phantom:
    from napari_ossnet.engine.phantom.brain import demo_phantom

    return demo_phantom()


def _write_scan(phantom: Phantom, folder: Path) -> dict[str, Path]:
    volume = phantom.volume
    assignment = {}
    for name, channel in zip(volume.channel_names, volume.data, strict=True):
        assignment[name] = folder / f"demo_{name}.nii.gz"
        write_volume(assignment[name], channel, volume)
    write_mask(folder / "truth.nii.gz", phantom.labels > 0, volume)
    return assignment


def _compare(labels: np.ndarray, phantom: Phantom, reporter: Reporter) -> None:
    ours = dice(labels, phantom.labels)
    flair: ScanData = phantom.volume.data[phantom.volume.channel_names.index("flair")]
    threshold = dice(otsu_mask(flair), phantom.labels)
    text = f"Dice {ours:.3f}\nOtsu's threshold of the FLAIR, for comparison: Dice {threshold:.3f}"
    reporter.fact("dice", text, dice=ours, otsu_dice=threshold)
