"""Sample data: a synthetic brain made on this machine, and Slicer's own CT of a liver and MR of a brain tumour."""

from __future__ import annotations

from typing import Any

from OSSNetLib import nodes
from OSSNetLib.logic import import_engine

CATEGORY = "OSS-Net"


def register_sample_data() -> None:
    """Put the samples into Slicer's Sample Data module, once Slicer is up."""
    import SampleData

    register = SampleData.SampleDataLogic.registerCustomSampleDataSource
    register(category=CATEGORY, sampleName="OSSNetSyntheticBrain", customDownloader=make_synthetic_brain)
    for name in ("CTLiver", "MRBrainTumor1"):
        register(category=CATEGORY, sampleName=f"OSSNet{name}", customDownloader=_built_in(name))


def make_synthetic_brain(*_: Any) -> list[Any]:
    """A four-modality brain with a tumour, made by code; a volume node a modality, named for it."""
    volume = import_engine("phantom").demo_phantom().volume
    return [
        nodes.array_to_volume(f"synthetic_{name}", channel, volume.affine)
        for name, channel in zip(volume.channel_names, volume.data, strict=True)
    ]


def _built_in(name: str) -> Any:
    def download(*_: Any) -> Any:
        import SampleData

        return SampleData.downloadSample(name)

    return download
