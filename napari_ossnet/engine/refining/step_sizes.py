"""The finest steps that may be asked for; a module without torch, so that a wish is checked before torch is loaded."""

from __future__ import annotations

#: In scan voxels; the octree halves its step on the way to the finest.
STEPS = (1, 2, 4, 8, 16)
