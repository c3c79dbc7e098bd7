"""SHA-256 sums of weights files, and the memory of those that were seen to be right."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from napari_ossnet.engine.files.atomic import atomic_path

FILE_NAME = "checksums.json"


def sha256_of(path: Path) -> str:
    """The SHA-256 sum of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def known_sum(folder: Path, name: str) -> str | None:
    """The sum that was remembered for a name, None where there is none."""
    return _known_sums(folder).get(name)


def remember_sum(folder: Path, name: str, sha256: str) -> None:
    """Remembers the sum of a file that turned out to be right.

    Raises:
        OutputError: The folder can't be written.
    """
    sums = {**_known_sums(folder), name: sha256}
    with atomic_path(folder / FILE_NAME) as temporary:
        temporary.write_text(json.dumps(sums, indent=2) + "\n", encoding="utf-8")


def _known_sums(folder: Path) -> dict[str, str]:
    try:
        sums = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        # Nothing remembered (yet); the structure check still stands.
        return {}
    return {str(name): str(value) for name, value in sums.items()} if isinstance(sums, dict) else {}
