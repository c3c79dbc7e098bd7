"""The tissues of a head that a scan is painted from."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Tissue(IntEnum):
    """What a voxel is made of; the values are what tissue maps hold."""

    OUTSIDE = 0
    CSF = 1
    VENTRICLE = 2
    CORTEX = 3
    WHITE = 4
    STRIATUM = 5
    THALAMUS = 6
    PALLIDUM = 7
    BRAIN_STEM = 8
    CEREBELLUM_WHITE = 9
    CEREBELLUM_CORTEX = 10
    LIMBIC = 11
    CHOROID = 12
    VESSEL = 13
    SOFT_TISSUE = 14
    BONE = 15
    FAT = 16
    EYE = 17


TISSUE_COUNT = len(Tissue)
FLUIDS = (Tissue.CSF, Tissue.VENTRICLE)
PARENCHYMA = (
    Tissue.CORTEX,
    Tissue.WHITE,
    Tissue.STRIATUM,
    Tissue.THALAMUS,
    Tissue.PALLIDUM,
    Tissue.BRAIN_STEM,
    Tissue.CEREBELLUM_WHITE,
    Tissue.CEREBELLUM_CORTEX,
    Tissue.LIMBIC,
    Tissue.CHOROID,
    Tissue.VENTRICLE,
)


def tissue_table(values: dict[Tissue, float], default: float = 0.0) -> NDArray[np.float32]:
    """A lookup table over all tissues: ``table[tissue_map]`` paints a volume."""
    table = np.full(TISSUE_COUNT, default, dtype=np.float32)
    for tissue, value in values.items():
        table[tissue] = value
    return table


def member_table(*tissues: Tissue) -> NDArray[np.bool_]:
    """A lookup table that is true for the tissues given."""
    table = np.zeros(TISSUE_COUNT, dtype=bool)
    table[list(tissues)] = True
    return table
