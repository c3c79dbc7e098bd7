"""Writing files so that a reader never sees half of one: a temporary file beside the target, then a rename."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_ossnet.engine.errors import OutputError


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path in the target's folder that replaces the target when the block ends well.

    The temporary file keeps the target's whole suffix, so that writers that go by it (``.nii.gz``) work on it, but in
    small letters, which all of them know. A link stays one: what it points to is replaced.

    Args:
        path: The file to be written; its folder is made if it is missing.

    Raises:
        OutputError: The folder or the file can't be written, or the file is there and protected.
    """
    target = Path(path)
    real = target.resolve() if target.is_symlink() else target
    try:
        real.parent.mkdir(parents=True, exist_ok=True)
        if real.is_dir():
            raise IsADirectoryError(21, "it is a folder")
        if is_protected(real):
            raise PermissionError(13, "it is there and read-only")
        suffix = "".join(target.suffixes[-2:]).lower()
        handle, name = tempfile.mkstemp(prefix=".ossnet-", suffix=suffix, dir=real.parent)
    except OSError as error:
        raise _unwritable(target, error) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes private files; the result gets what the file before had, or any other new file would get.
        temporary.chmod(real.stat().st_mode & 0o777 if real.exists() else 0o666 & ~_umask())
        temporary.replace(real)
    except OSError as error:
        raise _unwritable(target, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def is_protected(path: Path) -> bool:
    """Whether a file is there that nobody may write to, or not this user: renaming another over it gets round that."""
    # The mode by itself, because a superuser may write to anything.
    return path.exists() and not (path.stat().st_mode & 0o222 and os.access(path, os.W_OK))


def _unwritable(target: Path, error: OSError) -> OutputError:
    reason = error.strerror or str(error)
    return OutputError(f"Can't write {target} ({reason}); choose a folder that you may write to with space left.")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
