"""The vocabulary of tensor shapes on the device; the letters are those of ``shapes.py``."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

VolumeBatch = Float[Tensor, "batch channels i j k"]
LatentVectors = Float[Tensor, "batch vectors latent"]
AuxiliaryLogits = Float[Tensor, "batch classes li lj lk"]
Locations = Float[Tensor, "locations 3"]
LocationsBatch = Float[Tensor, "batch locations 3"]
Patches = Float[Tensor, "locations channels 7 7 7"]
Logits = Float[Tensor, "locations classes"]
LogitsBatch = Float[Tensor, "batch locations classes"]
