"""Heads from real scans without tumour: four modalities, tissues found by clustering."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.phantom.anatomy import Head
from napari_ossnet.engine.phantom.contrast import MODALITIES
from napari_ossnet.engine.phantom.random_fields import blurred
from napari_ossnet.engine.phantom.tissues import Tissue


def read_scan_head(name: str, files: Mapping[str, Path], lesions: Path | None = None) -> Head:
    """A head from the four skull-stripped images of one scan (any axis order, 1 mm, one grid).

    Args:
        name: For the records.
        files: One file for each of FLAIR, T1, T1ce and T2 (``MODALITIES``).
        lesions: A mask of lesions that are no tumour and count as white matter, if there is one.

    Raises:
        InputError: A modality is missing, or the images lie on different grids or not at about 1 mm.
    """
    missing = [m for m in MODALITIES if m not in files]
    if missing:
        raise InputError(f"Scan {name}: expected FLAIR, T1, T1ce and T2, found no {', '.join(missing)}.")
    images = [_lps(files[m]) for m in MODALITIES]
    if len({i.shape for i in images}) > 1:
        raise InputError(f"Scan {name}: its modalities have different shapes; resample them to one grid first.")
    brain = np.all([i != 0 for i in images], axis=0)
    t1, t2 = images[MODALITIES.index("t1")], images[MODALITIES.index("t2")]
    spots = _lps(lesions) > 0 if lesions is not None else np.zeros(brain.shape, dtype=bool)
    tissues = cluster_tissues(t1, t2, brain)
    tissues[spots & (tissues != Tissue.OUTSIDE)] = Tissue.WHITE
    sure = (tissues == Tissue.WHITE) & ~spots
    scaled = np.stack([np.maximum(i, 0) / np.median(i[sure]) for i in images]).astype(np.float32)
    return Head(name=name, tissues=tissues, images=scaled * brain, brain=brain)


def cluster_tissues(t1: NDArray[np.float32], t2: NDArray[np.float32], brain: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Fluid, grey and white matter by three means in T1 and T2; deep inside they are ventricle and deep grey matter."""
    from scipy.ndimage import distance_transform_edt

    features = np.stack([f[brain] / np.percentile(f[brain], 60) for f in (t1, t2)], axis=1)
    features = np.clip(features, 0, 3)
    features[:, 1] *= 0.5
    centres = np.array([[0.3, 1.2], [0.8, 0.6], [1.1, 0.45]])
    for _ in range(12):
        nearest = ((features[:, None, :] - centres[None]) ** 2).sum(2).argmin(1)
        centres = np.stack([features[nearest == k].mean(0) for k in range(3)])
    tissues = np.zeros(brain.shape, dtype=np.uint8)
    tissues[brain] = np.array([Tissue.CSF, Tissue.CORTEX, Tissue.WHITE], dtype=np.uint8)[nearest]
    # Padded, so that a closing by 8 mm works in a scan that is cropped to the brain, too.
    filled = distance_transform_edt(~np.pad(brain, 10)) < 8
    depth = distance_transform_edt(distance_transform_edt(filled) > 8)[10:-10, 10:-10, 10:-10]
    deep = blurred((tissues == Tissue.CSF).astype(np.float32), 1.0) > 0.35
    tissues[(tissues == Tissue.CSF) & (depth > 22) & deep] = Tissue.VENTRICLE
    tissues[(tissues == Tissue.CORTEX) & (depth > 32)] = Tissue.STRIATUM
    return tissues


def _lps(path: Path) -> NDArray[np.float32]:
    image = nib.as_closest_canonical(nib.load(path))
    spacing = np.sqrt((image.affine[:3, :3] ** 2).sum(0))
    data = np.asarray(image.dataobj, dtype=np.float32)
    if data.ndim != 3 or np.abs(spacing - 1).max() > 0.05:
        raise InputError(f"{path.name}: expected a 3D image at 1 mm, found {data.shape} at {spacing.round(2)} mm.")
    return np.ascontiguousarray(data[::-1, ::-1])
