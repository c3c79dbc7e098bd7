"""Synthetic scans as the BraTS archives hold theirs: a folder a case, a NIfTI file a modality, and the labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from napari_ossnet.engine.phantom.brain import BRATS_AFFINE, INTENSITY_SCALE, uncropped
from napari_ossnet.engine.phantom.contrast import MODALITIES
from napari_ossnet.engine.phantom.scan import SyntheticScan
from napari_ossnet.engine.volume import Volume, write_mask, write_volume
from ossnet_training.synthesis.pool import PoolEntry, append_entry

#: The scans that are whole, a line each; not a pool's manifest, for which the folder would be taken for a pool.
SCANS = "SCANS.jsonl"


def write_brats_case(folder: Path, entry: PoolEntry, scan: SyntheticScan) -> None:
    """Write ``<name>/<name>_flair.nii.gz`` and so on, and ``_seg`` with 4 for enhancing; then a line in `SCANS`.

    Raises:
        OutputError: The folder can't be written.
    """
    image, labels = uncropped(scan)
    volume = Volume(data=image * np.float32(INTENSITY_SCALE), affine=BRATS_AFFINE, channel_names=MODALITIES)
    for modality, channel in zip(MODALITIES, volume.data, strict=True):
        write_volume(folder / entry.name / f"{entry.name}_{modality}.nii.gz", channel, volume)
    write_mask(folder / entry.name / f"{entry.name}_seg.nii.gz", np.where(labels == 3, 4, labels), volume)
    append_entry(folder, entry, SCANS)
