"""Synthetic scans as image and label pairs: folders ``images`` and ``labels`` with equal names, NIfTI."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.volume import write_mask, write_volume


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """An image and its label, both (i, j, k), and where their voxels lie (RAS mm)."""

    image: NDArray[np.generic]
    label: NDArray[np.generic]
    affine: NDArray[np.float64]

    @property
    def volume_ml(self) -> float:
        """Volume of everything that is not background."""
        return float(np.count_nonzero(self.label) * abs(np.linalg.det(self.affine[:3, :3])) / 1000)


def synthesise_pairs(
    output: Path, kind: str, make: Callable[[int, int], Pair], *, count: int, seed: int
) -> Iterator[tuple[str, Pair]]:
    """Write the pairs that are not there yet, one by one; yields name and pair once it is whole on disk.

    Args:
        output: Folder for both.
        kind: Names begin with it.
        make: Makes the pair of ``(seed, number)``, which depends on these two alone.
        count: Number of pairs.
        seed: Seed of all of them.

    Raises:
        InputError: The count or the seed makes no sense.
        OutputError: The output can't be written.
    """
    if count < 1 or seed < 0:
        raise InputError(f"Can't make {count} scans from seed {seed}; give a count from 1 and a seed from 0 on.")
    for number in range(count):
        name = f"{kind}_{seed:03d}_{number:05d}"
        label_file = output / "labels" / f"{name}.nii.gz"
        if label_file.exists():
            continue
        pair = make(seed, number)
        place = (pair.affine, (1, 1))
        write_volume(output / "images" / f"{name}.nii.gz", pair.image, place)
        # Last, so that a scan with a label is whole.
        write_mask(label_file, pair.label, place)
        yield name, pair
