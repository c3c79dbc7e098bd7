"""Runs the tests of the Slicer extension in a process of their own: they need another Qt binding than napari's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_slicer_extension_passes_its_tests_on_real_mrml() -> None:
    pytest.importorskip("slicer", reason="slicer-core is not installed")
    pytest.importorskip("PySide6", reason="PySide6 is not installed")
    # QT_API too: qtpy sets it here as soon as a napari test ran, and the child would inherit napari's binding.
    environment = dict(
        os.environ, PYTEST_QT_API="pyside6", QT_API="pyside6", QT_QPA_PLATFORM="offscreen", PYTEST_ADDOPTS=""
    )
    command = [sys.executable, "-m", "pytest", "tests/slicer", "-o", "qt_api=pyside6", "-o", "norecursedirs=.*", "-q"]
    run = subprocess.run(
        command, check=False, cwd=ROOT, env=environment, capture_output=True, text=True, encoding="utf-8", timeout=1150
    )
    assert run.returncode == 0, f"{run.stdout[-8000:]}\n{run.stderr[-2000:]}"
