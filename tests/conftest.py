"""Fixtures that every test may use: where the real scans and the networks' numbers lie, and a home of one's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def _folder(variable: str, default: Path) -> Path:
    folder = Path(os.environ.get(variable, default))
    if not folder.is_dir():
        pytest.skip(f"{variable} names no folder ({folder}); the scans and fixtures are not part of the repository")
    return folder


@pytest.fixture(scope="session")
def a_data_folder() -> Path:
    return _folder("OSSNET_DATA", ROOT.parent / "shared" / "data")


@pytest.fixture(scope="session")
def a_fixtures_folder() -> Path:
    return _folder("OSSNET_FIXTURES", ROOT.parent / "shared" / "fixtures")


@pytest.fixture(autouse=True)
def a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Tests never touch the user's own cache, runs or settings."""
    home = tmp_path / "ossnet-home"
    monkeypatch.setenv("OSSNET_HOME", str(home))
    return home
