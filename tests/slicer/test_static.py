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


#: Files of the library that run on slicer-core alone.
WITHOUT_QT = {"engine_import", "engine_process", "logic", "nodes", "results", "scan_files", "signals"}


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


def test_every_widget_explains_itself() -> None:
    tree = ET.parse(MODULE / "Resources" / "UI" / "OSSNet.ui")
    form, *widgets = tree.iter("widget")
    silent = [widget.get("name") for widget in widgets if not widget.findtext("property[@name='toolTip']/string")]
    assert form.get("class") == "qMRMLWidget"
    assert silent == []


def test_every_node_selector_gets_the_scene() -> None:
    tree = ET.parse(MODULE / "Resources" / "UI" / "OSSNet.ui")
    selectors = {widget.get("name") for widget in tree.iter("widget") if widget.get("class") == "qMRMLNodeComboBox"}
    connected = {
        connection.findtext("receiver")
        for connection in tree.iter("connection")
        if connection.findtext("signal") == "mrmlSceneChanged(vtkMRMLScene*)"
        and connection.findtext("slot") == "setMRMLScene(vtkMRMLScene*)"
    }
    assert selectors
    assert selectors == connected


def test_every_parameter_of_the_form_is_in_the_parameter_node() -> None:
    form = ET.parse(MODULE / "Resources" / "UI" / "OSSNet.ui")
    bound = {prop.findtext("string") for prop in form.iter("property") if prop.get("name") == "SlicerParameterName"}
    tree = ast.parse((MODULE / "OSSNetLib" / "parameters.py").read_text(encoding="utf-8"))
    node = next(item for item in tree.body if isinstance(item, ast.ClassDef))
    declared = {item.target.id for item in node.body if isinstance(item, ast.AnnAssign)}
    assert bound
    assert bound <= declared


def imported_at_file_scope(path: Path) -> set[str]:
    """Full names of modules."""
    imported = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module)
    return imported


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_imports_only_what_slicer_has(path: Path) -> None:
    imported = {name.split(".")[0] for name in imported_at_file_scope(path)}
    assert imported - SLICERS_OWN - sys.stdlib_module_names == set()


@pytest.mark.parametrize("path", [path for path in LIBRARY if path.stem in WITHOUT_QT], ids=lambda path: path.name)
def test_what_is_no_part_of_the_form_needs_no_qt_side_of_slicer(path: Path) -> None:
    allowed = {f"OSSNetLib.{name}" for name in WITHOUT_QT} | {"OSSNetLib", "slicer", "vtk", "numpy"}
    imported = {name for name in imported_at_file_scope(path) if name.split(".")[0] not in sys.stdlib_module_names}
    assert {name for name in imported if not name.startswith("vtk.")} - allowed == set()


#: What the form's code shows words with.
SHOWING = {"setText", "setToolTip", "addItem", "_tell", "_on_told", "errorDisplay", "warningDisplay"}


class Untranslated(ast.NodeVisitor):
    """Collects words that are shown without going through ``_``."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self._is_shown = False

    def visit_Call(self, call: ast.Call) -> None:
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        if name == "_":
            return
        before, self._is_shown = self._is_shown, self._is_shown or name in SHOWING
        self.generic_visit(call)
        self._is_shown = before

    def visit_Subscript(self, subscript: ast.Subscript) -> None:
        self.visit(subscript.value)

    def visit_Constant(self, constant: ast.Constant) -> None:
        if self._is_shown and isinstance(constant.value, str) and re.search("[a-z]", constant.value):
            self.words.append(constant.value)


def test_words_that_the_form_shows_can_be_translated() -> None:
    found = Untranslated()
    for path in LIBRARY:
        if path.stem.endswith("_section") or path.stem in ("panel", "dialogs", "samples"):
            found.visit(ast.parse(path.read_text(encoding="utf-8")))
    assert found.words == []


def test_the_script_starts_without_asking_or_installing() -> None:
    """At file scope there are definitions only: nothing runs when Slicer loads the module."""
    for path in SCRIPTS:
        kinds = {type(node).__name__ for node in ast.parse(path.read_text(encoding="utf-8")).body}
        assert kinds <= {"Import", "ImportFrom", "ClassDef", "FunctionDef", "Assign", "AnnAssign", "Expr"}, path.name


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


def test_requirements_are_lower_bounds() -> None:
    lines = (MODULE / "Resources" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert all(re.fullmatch(r"[\w-]+>=[\d.]+", line) for line in lines if not line.startswith("#"))


#: The public schema of entries in Slicer's index, v1.0.1: field, its type, and what it may be.
SCHEMA = {
    "$schema": (str, None),
    "build_dependencies": (list, None),
    "build_subdirectory": (str, None),
    "category": (str, None),
    "enabled": (bool, None),
    "scm_revision": (str, None),
    "scm_type": (str, {"git", "local"}),
    "scm_url": (str, None),
    "tier": (int, {1, 3, 5}),
}


def test_the_index_entry_has_the_schemas_fields_and_cmakes_dependencies() -> None:
    raw = (EXTENSION / "OSSNet.json").read_bytes()
    entry = json.loads(raw)
    assert b"\r" not in raw
    assert {"$schema", "category", "scm_url"} <= set(entry) <= set(SCHEMA)
    for name, value in entry.items():
        kind, allowed = SCHEMA[name]
        assert type(value) is kind, name
        assert allowed is None or value in allowed, name
    assert entry["$schema"].endswith("slicer-extension-catalog-entry-schema-v1.0.1.json#")
    cmake = (EXTENSION / "CMakeLists.txt").read_text(encoding="utf-8")
    assert f'set(EXTENSION_DEPENDS "{" ".join(entry["build_dependencies"])}")' in cmake
    assert f'set(EXTENSION_HOMEPAGE "{entry["scm_url"]}")' in cmake
    assert "project(OSSNet)" in (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")


def test_cmake_says_what_slicers_index_asks_for() -> None:
    cmake = (EXTENSION / "CMakeLists.txt").read_text(encoding="utf-8")
    said = dict(re.findall(r'set\(EXTENSION_(\w+) "([^"]+)"\)', cmake))
    assert set(said) == {"HOMEPAGE", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS", "DEPENDS"}
    for url in (said["ICONURL"], *said["SCREENSHOTURLS"].split()):
        prefix = "https://raw.githubusercontent.com/napari-ossnet/napari-ossnet/main/"
        assert (ROOT / url.removeprefix(prefix)).is_file(), url
    order = ["find_package(Slicer REQUIRED)", "include(${Slicer_USE_FILE})", "add_subdirectory(OSSNet)"]
    order += ["## NEXT_MODULE", "include(${Slicer_EXTENSION_GENERATE_CONFIG})", "include(${Slicer_EXTENSION_CPACK})"]
    places = [cmake.index(line) for line in order]
    assert places == sorted(places)
    module = (MODULE / "CMakeLists.txt").read_text(encoding="utf-8")
    assert "WITH_GENERIC_TESTS" in module
    assert "slicer_add_python_unittest(SCRIPT ${MODULE_NAME}.py)" in module
    assert "add_subdirectory(Testing)" in module


def test_the_scripts_run_on_slicers_python() -> None:
    command = [Path(sys.executable).with_name("vermin"), "-t=3.12-", "--violations", *map(str, SCRIPTS)]
    run = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    assert run.returncode == 0, run.stdout


def test_icons_are_square_pictures() -> None:
    from PySide6.QtGui import QImage

    for path in (MODULE / "Resources" / "Icons" / "OSSNet.png", EXTENSION / "OSSNet.png"):
        image = QImage(str(path))
        assert image.width() == image.height() == 128
