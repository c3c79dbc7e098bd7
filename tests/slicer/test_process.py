"""The child process when things go wrong: launchers, deaths, lack of memory, a Slicer that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from OSSNetLib.engine_process import EngineProcess

WAIT_MS = 120_000
TESTS = Path(__file__).parent
MODULE = TESTS.parents[1] / "slicer_extension" / "OSSNet"


def is_alive(pid: int) -> bool:
    """Whether a process is there and no mere entry that its parent has not read yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def make_program(folder: Path, text: str) -> str:
    """A stand-in for PythonSlicer."""
    path = folder / "PythonSlicer"
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def a_launched_logic(a_cold_logic: SimpleNamespace, tmp_path: Path) -> SimpleNamespace:
    """Runs Python as Slicer does: behind a launcher that waits for it, and talks first."""
    a_cold_logic.logic.process._program = make_program(tmp_path, f'echo "launching"; "{sys.executable}" "$@"; exit $?')
    a_cold_logic.pids = []
    a_cold_logic.logic.process.received.connect(
        lambda words: a_cold_logic.pids.append(words["pid"]) if "pid" in words else None
    )
    return a_cold_logic


@pytest.mark.parametrize("end", ["kill", "close"])
def test_the_interpreter_behind_a_launcher_is_ended_too(
    a_launched_logic: SimpleNamespace, a_volume_node: Callable[..., object], qtbot: object, end: str
) -> None:
    logic = a_launched_logic.logic
    logic.segment("hippocampus", {"mr": a_volume_node()}, weights="tiny", device="cpu")
    qtbot.waitUntil(lambda: bool(a_launched_logic.pids), timeout=WAIT_MS)
    getattr(logic, end)()
    qtbot.waitUntil(lambda: not is_alive(a_launched_logic.pids[0]), timeout=WAIT_MS)
    assert not logic.is_busy


def test_the_death_of_the_launcher_is_a_sentence_and_leaves_no_orphan(
    a_launched_logic: SimpleNamespace, a_volume_node: Callable[..., object], qtbot: object
) -> None:
    logic = a_launched_logic.logic
    logic.segment("hippocampus", {"mr": a_volume_node()}, weights="tiny", device="cpu")
    qtbot.waitUntil(lambda: bool(a_launched_logic.pids), timeout=WAIT_MS)
    os.kill(logic.process._process.processId(), signal.SIGKILL)
    qtbot.waitUntil(lambda: bool(a_launched_logic.failures), timeout=WAIT_MS)
    assert "ended unexpectedly" in a_launched_logic.failures[0]
    qtbot.waitUntil(lambda: not is_alive(a_launched_logic.pids[0]), timeout=WAIT_MS)


def test_a_python_that_is_not_there_is_a_sentence(a_cold_logic: SimpleNamespace, tmp_path: Path, qtbot: object) -> None:
    a_cold_logic.logic.process._program = str(tmp_path / "nowhere")
    a_cold_logic.logic.ask("devices")
    qtbot.waitUntil(lambda: bool(a_cold_logic.failures), timeout=WAIT_MS)
    assert "could not be started" in a_cold_logic.failures[0]
    assert not a_cold_logic.logic.is_busy


def test_a_python_that_fails_at_once_says_its_last_words(
    a_cold_logic: SimpleNamespace, tmp_path: Path, qtbot: object
) -> None:
    a_cold_logic.logic.process._program = make_program(tmp_path, 'echo "libpython is missing" >&2; exit 1')
    a_cold_logic.logic.ask("devices")
    qtbot.waitUntil(lambda: bool(a_cold_logic.failures), timeout=WAIT_MS)
    assert "Its last words: libpython is missing" in a_cold_logic.failures[0]


def test_a_python_that_fails_within_its_start_is_one_sentence(
    a_cold_logic: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    import qt

    class FailsAtOnce(qt.QProcess):
        """As on Windows, where nothing is left for later."""

        def start(self, program: str, arguments: list[str]) -> None:
            self.setErrorString("no such file")
            self.errorOccurred.emit(qt.QProcess.FailedToStart)

    monkeypatch.setattr(qt, "QProcess", FailsAtOnce)
    a_cold_logic.logic.ask("devices")
    assert a_cold_logic.failures == [
        "The engine's process could not be started (no such file). Press Segment to try again."
    ]
    assert not a_cold_logic.logic.is_busy
    assert not a_cold_logic.logic.process.is_running


def test_a_process_is_qts_to_delete_and_is_deleted_after_its_end(
    a_cold_logic: SimpleNamespace, tmp_path: Path, qtbot: object
) -> None:
    deleted = []
    a_cold_logic.logic.process._program = make_program(tmp_path, "exit 1")
    a_cold_logic.logic.ask("devices")
    process = a_cold_logic.logic.process._process
    # PythonQt deletes an object without a parent when Python lets go of it, which is within its signal of the end.
    assert process.parent() is not None
    process.destroyed.connect(lambda *_: deleted.append(True))
    qtbot.waitUntil(lambda: bool(deleted), timeout=WAIT_MS)
    assert not a_cold_logic.logic.process.is_running


def test_without_slicers_python_it_is_said_what_to_do(
    a_cold_logic: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    a_cold_logic.logic.process._program = None
    a_cold_logic.logic.ask("devices")
    assert a_cold_logic.failures == ["PythonSlicer is not on the path of this Slicer; install Slicer again."]
    assert not a_cold_logic.logic.is_busy


def test_a_lack_of_memory_is_a_sentence_and_a_smaller_scan_works_after_it(
    a_cold_logic: SimpleNamespace, a_volume_node: Callable[..., object], tmp_path: Path, qtbot: object
) -> None:
    # The child may map 3 GiB: torch fits, what a scan of 500 million voxels needs does not.
    limited = f'ulimit -v 3145728; exec "{sys.executable}" "$@"'
    a_cold_logic.logic.process._program = make_program(tmp_path, limited)
    pids = []
    a_cold_logic.logic.process.received.connect(lambda words: pids.append(words["pid"]) if "pid" in words else None)
    large = a_volume_node(name="large", shape=(36, 50, 34))
    words = a_cold_logic.logic._files.hand_over({"mr": large}, a_cold_logic.logic.process.exchange_folder)
    path = a_cold_logic.logic.process.exchange_folder / "huge.npy"
    huge = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(1, 800, 800, 800))
    # The file stays sparse, but is no constant image.
    huge[0, :4] = np.random.default_rng(0).normal(100, 20, (800, 800))
    huge.flush()
    words["mr"]["data"] = path.name
    a_cold_logic.logic.ask("segment", task="hippocampus", images=words, weights="tiny", device="cpu")
    qtbot.waitUntil(lambda: bool(a_cold_logic.failures), timeout=WAIT_MS)
    assert "memory did not suffice" in a_cold_logic.failures[0]
    assert "--" not in a_cold_logic.failures[0]
    a_cold_logic.logic.segment("hippocampus", {"mr": large}, weights="tiny", device="cpu")
    qtbot.waitUntil(lambda: not a_cold_logic.logic.is_busy, timeout=WAIT_MS)
    assert len(a_cold_logic.reports) == 1
    assert len(pids) == 1


SLICER_THAT_DIES = """
import os, sys, time
sys.path[:0] = sys.argv[1:3]
from pathlib import Path
from PySide6.QtCore import QCoreApplication
from rig.application import install_python_side
install_python_side()
from OSSNetLib.engine_process import EngineProcess
application = QCoreApplication([])
process = EngineProcess(sys.executable)
process.received.connect(lambda words: print(words["pid"], process.exchange_folder, flush=True))
process.send("devices")
application.exec()
"""


def test_no_child_and_no_folder_outlives_a_slicer_that_is_killed(qtbot: object) -> None:
    command = [sys.executable, "-c", SLICER_THAT_DIES, str(TESTS), str(MODULE)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8") as parent:
        pid, folder = parent.stdout.readline().split()
        assert is_alive(int(pid))
        assert Path(folder).is_dir()
        parent.kill()
    qtbot.waitUntil(lambda: not is_alive(int(pid)), timeout=WAIT_MS)
    assert not Path(folder).exists()


def test_a_job_that_does_not_stop_is_ended_after_a_while(
    a_cold_logic: SimpleNamespace, a_volume_node: Callable[..., object], monkeypatch: pytest.MonkeyPatch, qtbot: object
) -> None:
    monkeypatch.setattr("OSSNetLib.logic.CANCEL_MS", 50)
    monkeypatch.setattr(EngineProcess, "cancel", lambda self, number: None)
    told = []
    a_cold_logic.logic.told.connect(lambda text, is_warning: told.append(text))
    a_cold_logic.logic.segment("hippocampus", {"mr": a_volume_node()}, weights="tiny", device="cpu")
    a_cold_logic.logic.cancel()
    qtbot.waitUntil(lambda: not a_cold_logic.logic.is_busy, timeout=WAIT_MS)
    assert a_cold_logic.cancelled == [True]
    assert not a_cold_logic.logic.process.is_running
    assert "did not stop" in told[0]
