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

    The temporary file keeps the target's whole suffix, so that writers that go by it (``.nii.gz``) work on it.

    Args:
        path: The file to be written; its folder is made if it is missing.

    Raises:
        OutputError: The folder or the file can't be written.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            raise IsADirectoryError(21, "it is a folder")
        handle, name = tempfile.mkstemp(prefix=".ossnet-", suffix="".join(target.suffixes[-2:]), dir=target.parent)
    except OSError as error:
        raise _unwritable(target, error) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes private files; the result gets what any other new file would get.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(target)
    except OSError as error:
        raise _unwritable(target, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def _unwritable(target: Path, error: OSError) -> OutputError:
    reason = error.strerror or str(error)
    return OutputError(f"Can't write {target} ({reason}); choose a folder that you may write to with space left.")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
