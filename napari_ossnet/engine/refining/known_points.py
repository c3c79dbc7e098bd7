"""Owns the lattice points that were evaluated already, so that no point of a scan is ever asked for twice."""

from __future__ import annotations

import torch
from torch import Tensor

from napari_ossnet.engine.tensors import Logits


class KnownPoints:
    """Lattice points and their logits, found by key; sparse, so that it grows with what was asked, not the lattice.

    A key is a point's linear index in the lattice, int64. The points of one lattice and one field belong together;
    the owner starts a new collection for another.
    """

    def __init__(self) -> None:
        self._keys: Tensor | None = None
        self._logits: Tensor | None = None
        self._added: list[tuple[Tensor, Logits]] = []

    def __len__(self) -> int:
        """Points that ``look_up`` finds."""
        return 0 if self._keys is None else len(self._keys)

    def add(self, keys: Tensor, logits: Logits) -> None:
        """Takes in points (n,) with their logits (n, classes), found after ``merge``; a known point may come again."""
        if len(keys):
            self._added.append((keys, logits))

    def look_up(self, keys: Tensor) -> tuple[Tensor, Logits | None]:
        """Which of the points (n,) are known, (n,) bool, and the logits of those, in their order; None if none is."""
        if self._keys is None or self._logits is None or not len(keys):
            return torch.zeros(len(keys), dtype=torch.bool, device=keys.device), None
        places = torch.searchsorted(self._keys, keys).clamp_(max=len(self._keys) - 1)
        is_known = self._keys[places] == keys
        return is_known, self._logits[places[is_known]]

    def everything(self) -> tuple[Tensor, Logits]:
        """All points, sorted keys (n,), and their logits (n, classes).

        Raises:
            ValueError: Nothing is known.
        """
        self.merge()
        if self._keys is None or self._logits is None:
            raise ValueError("no point is known yet")
        return self._keys, self._logits

    def cropped(self, start: tuple[int, int, int], shape: tuple[int, int, int]) -> KnownPoints:
        """The points for the part of a lattice that the network's grid covers: these, for they are of that part only.

        Args:
            start: The lattice's point at which the part begins.
            shape: The part's.
        """
        return self

    def merge(self) -> None:
        """Sorts in what was added. A run does so once, before it begins: it never asks for a point of its own twice."""
        if not self._added:
            return
        keys = torch.cat([*([] if self._keys is None else [self._keys]), *(keys for keys, _ in self._added)])
        logits = torch.cat([*([] if self._logits is None else [self._logits]), *(logits for _, logits in self._added)])
        order = torch.argsort(keys, stable=True)
        keys = keys[order]
        is_first = torch.ones(len(keys), dtype=torch.bool, device=keys.device)
        is_first[1:] = keys[1:] != keys[:-1]
        self._keys, self._logits = keys[is_first], logits[order[is_first]]
        self._added = []
