"""``ossnet view``: the napari front end is asked for late, and only with images that exist."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

Run = Callable[..., Any]


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], bool]]:
    """What the front end was asked to open, by a stand-in that opens nothing."""
    calls: list[tuple[list[str], bool]] = []
    front_end = ModuleType("napari_ossnet.widget.launch")
    front_end.launch = lambda scan_paths, demo: calls.append((scan_paths, demo))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "napari", ModuleType("napari"))
    monkeypatch.setitem(sys.modules, "napari_ossnet.widget.launch", front_end)
    return calls


def test_scans_and_the_demo_reach_the_front_end(
    ossnet: Run, launched: list[tuple[list[str], bool]], tmp_path: Path
) -> None:
    scan = tmp_path / "scan.nii"
    scan.touch()
    assert ossnet("view", scan).code == 0
    assert ossnet("view", "--demo").code == 0
    assert launched == [([str(scan)], False), ([], True)]


def test_a_missing_scan_opens_nothing(ossnet: Run, launched: list[tuple[list[str], bool]]) -> None:
    outcome = ossnet("view", "gone.nii")
    assert outcome.code == 2
    assert "no image gone.nii" in outcome.sentence
    assert launched == []


def test_without_napari_the_sentence_says_how_to_install_it(ossnet: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "napari", None)
    outcome = ossnet("view", "--demo")
    assert outcome.code == 2
    assert 'pip install "napari-ossnet[viewer]"' in outcome.sentence
