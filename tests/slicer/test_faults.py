"""The tests see what they are for: faults are planted in a copy of the module, and each is noticed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = "slicer_extension/OSSNet/OSSNetLib"


#: Opens the panel, without any network.
OPENING = "test_widget_choices.py::test_without_its_packages_the_panel_opens_and_offers_to_install_them[torch]"


@dataclass(frozen=True)
class Fault:
    """Text of a file that is replaced by something wrong, and the test that must notice."""

    path: str
    right: str
    wrong: str
    test: str


METHOD = Fault(
    f"{LIBRARY}/panel.py", "self._ui.progressBar.setMaximum(0)", "self._ui.progressBar.setMaximumValue(0)", OPENING
)
SIGNAL = Fault(f"{LIBRARY}/images_section.py", "currentNodeChanged(vtkMRMLNode*)", "nodeChanged(vtkMRMLNode*)", OPENING)
RENAMED_WIDGET = Fault(
    "slicer_extension/OSSNet/Resources/UI/OSSNet.ui",
    'name="exportButton"',
    'name="saveButton"',
    "test_static.py::test_every_widget_that_the_code_names_is_in_the_form",
)
MISSING_RESOURCE = Fault(
    "slicer_extension/OSSNet/CMakeLists.txt",
    "  Resources/requirements.txt\n",
    "",
    "test_static.py::test_cmake_lists_every_script_and_resource",
)
MISSING_GEOMETRY = Fault(
    f"{LIBRARY}/nodes.py",
    "    image.SetImageToWorldMatrix(slicer.util.vtkMatrixFromArray(affine))\n",
    "",
    "test_nodes.py::test_a_refined_region_keeps_its_own_geometry",
)
#: One run of the tests for several faults, where they don't hide each other.
PLANTINGS = [(METHOD, MISSING_RESOURCE, MISSING_GEOMETRY), (SIGNAL, RENAMED_WIDGET)]


@pytest.fixture
def a_copy(tmp_path: Path) -> Path:
    """What the tests look at, in a folder of its own."""
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("slicer_extension", "tests/slicer"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    for name in ("pyproject.toml", "CMakeLists.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    # The tests only read the package.
    (tmp_path / "napari_ossnet").symlink_to(ROOT / "napari_ossnet", target_is_directory=True)
    return tmp_path


def failures(folder: Path, tests: set[str]) -> set[str]:
    """Which of the tests fail in that folder."""
    command = [sys.executable, "-m", "pytest", *(f"tests/slicer/{test}" for test in sorted(tests)), "-q", "-rA"]
    command += ["-o", "qt_api=pyside6", "-o", "norecursedirs=.*", "-p", "no:cacheprovider", "-p", "no:pretty"]
    environment = dict(os.environ, PYTHONPATH=str(folder), COLUMNS="400")
    run = subprocess.run(
        command, check=False, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8"
    )
    found = {test: re.search(rf"^(PASSED|FAILED) tests/slicer/{re.escape(test)}", run.stdout, re.M) for test in tests}
    assert None not in found.values(), run.stdout[-2000:]
    return {test for test, line in found.items() if line.group(1) == "FAILED"}


@pytest.mark.parametrize("faults", PLANTINGS, ids=["method, resource, geometry", "signal, renamed widget"])
def test_planted_faults_are_noticed(a_copy: Path, faults: tuple[Fault, ...]) -> None:
    for fault in faults:
        path = a_copy / fault.path
        text = path.read_text(encoding="utf-8")
        assert fault.right in text
        path.write_text(text.replace(fault.right, fault.wrong), encoding="utf-8")
    tests = {fault.test for fault in faults}
    assert failures(a_copy, tests) == tests


def test_the_copy_without_a_fault_passes(a_copy: Path) -> None:
    assert failures(a_copy, {fault.test for faults in PLANTINGS for fault in faults}) == set()
