"""The exhaustive mask: every voxel asked once. It takes minutes, so it is kept, and grows from call to call."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from napari_ossnet.engine.fields.protocol import OccupancyField
from napari_ossnet.engine.files.atomic import atomic_path
from napari_ossnet.engine.geometry import Lattice
from napari_ossnet.engine.refining.decision import Decision

#: Marks voxels that were not asked yet.
UNKNOWN = 255
#: Locations a pass.
_CHUNK = 8192


@dataclass(frozen=True, kw_only=True)
class ExhaustiveMask:
    """Classes of the voxels in the lattice's order, uint8; ``UNKNOWN`` where time did not suffice yet."""

    classes: np.ndarray

    @property
    def share(self) -> float:
        """Share of the voxels that are known."""
        return float((self.classes != UNKNOWN).mean())

    def share_different(self, labels: np.ndarray) -> float | None:
        """Share of the known voxels at which a mask (same order) differs; None where none is known."""
        is_known = self.classes != UNKNOWN
        if not is_known.any():
            return None
        return float((labels[is_known] != self.classes[is_known]).mean())


def cache_path(home: Path, weights_sha256: str, scan_sha256: str) -> Path:
    """Where the mask of these weights on this scan is kept."""
    return home / "bench" / f"exhaustive-{weights_sha256[:16]}-{scan_sha256[:16]}.npy"


def extend_exhaustive(
    field: OccupancyField, lattice: Lattice, path: Path, budget_s: float, threshold: float = 0.5
) -> ExhaustiveMask:
    """Adds planes to the mask that is kept, until it is whole or the time is over.

    The planes come in a shuffled order, so that a part of them is a fair sample of the whole.

    Args:
        field: Asked with a folded decoder or not: the masks are the same.
        lattice: The scan's voxels.
        path: Of ``cache_path``.
        budget_s: Seconds; 0 only reads what is there.
        threshold: Probability above which a voxel is occupied.
    """
    if not path.is_file():
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.save(file, np.full(lattice.shape, UNKNOWN, dtype=np.uint8))
    classes = np.load(path, mmap_mode="r+")
    decision = Decision(threshold)
    began_at = time.perf_counter()
    for plane in np.random.default_rng(0).permutation(lattice.shape[0]):
        if time.perf_counter() - began_at >= budget_s:
            break
        if (classes[plane] == UNKNOWN).any():
            classes[plane] = _plane(field, lattice, decision, int(plane))
    classes.flush()
    return ExhaustiveMask(classes=np.array(classes))


def _plane(field: OccupancyField, lattice: Lattice, decision: Decision, plane: int) -> np.ndarray:
    _, j, k = lattice.shape
    points = torch.cartesian_prod(torch.tensor([plane]), torch.arange(j), torch.arange(k)).to(field.device)
    labels = [decision.labels(field.query(lattice.locations(some))) for some in torch.split(points, _CHUNK)]
    return torch.cat(labels).reshape(j, k).cpu().numpy()
