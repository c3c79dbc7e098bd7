"""What napari is told about the plugin is true, and starting it stays cheap."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from npe2 import PluginManifest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def a_manifest() -> PluginManifest:
    """As npe2 finds it through the installed distribution."""
    return PluginManifest.from_distribution("napari-ossnet")


def test_the_manifest_is_valid_and_bears_the_distributions_name(a_manifest):
    assert a_manifest.name == "napari-ossnet"
    a_manifest.validate_imports()


def test_the_manifest_at_the_root_is_the_packages_own():
    assert (ROOT / "napari.yaml").samefile(ROOT / "napari_ossnet" / "napari.yaml")


def test_every_contribution_names_a_command_that_exists(a_manifest):
    commands = {command.id for command in a_manifest.contributions.commands}
    contributions = a_manifest.contributions
    used = [*contributions.widgets, *contributions.readers, *contributions.writers]
    assert {item.command for item in used} <= commands
    assert {sample.command for sample in contributions.sample_data} <= commands
    assert {item.command for item in contributions.menus["napari/layers/segment"]} <= commands


def test_readers_and_writers_name_the_suffixes_that_the_engine_knows(a_manifest):
    from napari_ossnet.engine.volume import READABLE_SUFFIXES, WRITABLE_SUFFIXES

    (reader,) = a_manifest.contributions.readers
    patterns = {pattern.removeprefix("*") for pattern in reader.filename_patterns}
    assert patterns <= set(READABLE_SUFFIXES)
    labels, surface = a_manifest.contributions.writers
    assert set(labels.filename_extensions) <= set(WRITABLE_SUFFIXES)
    assert set(surface.filename_extensions) == {".stl", ".ply", ".obj", ".vtp", ".glb"}


IMPORT = """
import json, sys, time
# What napari has loaded by the time that it opens a widget.
import napari, napari.viewer, napari.layers, napari.qt, superqt, magicgui, qtpy.QtWidgets, psygnal
before = set(sys.modules)
begun = time.process_time()
import napari_ossnet.widget.widget
taken = time.process_time() - begun
print(json.dumps({"taken": taken, "loaded": sorted(set(sys.modules) - before)}))
"""


def test_the_widget_is_imported_without_torch_and_quickly(record_property):
    """Under a second beyond napari's own imports is asked for; of processor time, since the machine may be busy."""
    runs = [json.loads(_run(IMPORT).splitlines()[-1]) for _ in range(3)]
    heavy = {"torch", "SimpleITK", "vtk", "skimage.measure", "scipy.ndimage", "matplotlib.pyplot", "trimesh", "numba"}
    assert not heavy & set(runs[0]["loaded"])
    taken = [run["taken"] for run in runs]
    record_property("import_s", taken)
    assert min(taken) < 1.0


OPEN = """
import sys
import numpy as np
import napari
viewer = napari.Viewer(show=False)
viewer.add_image(np.random.default_rng(0).random((20, 22, 24)), name="t1", units=("mm",) * 3)
_, widget = viewer.window.add_plugin_dock_widget("napari-ossnet", "Segment")
from qtpy.QtWidgets import QApplication
for _ in range(50):
    QApplication.processEvents()
print("torch" in sys.modules, [option.name for option in widget.controller.store.state.tasks])
viewer.close()
"""


def test_opening_the_widget_from_naparis_menu_imports_no_torch(a_home):
    assert _run(OPEN).splitlines()[-1] == "False ['brats', 'lits', 'hippocampus']"


def _run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, encoding="utf-8", timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
