"""What no running test sees: lists that must agree with folders, names that must agree with the form."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXTENSION = ROOT / "slicer_extension"
MODULE = EXTENSION / "OSSNet"
LIBRARY = sorted((MODULE / "OSSNetLib").glob("*.py"))
SCRIPTS = [MODULE / "OSSNet.py", *LIBRARY]
#: What Slicer has: its own packages, and the module's library.
SLICERS_OWN = {"slicer", "qt", "ctk", "vtk", "numpy", "OSSNetLib", "OSSNet"}
#: Packages that Slicer owns and that must not be installed over.
NEVER_INSTALLED = {"numpy", "scipy", "SimpleITK", "vtk", "requests", "torch"}


def form_names() -> set[str]:
    tree = ET.parse(MODULE / "Resources" / "UI" / "OSSNet.ui")
    return {widget.get("name") for widget in tree.iter("widget")}


def listed_in_cmake(text: str, variable: str) -> set[str]:
    body = re.search(rf"set\({variable}(.*?)\)", text.replace("${MODULE_NAME}", "OSSNet"), re.DOTALL)
    return set(body.group(1).split())


def cmake_problems(text: str) -> list[str]:
    scripts = {path.relative_to(MODULE).as_posix() for path in SCRIPTS}
    resources = {path.relative_to(MODULE).as_posix() for path in (MODULE / "Resources").rglob("*") if path.is_file()}
    differences = (listed_in_cmake(text, "MODULE_PYTHON_SCRIPTS") ^ scripts) | (
        listed_in_cmake(text, "MODULE_PYTHON_RESOURCES") ^ resources
    )
    return sorted(differences)


def test_cmake_lists_every_script_and_resource() -> None:
    assert cmake_problems((MODULE / "CMakeLists.txt").read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("missing", ["Resources/UI/${MODULE_NAME}.ui", "${MODULE_NAME}Lib/nodes.py"])
def test_a_file_missing_in_cmake_is_noticed(missing: str) -> None:
    text = (MODULE / "CMakeLists.txt").read_text(encoding="utf-8")
    assert cmake_problems(text.replace(missing, "")) == [missing.replace("${MODULE_NAME}", "OSSNet")]


def test_every_widget_that_the_code_names_is_in_the_form() -> None:
    used = {name for path in SCRIPTS for name in re.findall(r"\bui\.(\w+)", path.read_text(encoding="utf-8"))}
    assert used - form_names() == set()


def test_every_parameter_of_the_form_is_in_the_parameter_node() -> None:
    form = ET.parse(MODULE / "Resources" / "UI" / "OSSNet.ui")
    bound = {prop.findtext("string") for prop in form.iter("property") if prop.get("name") == "SlicerParameterName"}
    tree = ast.parse((MODULE / "OSSNetLib" / "parameters.py").read_text(encoding="utf-8"))
    node = next(item for item in tree.body if isinstance(item, ast.ClassDef))
    declared = {item.target.id for item in node.body if isinstance(item, ast.AnnAssign)}
    assert bound
    assert bound <= declared


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_imports_only_what_slicer_has(path: Path) -> None:
    imported = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module.split(".")[0])
    assert imported - SLICERS_OWN - sys.stdlib_module_names == set()


def test_the_requirements_are_what_the_engine_imports_less_what_slicer_owns() -> None:
    names = {"skimage": "scikit-image", "vtkmodules": "vtk"}
    imported = set()
    for path in (ROOT / "napari_ossnet" / "engine").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.split(".")[0])
    third_party = {names.get(name, name) for name in imported - sys.stdlib_module_names - {"napari_ossnet"}}
    lines = (MODULE / "Resources" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    required = {re.split(r"[<>=]", line)[0] for line in lines if line and not line.startswith("#")}
    #: Extras of the package: the engine does without them.
    optional = {"numba", "highdicom", "pydicom", "certifi"}
    assert required == third_party - NEVER_INSTALLED - optional


def test_the_index_entry_has_the_schemas_fields_and_cmakes_dependencies() -> None:
    entry = json.loads((EXTENSION / "OSSNet.json").read_text(encoding="utf-8"))
    assert set(entry) <= {
        "$schema", "build_dependencies", "build_subdirectory", "category", "scm_revision", "scm_url", "tier",
    }  # fmt: skip
    assert {"$schema", "category", "scm_url"} <= set(entry)
    cmake = (EXTENSION / "CMakeLists.txt").read_text(encoding="utf-8")
    assert f'set(EXTENSION_DEPENDS "{" ".join(entry["build_dependencies"])}")' in cmake
    assert "project(OSSNet)" in (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")


def test_the_scripts_run_on_slicers_python() -> None:
    command = [Path(sys.executable).with_name("vermin"), "-t=3.12-", "--violations", *map(str, SCRIPTS)]
    run = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    assert run.returncode == 0, run.stdout


def test_icons_are_square_pictures() -> None:
    from PySide6.QtGui import QImage

    for path in (MODULE / "Resources" / "Icons" / "OSSNet.png", EXTENSION / "OSSNet.png"):
        image = QImage(str(path))
        assert image.width() == image.height() == 128
