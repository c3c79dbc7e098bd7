"""What is in the wheel, and what the installed distribution promises."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

import napari_ossnet

ROOT = Path(__file__).resolve().parent.parent
MIB = 2**20


@pytest.fixture(scope="session")
def a_wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel as it would be published, built by the build backend itself."""
    folder = tmp_path_factory.mktemp("wheel")
    code = f"from hatchling.build import build_wheel; print(build_wheel({str(folder)!r}))"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True, encoding="utf-8")
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def project() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


class TestWheel:
    def test_every_module_and_data_file_is_in_it(self, a_wheel: zipfile.ZipFile) -> None:
        tracked = subprocess.run(
            ["git", "ls-files", "napari_ossnet", "training/ossnet_training"],
            cwd=ROOT, check=True, capture_output=True, text=True, encoding="utf-8",
        ).stdout.split()  # fmt: skip
        expected = {name.removeprefix("training/") for name in tracked if (ROOT / name).exists()}
        missing = expected - set(a_wheel.namelist())
        assert missing == set()
        assert "napari_ossnet/napari.yaml" in a_wheel.namelist()
        assert "napari_ossnet/py.typed" in a_wheel.namelist()

    def test_bundled_weights_come_with_their_cards_and_stay_small(self, a_wheel: zipfile.ZipFile) -> None:
        weights = [info for info in a_wheel.infolist() if info.filename.endswith(".safetensors")]
        assert all(info.filename.startswith("napari_ossnet/engine/weights/") for info in weights)
        assert sum(info.file_size for info in weights) <= 30 * MIB
        names = set(a_wheel.namelist())
        assert {info.filename.removesuffix(".safetensors") + ".md" for info in weights} <= names

    def test_nothing_else_is_in_it(self, a_wheel: zipfile.ZipFile) -> None:
        tops = {name.partition("/")[0] for name in a_wheel.namelist()}
        assert {re.sub(r"-.*", "", top) for top in tops} == {"napari_ossnet", "ossnet_training"}
        assert not [name for name in a_wheel.namelist() if name.endswith((".pyc", ".nii.gz", ".pt"))]

    def test_the_licence_is_in_it(self, a_wheel: zipfile.ZipFile) -> None:
        (name,) = [name for name in a_wheel.namelist() if name.endswith("licenses/LICENSE")]
        assert b"MIT" in a_wheel.read(name)


class TestEntryPoints:
    @pytest.mark.parametrize("name", ["ossnet", "ossnet-train"])
    def test_the_commands_lead_to_functions(self, name: str) -> None:
        (point,) = metadata.entry_points(group="console_scripts", name=name)
        assert callable(point.load())

    def test_the_manifest_lies_where_napari_looks_for_it(self) -> None:
        (point,) = [p for p in metadata.entry_points(group="napari.manifest") if p.name == "napari-ossnet"]
        module, _, file_name = point.value.partition(":")
        folder = importlib.import_module(module).__path__[0]
        assert (Path(folder) / file_name).is_file()

    def test_the_roots_manifest_is_the_packages(self) -> None:
        assert (ROOT / "napari.yaml").resolve() == ROOT / "napari_ossnet" / "napari.yaml"


class TestMetadata:
    def test_the_version_is_a_literal_that_the_distribution_has(self) -> None:
        source = (ROOT / "napari_ossnet" / "__init__.py").read_text(encoding="utf-8")
        assert f'__version__ = "{napari_ossnet.__version__}"' in source
        assert metadata.version("napari-ossnet") == napari_ossnet.__version__

    def test_the_changelog_tells_of_this_version(self) -> None:
        assert f"## {napari_ossnet.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")

    def test_hosts_bring_their_own_libraries(self) -> None:
        base = {re.split(r"[<>=\[ ]", line)[0].lower() for line in project()["dependencies"]}
        assert not base & {"vtk", "simpleitk", "napari", "qtpy", "pyqt6", "pyside6"}

    def test_a_qt_binding_comes_only_with_the_viewer_and_the_tests(self) -> None:
        extras: dict[str, list[str]] = project()["optional-dependencies"]
        with_qt = {
            name for name, lines in extras.items() if re.search(r"pyqt|pyside|napari\[", " ".join(lines).lower())
        }
        assert with_qt == {"viewer", "test"}

    def test_the_constraints_pin_torch_first_and_every_direct_dependency(self) -> None:
        lines = [
            line
            for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
            if line and line[0] != "#"
        ]
        assert lines[0] == "torch==2.13.0"
        assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][0-9A-Za-z.]*", line) for line in lines)
        pinned = {canonical(line.partition("==")[0]) for line in lines}
        assert {"vtk", "numpy"} <= pinned
        extras: dict[str, list[str]] = project()["optional-dependencies"]
        wanted = {canonical(re.split(r"[<>=\[ ]", line)[0]) for lines in extras.values() for line in lines}
        wanted |= {canonical(re.split(r"[<>=\[ ]", line)[0]) for line in project()["dependencies"]}
        assert wanted - pinned == {"napari-ossnet"}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
