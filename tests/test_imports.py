"""Layers point downward only, front ends open without torch, and heavy packages are imported late."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ENGINE = ROOT / "napari_ossnet" / "engine"

#: Who must not import whom, at file scope or anywhere else. The engine knows nobody; front ends know only the engine.
FORBIDDEN = {
    "napari_ossnet/engine": (
        "napari", "qtpy", "superqt", "magicgui", "PyQt6", "PySide6", "slicer", "qt", "ctk", "lightning",
        "napari_ossnet.cli", "napari_ossnet.widget", "ossnet_training", "OSSNetLib",
    ),
    "napari_ossnet/widget": ("napari_ossnet.cli", "ossnet_training", "slicer", "OSSNetLib"),
    "napari_ossnet/cli": ("ossnet_training", "slicer", "OSSNetLib", "qtpy"),
    "napari_ossnet/bench": ("napari", "qtpy", "napari_ossnet.cli", "napari_ossnet.widget", "ossnet_training", "slicer"),
    "training/ossnet_training": ("napari", "qtpy", "napari_ossnet.cli", "napari_ossnet.widget", "slicer", "OSSNetLib"),
    "slicer_extension": ("napari", "qtpy", "napari_ossnet.cli", "napari_ossnet.widget", "ossnet_training"),
}  # fmt: skip
#: What the engine may import at file scope beside the standard library and itself.
BASE = {"numpy", "torch", "nibabel", "skimage", "scipy", "safetensors", "platformdirs", "jaxtyping", "trimesh"}
#: Extras, and what takes long: only inside the functions that need them.
LATE = {"SimpleITK", "vtk", "vtkmodules", "numba", "highdicom", "pydicom", "matplotlib", "requests", "triton"}
#: Modules that front ends import while they open.
WITHOUT_TORCH = (
    "errors", "shapes", "events", "geometry", "volume", "tasks", "model_card", "catalogue", "device", "session",
    "phantom.brain", "cohort", "download", "files.atomic", "files.mesh_files", "scans.assignment",
    "results.segmentation", "results.measurement", "results.picture", "surfaces.surface",
)  # fmt: skip


def files_in(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imported_names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def names_at_file_scope(path: Path) -> set[str]:
    """What importing a module imports: not what is inside functions, nor what only type checkers see."""
    names: set[str] = set()
    waiting: list[ast.AST] = list(ast.parse(path.read_text(encoding="utf-8")).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= set(imported_names(node))
        waiting += ast.iter_child_nodes(node)
    return names


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_no_layer_knows_one_above_it(folder: str) -> None:
    paths = files_in(folder)
    assert paths, f"{folder} has no Python files"
    found = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in paths
        for name in imported_names(ast.parse(path.read_text(encoding="utf-8")))
        if any(is_within(name, package) for package in FORBIDDEN[folder])
    ]
    assert found == []


def test_the_engine_imports_extras_late_and_nothing_else_at_file_scope() -> None:
    found = []
    for path in files_in("napari_ossnet/engine"):
        for name in names_at_file_scope(path):
            top = name.partition(".")[0]
            if top not in BASE | sys.stdlib_module_names | {"napari_ossnet"}:
                found.append(f"{path.relative_to(ROOT)} imports {name}")
    assert found == []
    assert not LATE & BASE


def test_only_the_two_vocabularies_import_jaxtyping() -> None:
    paths = {path.name for path in files_in("napari_ossnet/engine") if "jaxtyping" in path.read_text(encoding="utf-8")}
    assert paths <= {"shapes.py", "tensors.py"}


def test_imports_are_absolute() -> None:
    relative = [
        str(path.relative_to(ROOT))
        for folder in FORBIDDEN
        for path in files_in(folder)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert relative == []


def modules_after(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after a statement."""
    code = f"{statement}\nimport sys\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, encoding="utf-8", check=True, cwd=ROOT
    )
    return set(done.stdout.split())


def test_front_ends_open_without_torch() -> None:
    heavy = {"torch", "napari", "qtpy", "vtk", "vtkmodules", "SimpleITK", "matplotlib", "numba"}
    # One process for all of them; the first module after which something heavy is there has brought it.
    names = [f"napari_ossnet.engine.{module}" for module in WITHOUT_TORCH]
    code = f"""
import importlib, sys
for name in {names}:
    importlib.import_module(name)
    if heavy := {heavy} & set(sys.modules):
        sys.exit(f"{{name}} imports {{heavy}}")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, encoding="utf-8", check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr


def test_the_command_line_answers_without_torch() -> None:
    held = modules_after("import napari_ossnet.cli")
    assert not held & {"torch", "napari", "qtpy", "skimage", "scipy", "matplotlib", "nibabel", "SimpleITK", "lightning"}


@pytest.mark.parametrize(
    "arguments",
    [["weights", "list"], ["segment", "a.nii"], ["segment", "a.nii", "-o", "m.nii.gz", "--task", "lungs"]],
)
def test_lists_and_mistakes_answer_without_torch(arguments: list[str]) -> None:
    held = modules_after(
        f"import napari_ossnet.cli as cli, contextlib, os\nwith open(os.devnull, 'w') as null, "
        f"contextlib.redirect_stdout(null), contextlib.redirect_stderr(null): cli.main({arguments!r})"
    )
    assert "torch" not in held


def test_the_napari_widget_opens_without_torch() -> None:
    held = modules_after("import os; os.environ.setdefault('QT_API', 'pyqt6'); import napari_ossnet.widget.widget")
    assert "torch" not in held


def test_the_engine_loads_where_there_is_no_napari_and_no_qt() -> None:
    hidden = "napari", "qtpy", "superqt", "magicgui", "PyQt6", "PySide6", "vtk", "vtkmodules", "SimpleITK", "numba"
    hiding = f"import sys\nfor name in {hidden!r}: sys.modules[name] = None"
    everything = "\n".join(
        f"import {'.'.join(path.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__')}"
        for path in [*files_in("napari_ossnet/engine"), *files_in("napari_ossnet/cli")]
        if path.stem != "__main__"
    )
    assert "torch" in modules_after(f"{hiding}\n{everything}\nfor name in {hidden!r}: del sys.modules[name]")
