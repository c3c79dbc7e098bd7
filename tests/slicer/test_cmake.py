"""CMake configures the extension against a stub of Slicer's macros, and installs the engine with it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
USE_FILE = """
set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR lib/modules)
set(Slicer_QTSCRIPTEDMODULES_LIB_DIR lib/modules)
set(BUILD_TESTING ON)
set(Slicer_EXTENSION_GENERATE_CONFIG ${CMAKE_CURRENT_LIST_DIR}/nothing.cmake)
set(Slicer_EXTENSION_CPACK ${CMAKE_CURRENT_LIST_DIR}/nothing.cmake)
function(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(MODULE "WITH_GENERIC_TESTS" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  foreach(file IN LISTS MODULE_SCRIPTS MODULE_RESOURCES)
    get_filename_component(folder ${file} DIRECTORY)
    install(FILES ${file} DESTINATION lib/modules/${folder} COMPONENT RuntimeLibraries)
    configure_file(${file} ${CMAKE_BINARY_DIR}/lib/modules/${file} COPYONLY)
  endforeach()
endfunction()
function(slicer_add_python_unittest)
  cmake_parse_arguments(TEST "" "SCRIPT" "" ${ARGN})
  if(NOT EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${TEST_SCRIPT})
    message(FATAL_ERROR "no test ${TEST_SCRIPT}")
  endif()
  file(APPEND ${CMAKE_BINARY_DIR}/tests.txt "${TEST_SCRIPT}\n")
endfunction()
"""


@pytest.fixture(scope="module")
def a_built_extension(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build folder, configured; ``installed`` beside it holds what would be packed."""
    tmp_path = tmp_path_factory.mktemp("extension")
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
    return build


@pytest.fixture
def an_installed_extension(a_built_extension: Path) -> Path:
    return a_built_extension.parent / "installed" / "lib" / "modules"


def test_what_is_installed_is_complete(an_installed_extension: Path) -> None:
    module = ROOT / "slicer_extension" / "OSSNet"
    engine = ROOT / "napari_ossnet" / "engine"
    wanted = [path.relative_to(module) for path in module.rglob("*") if path.suffix in (".py", ".ui", ".png")]
    # Tests are run from the build tree; they are not packed.
    wanted = [path for path in wanted if path.parts[0] != "Testing"]
    wanted += [path.relative_to(ROOT) for path in engine.rglob("*") if path.suffix in (".py", ".safetensors")]
    wanted += [Path("napari_ossnet/__init__.py"), Path("Resources/requirements.txt")]
    assert [str(path) for path in wanted if not (an_installed_extension / path).is_file()] == []


def test_nothing_of_the_napari_front_end_is_installed(an_installed_extension: Path) -> None:
    installed = {path.name for path in (an_installed_extension / "napari_ossnet").iterdir()}
    assert installed == {"__init__.py", "engine"}
    assert not list(an_installed_extension.rglob("__pycache__"))


def test_the_build_tree_is_complete_too_for_tests_run_from_it(
    a_built_extension: Path, an_installed_extension: Path
) -> None:
    built = a_built_extension / "lib" / "modules"
    installed = {path.relative_to(an_installed_extension) for path in an_installed_extension.rglob("*.*")}
    assert {path for path in installed if not (built / path).exists()} == set()
    tests = (a_built_extension / "tests.txt").read_text(encoding="utf-8").split()
    assert tests == ["OSSNet.py", "OSSNetPanelTest.py"]


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
