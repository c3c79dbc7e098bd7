"""Making many synthetic abdomens, CTs and liver labels in pairs; restarting goes on where it stopped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.volume import write_mask, write_volume
from ossnet_training.synthesis.abdomen_anatomy import make_abdomen
from ossnet_training.synthesis.abdomen_contrast import scan_abdomen


@dataclass(frozen=True, slots=True, kw_only=True)
class AbdomenEntry:
    """One scan: its name, and how much liver is in its field of view."""

    name: str
    liver_ml: float


def synthesise_abdomens(output: Path, *, count: int, seed: int) -> Iterator[AbdomenEntry]:
    """Write ``images/<name>.nii.gz`` and ``labels/<name>.nii.gz`` of those that are not there yet, one by one.

    Args:
        output: Folder for both.
        count: Number of scans.
        seed: Seed of all of them; scan ``n`` depends on ``(seed, n)`` alone.

    Raises:
        InputError: The count or the seed makes no sense.
        OutputError: The output can't be written.
    """
    if count < 1 or seed < 0:
        raise InputError(f"Can't make {count} scans from seed {seed}; give a count from 1 and a seed from 0 on.")
    for number in range(count):
        name = f"abdomen_{seed:03d}_{number:05d}"
        label_file = output / "labels" / f"{name}.nii.gz"
        if label_file.exists():
            continue
        rng = np.random.default_rng([seed, number])
        abdomen = make_abdomen(rng)
        image, label = scan_abdomen(rng, abdomen)
        # The model's axes are LPS, an affine's world is RAS.
        i, j, k = abdomen.spacing_mm
        place = (np.diag([-i, -j, k, 1.0]), (1, 1))
        write_volume(output / "images" / f"{name}.nii.gz", image, place)
        # Last, so that a scan with a label is whole.
        write_mask(label_file, label, place)
        yield AbdomenEntry(name=name, liver_ml=float(label.sum() * i * j * k / 1e3))
