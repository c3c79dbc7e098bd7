"""Heads from label maps with FreeSurfer's numbers."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.phantom.anatomy import Head
from napari_ossnet.engine.phantom.tissues import Tissue

# https://surfer.nmr.mgh.harvard.edu/fswiki/FsTutorial/AnatomicalROI/FreeSurferColorLUT; from 500 up SynthSeg's own
# numbers for what lies outside the brain (Billot et al. 2023), spread over four kinds of stuff here.
_GROUPS: dict[Tissue, tuple[int, ...]] = {
    Tissue.CSF: (24, 15000),
    Tissue.VENTRICLE: (4, 5, 14, 15, 43, 44, 72),
    Tissue.CORTEX: (3, 42),
    Tissue.WHITE: (2, 41, 25, 57, 77, 78, 79, 80, 81, 82, 85, 136, 137, 163, 164, 251, 252, 253, 254, 255),
    Tissue.STRIATUM: (11, 12, 26, 50, 51, 58),
    Tissue.THALAMUS: (9, 10, 28, 48, 49, 60),
    Tissue.PALLIDUM: (13, 52),
    Tissue.BRAIN_STEM: (16,),
    Tissue.CEREBELLUM_WHITE: (7, 46),
    Tissue.CEREBELLUM_CORTEX: (8, 47),
    Tissue.LIMBIC: (17, 18, 53, 54),
    Tissue.CHOROID: (31, 63),
    Tissue.VESSEL: (30, 62),
}


def read_label_head(path: Path) -> Head:
    """A head from a label map of any axis order, 1 mm.

    Raises:
        InputError: The file isn't a 3D label map at about 1 mm, or has no white matter in it.
    """
    image = nib.as_closest_canonical(nib.load(path))
    spacing = np.sqrt((image.affine[:3, :3] ** 2).sum(0))
    labels = np.asarray(image.dataobj)
    if labels.ndim != 3 or np.abs(spacing - 1).max() > 0.05:
        raise InputError(
            f"{path.name}: expected a 3D label map at 1 mm, found {labels.shape} at {spacing.round(2)} mm."
        )
    # RAS+ to LPS+: the first two axes turned round.
    tissues = tissues_from_labels(np.rint(labels[::-1, ::-1]).astype(np.int32))
    if not (tissues == Tissue.WHITE).any():
        raise InputError(f"{path.name}: no white matter (FreeSurfer labels 2, 41) found; give label maps of heads.")
    return Head(name=path.name.split(".")[0], tissues=tissues)


def tissues_from_labels(labels: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Tissues of FreeSurfer label numbers."""
    table = np.zeros(max(int(labels.max()), 600) + 1, dtype=np.uint8)
    extra = (Tissue.SOFT_TISSUE, Tissue.BONE, Tissue.FAT, Tissue.EYE)
    for number in range(500, len(table)):
        table[number] = extra[number % 4]
    for tissue, numbers in _GROUPS.items():
        table[[n for n in numbers if n < len(table)]] = tissue
    return np.ascontiguousarray(table[np.maximum(labels, 0)])
