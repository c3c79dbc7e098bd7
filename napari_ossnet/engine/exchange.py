"""Arrays between processes: ``.npy`` files in a folder that both know, memory-mapped by whoever reads them."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

from napari_ossnet.engine.errors import InputError


class Exchange:
    """A folder through which one process hands arrays to another.

    Args:
        folder: Must exist; whoever made it removes it.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._numbers = itertools.count()

    def put(self, kind: str, array: np.ndarray) -> str:
        """Writes an array under a name of its own and gives the file's name; the reader removes it when done.

        A name is used once, so nobody ever writes to a file that is mapped elsewhere.
        """
        name = f"{kind}-{next(self._numbers):06d}.npy"
        np.save(self.folder / name, np.ascontiguousarray(array))
        return name

    def get(self, name: str) -> np.ndarray:
        """The array of that file name, mapped read-only.

        Raises:
            InputError: The file is missing, lies outside the folder, or holds no plain array.
        """
        path = self.folder / name
        if path.parent != self.folder:
            raise InputError(f"Arrays are exchanged by file names inside {self.folder}, not by '{name}'.")
        try:
            return np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise InputError(
                f"The array file {path} can't be read ({error}); write it as a plain .npy file."
            ) from error
