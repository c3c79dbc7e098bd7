"""The scans that are measured: the demo's, one with a large tumour, and a CT-like one; all made by code."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_ossnet.engine.volume import Volume

#: The large tumour's head; like the demo's, far from the seeds that training uses (10,000 and up).
LARGE_SEED = 21
#: Its wanted volume: at voxels of 1 mm as many voxels as the tumour of spec section 6, about.
LARGE_ML = 130.0


@dataclass(frozen=True, kw_only=True)
class BenchScan:
    """A scan with a name, how large its object is, and a hash of its voxels."""

    name: str
    volume: Volume
    truth_voxels: int
    sha256: str


def demo_scan() -> BenchScan:
    """The scan of ``ossnet demo``."""
    from napari_ossnet.engine.phantom.brain import demo_phantom

    phantom = demo_phantom()
    return bench_scan("demo", phantom.volume, int((phantom.labels > 0).sum()))


def large_scan() -> BenchScan:
    """A scan with a tumour of about 130,000 voxels."""
    from napari_ossnet.engine.phantom.acquisition import AcquisitionRanges
    from napari_ossnet.engine.phantom.brain import BRATS_AFFINE, INTENSITY_SCALE, uncropped
    from napari_ossnet.engine.phantom.contrast import MODALITIES
    from napari_ossnet.engine.phantom.made_head import make_head
    from napari_ossnet.engine.phantom.scan import ScanRanges, make_scan
    from napari_ossnet.engine.phantom.tumour_kinds import TumourRanges

    ranges = ScanRanges(
        tumour=TumourRanges(small_share=0.0, large_ml=(LARGE_ML, LARGE_ML), several=0.0),
        acquisition=AcquisitionRanges(thick=0.0, noise=(0.01, 0.03)),
        healthy=0.0,
    )
    scan = make_scan(np.random.default_rng([LARGE_SEED, 2]), make_head(LARGE_SEED), ranges)
    image, labels = uncropped(scan)
    volume = Volume(data=image * np.float32(INTENSITY_SCALE), affine=BRATS_AFFINE.copy(), channel_names=MODALITIES)
    return bench_scan("large tumour", volume, int((labels > 0).sum()))


#: The scans by name.
SCANS: dict[str, Callable[[], BenchScan]] = {"demo": demo_scan, "large tumour": large_scan}


def ct_scan(shape: tuple[int, int, int] = (192, 192, 96)) -> BenchScan:
    """Smooth noise of one channel; for the LiTS task, where only memory is measured, any scan will do."""
    coarse = np.random.default_rng(3).normal(0, 300, tuple(-(-size // 8) for size in shape)).astype(np.float32)
    data = coarse.repeat(8, 0).repeat(8, 1).repeat(8, 2)[: shape[0], : shape[1], : shape[2]]
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    volume = Volume(data=np.ascontiguousarray(data[None]), affine=affine, channel_names=("ct",))
    return bench_scan("ct", volume, 0)


def bench_scan(name: str, volume: Volume, truth_voxels: int) -> BenchScan:
    """The scan with the hash of its voxels."""
    sha256 = hashlib.sha256(np.ascontiguousarray(volume.data).data).hexdigest()
    return BenchScan(name=name, volume=volume, truth_voxels=truth_voxels, sha256=sha256)


def store_scan(path: Path, volume: Volume) -> None:
    """Writes a scan for a child process: as plain arrays, so that reading it takes no memory of its own."""
    with path.open("wb") as file:
        np.save(file, volume.data)
        np.save(file, volume.affine)
        np.save(file, np.array(volume.channel_names))


def load_scan(path: Path) -> Volume:
    """Reads what ``store_scan`` wrote."""
    with path.open("rb") as file:
        data, affine, names = (np.load(file) for _ in range(3))
    return Volume(data=data, affine=affine, channel_names=tuple(str(name) for name in names))
