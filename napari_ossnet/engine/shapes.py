"""The vocabulary of tensor shapes, axes and frames; the only file that imports jaxtyping.

Letters: ``channels``, ``classes``, ``batch``, ``locations`` count things; ``i j k`` are voxel axes.
Frames: *scan* is the voxel grid of the file at hand, *grid* the network's own voxel grid, *lattice* the points at
which a mask is asked for (the scan's voxels in the grid's axis order, or finer), *world* is RAS+ millimetres.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32, Float64, Int, UInt8
from torch import Tensor

# Values that live on the host (numpy).
Affine = Float64[np.ndarray, "4 4"]
ScanData = Float32[np.ndarray, "channels i j k"]
LabelMap = UInt8[np.ndarray, "i j k"]
VerticesWorld = Float64[np.ndarray, "vertices 3"]
Faces = Int[np.ndarray, "faces 3"]

# Values that live on the device (torch).
VolumeBatch = Float[Tensor, "batch channels i j k"]
LatentVectors = Float[Tensor, "batch vectors latent"]
AuxiliaryLogits = Float[Tensor, "batch classes li lj lk"]
Locations = Float[Tensor, "locations 3"]
LocationsBatch = Float[Tensor, "batch locations 3"]
Patches = Float[Tensor, "locations channels 7 7 7"]
Logits = Float[Tensor, "locations classes"]
LogitsBatch = Float[Tensor, "batch locations classes"]
