"""A file is whole or not there, and what was there before is not lost."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from napari_ossnet.engine.errors import OutputError
from napari_ossnet.engine.files.atomic import atomic_path

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="modes and links are POSIX's")


def write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_what_is_interrupted_leaves_the_file_as_it_was(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "mask.nii.gz"
    target.write_text("before", encoding="utf-8")

    def interrupted() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half", encoding="utf-8")
            raise error

    with pytest.raises(error):
        interrupted()

    assert target.read_text(encoding="utf-8") == "before"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(("name", "suffix"), [("m.Nii.Gz", ".nii.gz"), ("m.MHA", ".mha"), ("a.b.json", ".b.json")])
def test_a_writer_sees_the_whole_suffix_in_small_letters(tmp_path: Path, name: str, suffix: str) -> None:
    with atomic_path(tmp_path / "new" / name) as temporary:
        assert temporary.name.endswith(suffix)

    assert [path.name for path in (tmp_path / "new").iterdir()] == [name]


def test_a_file_that_is_read_only_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "corrected.nii.gz"
    target.write_text("by hand", encoding="utf-8")
    target.chmod(0o444)

    with pytest.raises(OutputError, match="it is there and read-only"):
        write(target, "by a network")

    assert target.read_text(encoding="utf-8") == "by hand"


@POSIX
def test_a_file_keeps_its_mode_and_a_link_stays_one(tmp_path: Path) -> None:
    shared = tmp_path / "shared" / "numbers.csv"
    shared.parent.mkdir()
    shared.write_text("before", encoding="utf-8")
    shared.chmod(0o660)
    link = tmp_path / "numbers.csv"
    link.symlink_to(shared)

    write(link, "after")

    assert link.is_symlink()
    assert shared.read_text(encoding="utf-8") == "after"
    assert shared.stat().st_mode & 0o777 == 0o660
