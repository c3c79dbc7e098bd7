"""A box of a finer lattice that shares its evaluated points with every other box of it."""

from __future__ import annotations

import torch
from torch import Tensor

from napari_ossnet.engine.refining.known_points import KnownPoints
from napari_ossnet.engine.tensors import Logits

Triple = tuple[int, int, int]


class KnownWindow(KnownPoints):
    """Known points of the whole scan on finer voxels, seen through a box: keys are those of the box.

    Args:
        whole: Points of the whole finer lattice, shared by its windows.
        whole_shape: That lattice's.
        first: Its point at which the box begins.
        shape: The box's.
    """

    def __init__(self, whole: KnownPoints, *, whole_shape: Triple, first: Triple, shape: Triple) -> None:
        super().__init__()
        self._whole = whole
        self._whole_shape = whole_shape
        self._first = first
        self._shape = shape

    def __len__(self) -> int:
        """Points that ``look_up`` finds, in this box and beyond it."""
        return len(self._whole)

    def add(self, keys: Tensor, logits: Logits) -> None:
        """Takes in points of the box."""
        self._whole.add(self._to_whole(keys), logits)

    def look_up(self, keys: Tensor) -> tuple[Tensor, Logits | None]:
        """Which points of the box are known, whichever box they were evaluated for."""
        return self._whole.look_up(self._to_whole(keys))

    def everything(self) -> tuple[Tensor, Logits]:
        """The known points of this box, sorted keys (n,), and their logits.

        Raises:
            ValueError: Nothing is known in it.
        """
        keys, logits = self._whole.everything()
        points = _points(keys, self._whole_shape) - torch.tensor(self._first, device=keys.device)
        is_inside = ((points >= 0) & (points < torch.tensor(self._shape, device=keys.device))).all(dim=1)
        if not is_inside.any():
            raise ValueError("no point of the window is known yet")
        # Sorted in the whole lattice is sorted in the box: both go along the axes in the same order.
        return _keys(points[is_inside], self._shape), logits[is_inside]

    def merge(self) -> None:
        """Sorts in what was added."""
        self._whole.merge()

    def cropped(self, start: Triple, shape: Triple) -> KnownPoints:
        """The part of the box that begins at ``start``."""
        i, j, k = (first + begin for first, begin in zip(self._first, start, strict=True))
        return KnownWindow(self._whole, whole_shape=self._whole_shape, first=(i, j, k), shape=shape)

    def _to_whole(self, keys: Tensor) -> Tensor:
        points = _points(keys, self._shape) + torch.tensor(self._first, device=keys.device)
        return _keys(points, self._whole_shape)


def _points(keys: Tensor, shape: Triple) -> Tensor:
    """Indices (n, 3) of keys (n,)."""
    _, j, k = shape
    rows = torch.div(keys, k, rounding_mode="floor")
    return torch.stack([torch.div(rows, j, rounding_mode="floor"), rows % j, keys % k], dim=1)


def _keys(points: Tensor, shape: Triple) -> Tensor:
    _, j, k = shape
    return (points[:, 0] * j + points[:, 1]) * k + points[:, 2]
