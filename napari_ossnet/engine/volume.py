"""Owns the scan as a value: channels of voxels, where they lie in the world, and what they are called."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from napari_ossnet.engine.geometry import axis_codes_of, spacing_of
from napari_ossnet.engine.shapes import Affine, ScanData


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A scan in its own voxel grid.

    Attributes:
        data: Voxels, float32 (channels, i, j, k), in the axis order of the file.
        affine: Voxel index to world position, RAS+ mm, float64.
        channel_names: One name a channel.
        sources: The files that it was read from.
        affine_codes: The qform and sform codes of NIfTI, which masks keep; (0, 1) where the format has none.
    """

    data: ScanData
    affine: Affine
    channel_names: tuple[str, ...]
    sources: tuple[Path, ...] = ()
    affine_codes: tuple[int, int] = (0, 1)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along i, j, k."""
        _, i, j, k = self.data.shape
        return i, j, k

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along i, j, k."""
        return spacing_of(self.affine)

    @property
    def axis_codes(self) -> str:
        """Where i, j, k point, e.g. ``LPS``."""
        return axis_codes_of(self.affine)
