"""CMake configures the extension against a stub of Slicer's macros, and installs the engine with it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
USE_FILE = """
set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR lib/modules)
set(Slicer_EXTENSION_GENERATE_CONFIG ${CMAKE_CURRENT_LIST_DIR}/nothing.cmake)
set(Slicer_EXTENSION_CPACK ${CMAKE_CURRENT_LIST_DIR}/nothing.cmake)
function(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(MODULE "WITH_GENERIC_TESTS" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  foreach(file IN LISTS MODULE_SCRIPTS MODULE_RESOURCES)
    get_filename_component(folder ${file} DIRECTORY)
    install(FILES ${file} DESTINATION lib/modules/${folder} COMPONENT RuntimeLibraries)
  endforeach()
endfunction()
"""


@pytest.fixture
def an_installed_extension(tmp_path: Path) -> Path:
    cmake = shutil.which("cmake")
    assert cmake is not None, "cmake is missing; it comes with the test extra"
    stub = tmp_path / "slicer"
    stub.mkdir()
    (stub / "UseSlicer.cmake").write_text(USE_FILE, encoding="utf-8")
    (stub / "nothing.cmake").write_text("", encoding="utf-8")
    (stub / "SlicerConfig.cmake").write_text(f'set(Slicer_USE_FILE "{stub}/UseSlicer.cmake")\n', encoding="utf-8")
    build, target = tmp_path / "build", tmp_path / "installed"
    for step in (
        [cmake, "-S", ROOT, "-B", build, f"-DSlicer_DIR={stub}"],
        [cmake, "--install", build, "--prefix", target],
    ):
        run = subprocess.run(step, capture_output=True, text=True, encoding="utf-8", check=False)
        assert run.returncode == 0, run.stderr
    return target / "lib" / "modules"


def test_what_is_installed_is_complete(an_installed_extension: Path) -> None:
    module = ROOT / "slicer_extension" / "OSSNet"
    engine = ROOT / "napari_ossnet" / "engine"
    wanted = [path.relative_to(module) for path in module.rglob("*") if path.suffix in (".py", ".ui", ".png")]
    wanted += [path.relative_to(ROOT) for path in engine.rglob("*") if path.suffix in (".py", ".safetensors")]
    wanted += [Path("napari_ossnet/__init__.py"), Path("Resources/requirements.txt")]
    assert [str(path) for path in wanted if not (an_installed_extension / path).is_file()] == []


def test_the_installed_engine_is_found_beside_the_module_and_runs(an_installed_extension: Path) -> None:
    import os
    import sys

    code = "import napari_ossnet.engine.worker as worker; print(worker.__file__)"
    environment = dict(os.environ, PYTHONPATH=str(an_installed_extension))
    run = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env=environment,
        cwd="/",
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
    )
    assert run.stdout.strip() == str(an_installed_extension / "napari_ossnet" / "engine" / "worker.py")
