"""A Slicer of slicer-core's real MRML and stand-ins for its Qt side; these tests run in a process of their own."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULE_FOLDER = ROOT / "slicer_extension" / "OSSNet"
sys.path[:0] = [str(Path(__file__).parent), str(MODULE_FOLDER)]

from rig.application import Application, install_python_side  # noqa: E402 - needs the path above

install_python_side()


@pytest.fixture
def an_application(tmp_path: Path, qapp: object) -> Application:
    application = Application(tmp_path)
    application.install()
    return application


@pytest.fixture
def a_volume_node(an_application: Application) -> Callable[..., object]:
    """Makes volume nodes of noise around a bright ball, in any geometry."""
    from OSSNetLib import nodes

    def make(
        name: str = "a_mr", shape: tuple[int, int, int] = (36, 50, 34), affine: np.ndarray | None = None
    ) -> object:
        data = np.random.default_rng(sum(map(ord, name))).normal(100, 20, shape).astype(np.float32)
        return nodes.array_to_volume(name, data, np.diag([-1.0, -1.0, 1.0, 1.0]) if affine is None else affine)

    return make


@pytest.fixture(scope="session")
def tiny_weights(untrained_weights: Callable[[str, str], Path]) -> Path:
    """A small network with random weights for the hippocampus task, as a file."""
    return untrained_weights("x", "tiny")


@pytest.fixture
def an_ossnet_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_weights: Path) -> Path:
    """A catalogue with the tiny network in it, also for child processes."""
    home = tmp_path / "home"
    (home / "weights").mkdir(parents=True)
    (home / "weights" / "tiny.safetensors").write_bytes(tiny_weights.read_bytes())
    monkeypatch.setenv("OSSNET_HOME", str(home))
    return home


@pytest.fixture(scope="session")
def a_warm_process(tmp_path_factory: pytest.TempPathFactory, tiny_weights: Path, qapp: object) -> Iterator[object]:
    """One child for all tests that neither end it nor count: importing torch is what most of their time would go to."""
    from OSSNetLib.engine_process import EngineProcess

    home = tmp_path_factory.mktemp("home")
    (home / "weights").mkdir()
    (home / "weights" / "tiny.safetensors").write_bytes(tiny_weights.read_bytes())
    process = EngineProcess(sys.executable)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OSSNET_HOME", str(home))
        process.send("weights", task="hippocampus")
    yield process
    process.stop()


@pytest.fixture
def a_logic(an_application: Application, an_ossnet_home: Path, a_warm_process: object) -> Iterator[SimpleNamespace]:
    """The real logic on the real child process, with everything that it signals written down."""
    heard = listen_to_logic(a_warm_process)
    yield heard
    a_warm_process.received.disconnect(heard.logic._on_received)
    a_warm_process.died.disconnect(heard.logic._on_died)


@pytest.fixture
def a_cold_logic(an_application: Application, an_ossnet_home: Path) -> Iterator[SimpleNamespace]:
    """The same with a child of its own."""
    from OSSNetLib.engine_process import EngineProcess

    heard = listen_to_logic(EngineProcess(sys.executable))
    yield heard
    heard.logic.close()


def listen_to_logic(process: object) -> SimpleNamespace:
    from OSSNetLib.logic import OSSNetSegmentationLogic

    logic = OSSNetSegmentationLogic(process)
    heard = SimpleNamespace(logic=logic, steps=[], reports=[], failures=[], cancelled=[], answers=[], regions=[])
    logic.snapshot_shown.connect(heard.steps.append)
    logic.finished.connect(heard.reports.append)
    logic.failed.connect(heard.failures.append)
    logic.cancelled.connect(lambda: heard.cancelled.append(True))
    logic.answered.connect(lambda command, words: heard.answers.append((command, words)))
    logic.region_finished.connect(lambda node, report: heard.regions.append(node))
    return heard


@pytest.fixture
def a_widget(an_application: Application, an_ossnet_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """The module's own widget, set up."""
    from OSSNetLib.engine_process import EngineProcess
    from OSSNetLib.logic import OSSNetSegmentationLogic
    from PySide6.QtWidgets import QVBoxLayout, QWidget

    module = importlib.import_module("OSSNet")
    parent = QWidget()
    QVBoxLayout(parent)
    widget = module.OSSNetWidget(SimpleNamespace(widget=parent, isEntered=True))
    widget.segmentation_logic = OSSNetSegmentationLogic(EngineProcess(sys.executable))
    widget.setup()
    an_application.module_widgets["OSSNet"] = widget
    yield widget
    widget.cleanup()


def pytest_configure() -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
