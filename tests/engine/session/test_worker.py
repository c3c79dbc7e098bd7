"""The engine as a child process: a command has one answer, a cancel is heard at once, nothing outlives the parent."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from napari_ossnet.engine.errors import DeviceError
from napari_ossnet.engine.events import Progress
from napari_ossnet.engine.exchange import Exchange
from napari_ossnet.engine.session import SegmentationSession
from napari_ossnet.engine.worker import Worker

WAIT_S = 120


class Pipe:
    """Lines that are written one by one and read as they come."""

    def __init__(self):
        self._reader, self._writer = os.pipe()
        self.lines = os.fdopen(self._reader, "r", encoding="utf-8")

    def send(self, **words):
        os.write(self._writer, json.dumps(words).encode() + b"\n")

    def close(self):
        os.close(self._writer)
        self.lines.close()


class EndlessSession:
    """A session whose runs go on until they are closed."""

    result = None

    def __init__(self):
        self.closed = 0

    def segment(self, request):
        try:
            while True:
                time.sleep(0.001)
                yield Progress(stage="refining")
        finally:
            self.closed += 1


@pytest.fixture
def a_command(a_volume, tmp_path):
    """A segment command for a scan that lies in the exchange folder."""
    data = Exchange(tmp_path).put("image", a_volume.data)
    image = {"data": data, "affine": a_volume.affine.tolist(), "channels": ["mr"]}
    return {"command": "segment", "task": "hippocampus", "images": {"mr": image}, "device": "cpu"}


@pytest.fixture
def no_sudden_end(monkeypatch):
    """The worker ends its process some time after its commands; here that is the tests' own."""
    monkeypatch.setattr("napari_ossnet.engine.worker.os._exit", lambda code: None)


def serve(folder, commands, session=None):
    """What a worker says to commands that are followed by ``quit``."""
    output = io.StringIO()
    lines = [json.dumps(command) if isinstance(command, dict) else command for command in commands]
    text = "\n".join([*lines, '{"command": "quit"}'])
    Worker(Exchange(folder), output, session).run(io.StringIO(text))
    return [json.loads(line) for line in output.getvalue().splitlines()]


def answers_to(number, said):
    return [words for words in said if words.get("id") == number]


def run_in_turn(folder, commands, session):
    """What a worker says to commands of which each waits for the one before."""
    pipe, output = Pipe(), io.StringIO()
    worker = threading.Thread(target=Worker(Exchange(folder), output, session).run, args=(pipe.lines,), daemon=True)
    worker.start()
    try:
        for number, command in enumerate(commands):
            pipe.send(**command, id=number)
            wait_for(lambda number=number: any(is_end(words) for words in answers_to(number, heard(output))))
    finally:
        pipe.send(command="quit")
        worker.join(WAIT_S)
        pipe.close()
    assert not worker.is_alive()
    return heard(output)


def heard(output):
    return [json.loads(line) for line in output.getvalue().split("\n")[:-1]]


def is_end(words):
    return words["event"] in ("done", "result", "failed", "cancelled")


def wait_for(is_so):
    deadline = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.usefixtures("no_sudden_end")
class TestProtocol:
    def test_it_says_who_it_is(self, tmp_path):
        (ready,) = serve(tmp_path, [])
        assert (ready["event"], ready["pid"]) == ("ready", os.getpid())

    def test_what_is_no_command_is_said_and_the_next_one_is_served(self, tmp_path):
        said = serve(tmp_path, ["", "no json", '["list"]', '{"id": 3}', {"command": "dance", "id": 4}])
        assert [words["event"] for words in answers_to(None, said) if words["event"] == "failed"] == ["failed"] * 3
        (failed,) = answers_to(4, said)
        assert "There is no command 'dance'" in failed["text"]

    def test_a_missing_word_is_an_answer_too(self, tmp_path):
        (failed,) = answers_to(1, serve(tmp_path, [{"command": "rethreshold", "id": 1}]))
        assert failed["event"] == "failed"

    def test_nothing_can_be_exported_refined_or_moved_before_a_run(self, tmp_path):
        commands = [
            {"command": "export", "path": str(tmp_path / "mask.nii.gz")},
            {"command": "refine_region", "start": [0, 0, 0], "stop": [4, 4, 4], "factor": 2},
            {"command": "rethreshold", "threshold": 0.4},
        ]
        said = run_in_turn(tmp_path, commands, SegmentationSession())
        assert [words["text"].endswith("segment a scan first.") for words in said if is_end(words)] == [True] * 3


@pytest.mark.usefixtures("no_sudden_end")
class TestRuns:
    def test_a_run_streams_and_ends_with_one_result(self, tmp_path, a_command, a_session):
        said = run_in_turn(tmp_path, [a_command], a_session)
        events = [words["event"] for words in answers_to(0, said)]
        assert events.count("snapshot") == 3
        assert events[-1] == "result"
        assert sum(is_end(words) for words in said) == 1

    def test_the_same_scan_is_encoded_once(self, tmp_path, a_command, a_session, an_encoder):
        run_in_turn(tmp_path, [a_command, {**a_command, "threshold": 0.6}], a_session)
        assert len(an_encoder.fields) == 1

    def test_another_scan_is_encoded_anew(self, tmp_path, a_command, a_volume, a_session, an_encoder):
        other = {**a_command["images"]["mr"], "data": Exchange(tmp_path).put("other", a_volume.data + 1)}
        run_in_turn(tmp_path, [a_command, {**a_command, "images": {"mr": other}}], a_session)
        assert len(an_encoder.fields) == 2

    def test_without_a_live_preview_no_snapshot_is_written(self, tmp_path, a_command, a_session):
        said = run_in_turn(tmp_path, [{**a_command, "is_live": False}], a_session)
        assert "snapshot" not in {words["event"] for words in said}

    def test_threshold_and_region_go_on_from_the_result(self, tmp_path, a_command, a_session, an_encoder):
        region = {"command": "refine_region", "start": [10, 10, 10], "stop": [20, 20, 20], "factor": 2}
        said = run_in_turn(tmp_path, [a_command, {"command": "rethreshold", "threshold": 0.9}, region], a_session)
        whole, higher, fine = [words for words in said if words["event"] == "result"]
        assert higher["report"]["volume_ml"] < whole["report"]["volume_ml"]
        assert Exchange(tmp_path).get(fine["labels"]).shape == (20, 20, 20)
        assert len(an_encoder.fields) == 1

    @pytest.mark.parametrize("name", ["mask.nii.gz", "surface.stl", "report.json", "report.html"])
    def test_a_result_is_exported_by_its_suffix(self, tmp_path, a_command, a_session, name):
        path = tmp_path / name
        said = run_in_turn(tmp_path, [a_command, {"command": "export", "path": str(path)}], a_session)
        assert said[-1] == {"event": "done", "path": str(path), "id": 1}
        assert path.stat().st_size > 0

    def test_released_the_scan_is_forgotten(self, tmp_path, a_command, a_session, an_encoder):
        run_in_turn(tmp_path, [a_command, {"command": "release"}, a_command], a_session)
        assert len(an_encoder.fields) == 2


@pytest.mark.usefixtures("no_sudden_end")
class TestFailures:
    @pytest.mark.parametrize(
        ("failure", "kind"),
        [
            (MemoryError(), "OutOfMemoryError"),
            (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "OutOfMemoryError"),
            (DeviceError("There is no cuda:7."), "DeviceError"),
            (ImportError("No module named 'torch'"), "ImportError"),
            (ZeroDivisionError(), "ZeroDivisionError"),
        ],
    )
    def test_a_failure_is_a_sentence_and_the_next_run_works(
        self, tmp_path, a_command, a_session, monkeypatch, failure, kind
    ):
        def fail(request):
            raise failure
            yield

        with monkeypatch.context() as broken:
            broken.setattr(a_session, "segment", fail)
            (failed,) = [words for words in run_in_turn(tmp_path, [a_command], a_session) if is_end(words)]
        assert (failed["event"], failed["kind"]) == ("failed", kind)
        assert "Traceback" not in failed["text"]
        assert run_in_turn(tmp_path, [a_command], a_session)[-1]["event"] == "result"


@pytest.mark.usefixtures("no_sudden_end")
class TestCancel:
    def test_it_is_heard_at_once_and_closes_the_run(self, tmp_path, a_command):
        session, pipe, output = EndlessSession(), Pipe(), io.StringIO()
        worker = threading.Thread(target=Worker(Exchange(tmp_path), output, session).run, args=(pipe.lines,))
        worker.start()
        pipe.send(**a_command, id=1)
        wait_for(lambda: "progress" in output.getvalue())
        pipe.send(command="cancel", id=1)
        wait_for(lambda: heard(output)[-1]["event"] == "cancelled")
        assert {"event": "cancelling", "id": 1} in heard(output)
        assert session.closed == 1
        pipe.send(command="quit")
        worker.join(WAIT_S)
        pipe.close()
        assert not worker.is_alive()

    def test_a_job_that_waits_its_turn_is_cancelled_before_it_starts(self, tmp_path, a_command):
        session = EndlessSession()
        commands = [{**a_command, "id": 1}, {**a_command, "id": 2}]
        said = serve(tmp_path, [*commands, {"command": "cancel", "id": 2}, {"command": "cancel", "id": 1}], session)
        assert [words["id"] for words in said if words["event"] == "cancelled"] == [1, 2]


def start_worker(folder, *options):
    command = [sys.executable, "-m", "napari_ossnet.engine.worker", "--exchange", str(folder), *options]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8")


class TestProcess:
    def test_when_the_parent_is_gone_it_ends_and_takes_its_folder_along(self, tmp_path):
        folder = tmp_path / "exchange"
        folder.mkdir()
        np.save(folder / "scan.npy", np.zeros(3))
        with start_worker(folder, "--own-exchange") as process:
            assert json.loads(process.stdout.readline())["event"] == "ready"
            process.stdin.close()
            assert process.wait(WAIT_S) == 0
        assert not folder.exists()

    def test_a_folder_that_is_not_its_own_stays(self, tmp_path):
        with start_worker(tmp_path) as process:
            process.stdout.readline()
            process.stdin.close()
            assert process.wait(WAIT_S) == 0
        assert Path(tmp_path).is_dir()

    def test_quit_ends_it_and_leaves_the_folder_to_the_parent(self, tmp_path):
        with start_worker(tmp_path, "--own-exchange") as process:
            process.stdin.write('{"command": "quit"}\n')
            process.stdin.flush()
            assert process.wait(WAIT_S) == 0
        assert tmp_path.is_dir()
