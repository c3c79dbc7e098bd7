"""What holds for every test: where the scans and numbers lie, a home of one's own, a screen, and what a skip means."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# napari is tested on PyQt6. As an environment variable and not in pyproject.toml, because the engine's tests also run
# without pytest-qt, to which the option belongs.
os.environ.setdefault("PYTEST_QT_API", "pyqt6")

_TORCH = tuple(int(part) for part in version("torch").split(".")[:2])
#: Fixtures that open a window.
_WINDOW_FIXTURES = {"qtbot", "qapp", "make_napari_viewer"}
_SCREEN_SIZE = "1600x1000x24"
_screens: list[subprocess.Popen[bytes]] = []


def _folder(variable: str, default: Path) -> Path:
    folder = Path(os.environ.get(variable, default))
    if not folder.is_dir():
        pytest.skip(f"{variable} names no folder ({folder}); the scans and fixtures are not part of the repository")
    return folder


@pytest.fixture(scope="session")
def a_data_folder() -> Path:
    return _folder("OSSNET_DATA", ROOT.parent / "shared" / "data")


@pytest.fixture(scope="session")
def a_fixtures_folder() -> Path:
    return _folder("OSSNET_FIXTURES", ROOT.parent / "shared" / "fixtures")


@pytest.fixture(autouse=True)
def a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Tests never touch the user's own cache, runs or settings."""
    home = tmp_path / "ossnet-home"
    monkeypatch.setenv("OSSNET_HOME", str(home))
    return home


@pytest.fixture(autouse=_TORCH < (2, 6))
def own_files_are_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest torch is not let near a .pt file, which has a test of its own; those that tests write are harmless."""
    monkeypatch.setattr("napari_ossnet.engine.checkpoints.SAFE_TORCH", "0")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that open a window get a screen, or are skipped with the reason why there is none."""
    windowed = [item for item in items if _opens_window(item)]
    if not windowed:
        return
    reason = _ensure_screen()
    for item in windowed if reason else ():
        item.add_marker(pytest.mark.skip(reason=reason))


def _opens_window(item: pytest.Item) -> bool:
    return item.get_closest_marker("qt") is not None or not _WINDOW_FIXTURES.isdisjoint(
        getattr(item, "fixturenames", ())
    )


def _ensure_screen() -> str:
    """Starts a virtual screen where there is none; the reason why there can't be one, empty if there is."""
    has_screen = os.environ.get("DISPLAY") or os.environ.get("QT_QPA_PLATFORM") == "offscreen"
    if sys.platform != "linux" or has_screen:
        return ""
    program = shutil.which("Xvfb")
    if program is None:
        return "no X server: DISPLAY is not set and Xvfb is not installed (Debian: apt install xvfb)"
    reader, writer = os.pipe()
    command = [program, "-displayfd", str(writer), "-screen", "0", _SCREEN_SIZE, "-nolisten", "tcp"]
    screen = subprocess.Popen(command, pass_fds=[writer], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        # Xvfb writes the number of its display once it is ready, and closes the pipe if it can't be.
        number = pipe.readline().strip()
    if not number:
        screen.wait()
        return "no X server: Xvfb is installed but does not start"
    _screens.append(screen)
    os.environ["DISPLAY"] = f":{number}"
    return ""


def pytest_unconfigure() -> None:
    """Takes the screen down again."""
    while _screens:
        screen = _screens.pop()
        screen.terminate()
        screen.wait()


def _are_skips_failures() -> bool:
    return bool(os.environ.get("OSSNET_NO_SKIPS"))


def _as_failure(report: pytest.TestReport | pytest.CollectReport) -> None:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
    report.outcome = "failed"
    report.longrepr = f"{reason}\nThis counts as a failure, since OSSNET_NO_SKIPS is set: here everything must run."


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With OSSNET_NO_SKIPS a skipped test has failed."""
    report = yield
    if _are_skips_failures() and report.skipped and not hasattr(report, "wasxfail"):
        _as_failure(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """With OSSNET_NO_SKIPS a skipped file has failed."""
    report = yield
    if _are_skips_failures() and report.skipped:
        _as_failure(report)
    return report


@pytest.fixture(scope="session", autouse=True)
def no_network_proxies() -> Iterator[None]:
    """Servers of the tests are on this machine; a proxy of the environment could not reach them."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            patch.delenv(variable, raising=False)
        yield


@pytest.fixture(scope="session")
def untrained_weights(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """Saves a network with random weights for the hippocampus task: its variant and name to its file."""

    def save(variant: str, name: str) -> Path:
        import torch

        from napari_ossnet.engine.checkpoints import save_weights
        from napari_ossnet.engine.model_card import ModelCard
        from napari_ossnet.engine.networks.variants import build_network
        from napari_ossnet.engine.tasks import get_task

        torch.manual_seed(0)
        task = get_task("hippocampus")
        network = build_network(variant, task).eval()
        path = tmp_path_factory.mktemp("weights") / f"{name}.safetensors"
        config = network.config.to_dict()
        card = ModelCard(name=name, title=name.capitalize(), task=task, variant=variant, network_config=config)
        save_weights(path, network, card)
        return path

    return save


@pytest.fixture(scope="session")
def pfseg_weights(untrained_weights: Callable[[str, str], Path]) -> Path:
    """Untrained weights of PFSeg, as a file."""
    return untrained_weights("pfseg", "tiny-pfseg")
