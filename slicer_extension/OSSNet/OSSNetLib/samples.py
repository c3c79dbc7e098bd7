"""Sample data: a synthetic brain made on this machine, and Slicer's own CT of a liver and MR of a brain tumour."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from OSSNetLib import nodes
from OSSNetLib.engine_import import import_engine

CATEGORY = "OSS-Net"
#: Slicer's own samples that a task of ours is about: file and SHA-256, as Slicer's module Sample Data has them.
BUILT_IN = {
    "CTLiver": ("CTLiver.nrrd", "e16eae0ae6fefa858c5c11e58f0f1bb81834d81b7102e021571056324ef6f37e"),
    "MRBrainTumor1": ("RegLib_C01_1.nrrd", "998cb522173839c78657f4bc0ea907cea09fd04e44601f17c82ea27927937b95"),
}
ICONS = Path(__file__).resolve().parents[1] / "Resources" / "Icons"


def register_sample_data() -> None:
    """Put the samples into Slicer's Sample Data module, once Slicer is up."""
    import SampleData

    register = SampleData.SampleDataLogic.registerCustomSampleDataSource
    register(
        category=CATEGORY,
        sampleName="OSSNetSyntheticBrain",
        thumbnailFileName=str(ICONS / "OSSNetSyntheticBrain.png"),
        # Sample Data demands both, although nothing is downloaded.
        uris="",
        fileNames="OSSNetSyntheticBrain.nrrd",
        customDownloader=make_synthetic_brain,
    )
    own = Path(SampleData.__file__).parent / "Resources" / "Icons"
    for name, (file_name, checksum) in BUILT_IN.items():
        register(
            category=CATEGORY,
            sampleName=f"OSSNet{name}",
            thumbnailFileName=str(own / f"{name}.png"),
            uris=f"{slicer.util.TESTING_DATA_URL}SHA256/{checksum}",
            fileNames=file_name,
            nodeNames=name,
            checksums=f"SHA256:{checksum}",
        )


def make_synthetic_brain(*unused: Any) -> list[Any]:
    """A four-modality brain with a tumour, made by code; a volume node a modality, named for it."""
    try:
        phantom = import_engine("phantom")
    except ImportError:
        slicer.util.errorDisplay(
            _("Open the module OSS-Net and press Install first: the sample is made by its engine.")
        )
        return []
    with slicer.util.tryWithErrorDisplay(_("The synthetic brain could not be made."), waitCursor=True):
        volume = phantom.demo_phantom().volume
    return [
        nodes.array_to_volume(f"synthetic_{name}", channel, volume.affine)
        for name, channel in zip(volume.channel_names, volume.data, strict=True)
    ]
