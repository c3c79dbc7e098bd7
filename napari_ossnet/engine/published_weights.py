"""The eight published weight files as data: where they lie, what they score, how they are cited (spec section 1)."""

from __future__ import annotations

from dataclasses import dataclass

BASE_URL = "https://tudatalib.ulb.tu-darmstadt.de/bitstream/handle/tudatalib/2991/"
#: The record names none that we could verify; the authors' code is MIT.
LICENCE = "not stated (the authors' code: MIT)"
CITATION = (
    "Reich, Prangemeier, Cetin, Koeppl: OSS-Net: Memory Efficient High Resolution Semantic Segmentation of "
    "3D Medical Data. BMVC 2021. arXiv:2110.10640"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedWeights:
    """One published file. Dice on the authors' validation split; parameters tell its size (float32)."""

    variant: str
    task: str
    dice: float
    parameters: int

    @property
    def name(self) -> str:
        """Name in the catalogue, e.g. ``oss-net-c-brats``."""
        return f"oss-net-{self.variant}-{self.task}"

    @property
    def file_name(self) -> str:
        """Name of the file as published."""
        return f"oss_net_{self.variant}_{'bra_ts' if self.task == 'brats' else self.task}.pt"

    @property
    def url(self) -> str:
        """Address of the file."""
        return BASE_URL + self.file_name

    @property
    def training_data(self) -> str:
        """What the network was trained on."""
        return "BraTS 2020, 324 cases" if self.task == "brats" else "LiTS, 111 cases"


PUBLISHED = (
    PublishedWeights(variant="a", task="brats", dice=0.8592, parameters=7_245_438),
    PublishedWeights(variant="b", task="brats", dice=0.8541, parameters=7_254_358),
    PublishedWeights(variant="c", task="brats", dice=0.8842, parameters=8_695_733),
    PublishedWeights(variant="d", task="brats", dice=0.8774, parameters=8_704_653),
    PublishedWeights(variant="a", task="lits", dice=0.7127, parameters=9_409_177),
    PublishedWeights(variant="b", task="lits", dice=0.7585, parameters=9_409_520),
    PublishedWeights(variant="c", task="lits", dice=0.7616, parameters=10_866_490),
    PublishedWeights(variant="d", task="lits", dice=0.7566, parameters=10_866_833),
)
