"""The vocabulary of array shapes, axes and frames on the host; ``tensors.py`` beside it has those on the device.

The two are the only files that import jaxtyping, and two so that front ends can name arrays without importing torch.

Letters: ``channels``, ``classes``, ``batch``, ``locations`` count things; ``i j k`` are voxel axes.
Frames: *scan* is the voxel grid of the file at hand, *grid* the network's own voxel grid, *lattice* the points at
which a mask is asked for (the scan's voxels in the grid's axis order, or finer), *world* is RAS+ millimetres.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Float64, Int, UInt8

Affine = Float64[np.ndarray, "4 4"]
ScanData = Float32[np.ndarray, "channels i j k"]
GridData = Float32[np.ndarray, "channels grid_i grid_j grid_k"]
LabelMap = UInt8[np.ndarray, "i j k"]
VerticesWorld = Float64[np.ndarray, "vertices 3"]
Faces = Int[np.ndarray, "faces 3"]
