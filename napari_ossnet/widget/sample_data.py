"""Owns the samples in napari's menu: the synthetic brain, made here, and public scans, downloaded once and checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from napari_ossnet.engine.catalogue import ossnet_home
from napari_ossnet.engine.checksums import sha256_of
from napari_ossnet.engine.download import fetch
from napari_ossnet.engine.errors import InputError
from napari_ossnet.widget.opening import LayerTuple, demo_layers, read_layers

_MS = (
    "https://raw.githubusercontent.com/muschellij2/open_ms_data/ab6737647be9665e5448d18be2d715e0a89f7170/"
    "cross_sectional/MNI/patient07/"
)
_MS_SUFFIX = "_N4_noneck_reduced_winsor_regtoFLAIR_brain_N4_regtoMNI.nii.gz"
_HIPPOCAMPUS = "https://raw.githubusercontent.com/udacity/nd320-c3-3d-imaging-starter/master/data/TrainingSet/images/"
_CT = (
    "https://raw.githubusercontent.com/wasserth/TotalSegmentator/0effae9d718aab0c118ce1f8982dcd16b9e32a50/"
    "tests/reference_files/"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleFile:
    """A file that is downloaded: its name here, where it lies, and what it must be."""

    name: str
    url: str
    sha256: str


#: Multiple sclerosis, four modalities: Lesjak et al., Neuroinformatics 2017, CC-BY.
MS_BRAIN = (
    SampleFile(
        name="ms_patient07_flair.nii.gz",
        url=f"{_MS}FLAIR{_MS_SUFFIX}",
        sha256="2f884f00d4e9cbca061a5fd2f988547df312d86194b331f4ca511cf852f775db",
    ),
    SampleFile(
        name="ms_patient07_t1.nii.gz",
        url=f"{_MS}T1{_MS_SUFFIX}",
        sha256="0d9e0c933140e64ba42931f5ed7aece2a7cc7001fe6c8d753720c487f5e1b8b1",
    ),
    SampleFile(
        name="ms_patient07_t1ce.nii.gz",
        url=f"{_MS}T1POST{_MS_SUFFIX}",
        sha256="6f12c9ee925a419eab4f7e90d795ab09e91b21b3fec87b40cbde229a1139b28f",
    ),
    SampleFile(
        name="ms_patient07_t2.nii.gz",
        url=f"{_MS}T2{_MS_SUFFIX}",
        sha256="272765a0f017d34d51de97690dd33495ce0191d04671be648bf2bc117bd4c4d7",
    ),
)
#: Medical Segmentation Decathlon, Task04 (Simpson et al., arXiv:1902.09063), CC-BY-SA 4.0.
HIPPOCAMPUS = (
    SampleFile(
        name="hippocampus_001.nii.gz",
        url=f"{_HIPPOCAMPUS}hippocampus_001.nii.gz",
        sha256="ab47d6115b412ffaba041cbf48962967127f199f39eb56c777a6bb3746353b4a",
    ),
)
#: A test file of TotalSegmentator, Apache-2.0.
CT_ABDOMEN = (
    SampleFile(
        name="abdomen_ct.nii.gz",
        url=f"{_CT}example_ct.nii.gz",
        sha256="dbd3ae6d614d1d7ef3a46925c30c70038ed52da6b37fdd6afdc7b9b71387e3e1",
    ),
)


def synthetic_brain() -> list[LayerTuple]:
    """The demo scan: a synthetic brain with a tumour, four modalities, made on this machine."""
    return demo_layers()


def ms_brain() -> list[LayerTuple]:
    """A real brain with multiple sclerosis in the four modalities of the brain task, 9 MB to download."""
    return _layers(MS_BRAIN)


def hippocampus() -> list[LayerTuple]:
    """A small MR volume around a hippocampus, 50 kB to download."""
    return _layers(HIPPOCAMPUS)


def ct_abdomen() -> list[LayerTuple]:
    """An abdominal CT at 3 mm, 2 MB to download."""
    return _layers(CT_ABDOMEN)


def sample_path(sample: SampleFile, folder: Path | None = None) -> Path:
    """The file of a sample on this machine, downloaded if it is not here.

    Raises:
        EngineError: It can't be fetched, or is not the file that it was.
    """
    target = (folder or ossnet_home() / "samples") / sample.name
    if not target.is_file():
        for _ in fetch(sample.url, target):
            pass
    if sha256_of(target) != sample.sha256:
        target.unlink()
        raise InputError(f"What {sample.url} sends is not the scan that we know; please report it.")
    return target


def _layers(samples: tuple[SampleFile, ...]) -> list[LayerTuple]:
    layers = [layer for sample in samples for layer in read_layers(sample_path(sample))]
    return [
        (data, {**keywords, "visible": index == len(layers) - 1}, kind)
        for index, (data, keywords, kind) in enumerate(layers)
    ]
