"""Owns the files by which volumes are handed to the engine's process: written once, and again only when one changed.

A file's name is used once, for the process keeps it mapped; the same names tell it that it knows the scan already.
"""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path
from typing import Any

import numpy as np

from OSSNetLib import nodes


class ScanFiles:
    """Files of the volumes that are in use."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._files: dict[str, tuple[tuple[Any, ...], Path]] = {}
        self._abandoned: set[Path] = set()

    def hand_over(self, images: dict[str, Any], folder: Path) -> dict[str, dict[str, Any]]:
        """The words that stand for volume nodes in a command.

        Args:
            images: Volume node by modality.
            folder: The exchange folder of the process that is to read them.

        Raises:
            OSError: A file can't be written.
        """
        words = {modality: self._words(node, folder) for modality, node in images.items()}
        self._remove_all_but({words["data"] for words in words.values()})
        return words

    def _words(self, node: Any, folder: Path) -> dict[str, Any]:
        affine = nodes.volume_to_affine(node).tolist()
        # VTK counts every change of any object upwards, so the time alone tells one image from another.
        state = (folder, node.GetImageData().GetMTime())
        known, path = self._files.get(node.GetID(), (None, None))
        if path is None or known != state:
            if path is not None:
                self._abandoned.add(path)
            path = folder / f"image-{next(self._numbers):06d}.npy"
            np.save(path, nodes.volume_to_array(node))
            self._files[node.GetID()] = (state, path)
        return {"data": path.name, "affine": affine, "channels": [node.GetName() or "image"]}

    def _remove_all_but(self, names: set[str]) -> None:
        for identifier, (_, path) in list(self._files.items()):
            if path.name not in names:
                self._abandoned.add(path)
                del self._files[identifier]
        for path in list(self._abandoned):
            # Windows removes no file that is mapped: that of the last scan goes with the run after the next.
            with contextlib.suppress(PermissionError):
                path.unlink(missing_ok=True)
                self._abandoned.discard(path)
