"""A four-modality scan of a brain with a tumour, made by code alone, as a volume with its truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_ossnet.engine.phantom.acquisition import AcquisitionRanges
from napari_ossnet.engine.phantom.anatomy import SCAN_SHAPE
from napari_ossnet.engine.phantom.contrast import MODALITIES
from napari_ossnet.engine.phantom.made_head import make_head
from napari_ossnet.engine.phantom.scan import ScanRanges, SyntheticScan, make_scan
from napari_ossnet.engine.phantom.tumour_kinds import TumourRanges
from napari_ossnet.engine.volume import Volume

DEMO_SEED = 6
"""The demo's scan. Scans for training are made from heads with seeds of 10,000 and up."""

# The grid of the BraTS files: axes L, P, S, its origin at the far end of the second axis.
BRATS_AFFINE = np.array([[-1, 0, 0, 0], [0, -1, 0, 239], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=np.float64)
INTENSITY_SCALE = 500.0
_RANGES = ScanRanges(
    tumour=TumourRanges(small_share=0.0, large_ml=(30.0, 90.0), several=0.0),
    acquisition=AcquisitionRanges(thick=0.25, thickness_mm=(1.5, 3.0), noise=(0.01, 0.03)),
    healthy=0.0,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Phantom:
    """A made scan and its truth.

    Attributes:
        volume: FLAIR, T1, T1ce, T2 in the grid of the BraTS files: 240 x 240 x 155, 1 mm, axes L, P, S.
        labels: (i, j, k) uint8 as in the BraTS files, with 3 for 4: 1 core that doesn't enhance, 2 oedema, 3 enhancing.
        seed: What it was made from.
    """

    volume: Volume
    labels: NDArray[np.uint8]
    seed: int


def make_brain_phantom(seed: int) -> Phantom:
    """A made scan; equal seeds give equal scans.

    Args:
        seed: Any integer from 0 up.
    """
    scan = make_scan(np.random.default_rng([seed, 2]), make_head(seed), _RANGES)
    image, labels = uncropped(scan)
    volume = Volume(data=image * np.float32(INTENSITY_SCALE), affine=BRATS_AFFINE.copy(), channel_names=MODALITIES)
    return Phantom(volume=volume, labels=labels, seed=seed)


def demo_phantom() -> Phantom:
    """The scan that the demo segments."""
    return make_brain_phantom(DEMO_SEED)


def uncropped(scan: SyntheticScan) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """A scan's image (4, i, j, k) and labels (i, j, k) in the whole grid, 0 outside the crop."""
    image = np.zeros((len(MODALITIES), *SCAN_SHAPE), dtype=np.float32)
    labels = np.zeros(SCAN_SHAPE, dtype=np.uint8)
    image[(slice(None), *scan.box)] = scan.image
    labels[scan.box] = scan.labels
    return image, labels
