"""One thread, one job after the other; late answers dropped, errors always told, generators closed where they ran."""

from __future__ import annotations

import threading
import time
from unittest.mock import MagicMock, create_autospec

import pytest

from napari_ossnet.engine.errors import EngineError, InputError
from napari_ossnet.engine.events import Message, Progress
from napari_ossnet.engine.session import SegmentationSession
from napari_ossnet.widget.job_runner import JobRunner
from napari_ossnet.widget.state import Job
from napari_ossnet.widget.store import Store
from napari_ossnet.widget.worker import Worker, as_worker_steps

pytestmark = pytest.mark.qt


class Heard:
    """What a job has told, and in which thread it was received."""

    def __init__(self) -> None:
        self.events, self.results, self.errors, self.stops = [], [], [], 0
        self.threads = set()

    def start(self, worker: Worker, make_steps) -> None:
        worker.start(
            make_steps,
            on_event=lambda event: (self.events.append(event), self.threads.add(threading.get_ident())),
            on_result=self.results.append,
            on_error=self.errors.append,
            on_stopped=self._stop,
        )

    def _stop(self) -> None:
        self.stops += 1


@pytest.fixture
def a_worker(qapp):
    worker = Worker()
    yield worker
    assert worker.shut_down()


def wait_for_stop(qtbot, heard: Heard) -> None:
    qtbot.waitUntil(lambda: heard.stops == 1, timeout=20_000)


def test_values_and_result_arrive_in_the_main_thread(a_worker, qtbot):
    heard, worked_in = Heard(), []

    def steps():
        worked_in.append(threading.get_ident())
        yield Message(text="one")
        yield Message(text="two")
        return 3

    heard.start(a_worker, steps)
    wait_for_stop(qtbot, heard)
    assert [event.text for event in heard.events] == ["one", "two"]
    assert heard.results == [3]
    assert heard.threads == {threading.get_ident()}
    assert worked_in[0] != threading.get_ident()


@pytest.mark.parametrize("error", [RuntimeError("CUDA out of memory"), ValueError("bad"), InputError("no")])
def test_every_error_is_told_and_the_job_ends(a_worker, qtbot, error):
    heard = Heard()

    def steps():
        yield None
        raise error

    with qtbot.capture_exceptions() as exceptions:
        heard.start(a_worker, steps)
        wait_for_stop(qtbot, heard)
    assert not exceptions
    (told,) = heard.errors
    assert str(error) in str(told)
    assert not isinstance(told, RuntimeError), "napari's workers would have kept silent about it"
    assert not a_worker.is_running


def test_a_runtime_error_becomes_an_engine_error_that_names_its_cause():
    def steps():
        yield 1
        raise RuntimeError("CUDA out of memory")

    received = as_worker_steps(steps)
    assert next(received) == 1
    with pytest.raises(EngineError, match="CUDA out of memory") as caught:
        next(received)
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_cancelling_closes_the_generator_in_its_own_thread(a_worker, qtbot):
    heard, threads, started = Heard(), {}, threading.Event()

    def steps():
        threads["ran"] = threading.get_ident()
        try:
            while True:
                started.set()
                yield Progress(stage="refining")
                time.sleep(0.001)
        finally:
            threads["closed"] = threading.get_ident()

    heard.start(a_worker, steps)
    qtbot.waitUntil(started.is_set, timeout=20_000)
    a_worker.cancel()
    wait_for_stop(qtbot, heard)
    assert threads["closed"] == threads["ran"]
    assert heard.results == []


def test_late_answers_of_an_earlier_job_are_dropped(a_worker, qtbot):
    first, second, go_on, started = Heard(), Heard(), threading.Event(), threading.Event()

    def slow():
        started.set()
        go_on.wait(20)
        yield Message(text="late")
        return "late"

    def quick():
        yield Message(text="new")
        return "new"

    first.start(a_worker, slow)
    qtbot.waitUntil(started.is_set, timeout=20_000)
    second.start(a_worker, quick)
    go_on.set()
    wait_for_stop(qtbot, second)
    assert (first.events, first.results, first.stops) == ([], [], 0)
    assert second.results == ["new"]


def test_jobs_share_one_thread(a_worker, qtbot):
    idents = []

    def steps():
        idents.append(threading.get_ident())
        yield None

    for _ in range(3):
        heard = Heard()
        heard.start(a_worker, steps)
        wait_for_stop(qtbot, heard)
    assert len(set(idents)) == 1


def test_progress_is_told_at_most_four_times_a_second(a_worker, qtbot):
    heard = Heard()

    def steps():
        begun = time.monotonic()
        while time.monotonic() - begun < 0.5:
            yield Progress(stage="refining")

    heard.start(a_worker, steps)
    wait_for_stop(qtbot, heard)
    assert 1 <= len(heard.events) <= 4


def test_background_jobs_give_way_to_a_run(a_worker, qtbot):
    store = Store()
    jobs = JobRunner(store, a_worker)
    go_on = threading.Event()

    def run():
        while not go_on.is_set():
            yield Progress(stage="refining")
        return 1

    def look():
        yield None

    results = MagicMock()
    assert jobs.start(Job.SEGMENT, run, on_result=results)
    assert not jobs.start(Job.DEVICES, look, on_result=results)
    assert store.state.job is Job.SEGMENT
    go_on.set()
    qtbot.waitUntil(lambda: store.state.job is Job.NONE, timeout=20_000)
    results.assert_called_once_with(1)


def test_a_session_is_called_as_its_contract_says(a_worker, qtbot, sphere):
    """A stand-in made from the contract: a call that the real session would refuse fails here."""
    from napari_ossnet.engine.tasks import get_task
    from napari_ossnet.widget.jobs import RunOptions, ScanMemory, ScanOrder, segment_steps
    from napari_ossnet.widget.layers import LayerSource, placement_of_scan

    session = create_autospec(SegmentationSession, instance=True, spec_set=True)
    session.segment.return_value = (_ for _ in ())
    volume = sphere.make_scan(sphere.affines["RAS"])
    placement = placement_of_scan(volume)
    source = LayerSource(
        name="scan",
        array=placement.to_layer(volume.data[0]),
        placement=placement,
        is_spacing_known=True,
        layer_id="1",
        data=volume.data,
        channel=0,
    )
    order = ScanOrder(task=get_task("hippocampus"), sources=(("mr", source),))
    steps = segment_steps(session, ScanMemory(), order, RunOptions(weights="w", device="cpu", threshold=0.4))
    with pytest.raises(AttributeError):
        # The stand-in's run ends without a result, which nothing can be made of.
        list(steps)
    (request,) = session.segment.call_args.args
    assert (request.task, request.weights, request.device, request.threshold) == ("hippocampus", "w", "cpu", 0.4)
    assert request.volume.shape == volume.shape


def test_a_pool_that_qt_has_taken_down_already_is_no_error(qtbot):
    sip = pytest.importorskip("PyQt6.sip")
    worker = Worker()
    sip.delete(worker._pool)
    assert worker.shut_down()
