"""Chunks: their size must not matter to the result, progress must flow, memory may run out."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from napari_ossnet.engine.errors import EngineError, OutOfMemoryError
from napari_ossnet.engine.events import Message, Progress
from napari_ossnet.engine.refining.point_evaluation import SMALLEST_CHUNK
from napari_ossnet.engine.refining.refinement import refine


class TightField:
    """A field whose device holds only so many locations at a time."""

    def __init__(self, field, most: int) -> None:
        self.field, self.most = field, most
        self.device, self.class_count, self.bytes_per_location = field.device, field.class_count, 1

    def query(self, locations):
        if len(locations) > self.most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return self.field.query(locations)

    def prior(self, locations):
        return None


@pytest.fixture
def a_ball(formulas):
    return formulas.field(formulas.sphere((33.3, 28.1, 25.7), 17.4))


def test_small_chunks_give_the_mask_of_one_large_chunk(a_ball, a_lattice, formulas):
    _, whole = formulas.run(refine(a_ball, a_lattice, chunk_size=10**6))

    _, chunked = formulas.run(refine(a_ball, a_lattice, chunk_size=97))

    assert torch.equal(whole.labels, chunked.labels)
    assert whole.evaluated_locations == chunked.evaluated_locations
    assert max(a_ball.chunks[-20:]) <= 97


def test_progress_counts_up_to_what_was_evaluated(a_ball, a_lattice, formulas):
    events, refined = formulas.run(refine(a_ball, a_lattice, chunk_size=200))

    progress = [event for event in events if isinstance(event, Progress)]
    done = [event.points_done for event in progress]
    assert done == sorted(done)
    assert done[-1] == refined.evaluated_locations
    assert all(event.points_total >= event.points_done for event in progress)
    assert progress[-1].points_total == refined.evaluated_locations
    assert progress[-1].remaining_s == 0
    assert {event.step for event in progress} == {event.step for event in formulas.snapshots_of(events)}


def test_the_forecast_of_points_is_of_the_right_size(formulas):
    field = formulas.field(formulas.sphere((60.0, 62.0, 58.0), 35.0))

    events, refined = formulas.run(refine(field, formulas.lattice(128, 128, 128)))

    halfway = next(event for event in events if isinstance(event, Progress) and event.step == 4)
    assert 0.5 < halfway.points_total / refined.evaluated_locations < 2


def test_chunks_shrink_where_the_field_is_slow(a_lattice, formulas):
    ball = formulas.sphere((33.3, 28.1, 25.7), 17.4)

    def slow(locations):
        time.sleep(2e-4 * len(locations))
        return ball(locations)

    field = formulas.field(slow)
    steps = refine(field, a_lattice, chunk_size=10**6)
    for _ in range(6):
        next(steps)

    assert max(field.chunks[1:]) <= 600


def test_memory_that_runs_out_is_met_with_smaller_chunks_and_a_message(a_ball, a_lattice, formulas):
    field = TightField(a_ball, 150)

    events, refined = formulas.run(refine(field, a_lattice, chunk_size=512))

    messages = [event for event in events if isinstance(event, Message)]
    assert len(messages) == 2
    assert all("Memory ran out" in message.text and message.level == "warning" for message in messages)
    assert np.array_equal(refined.labels.numpy(), formulas.exhaustive(a_ball, a_lattice))


def test_a_small_rest_that_fails_once_is_tried_again(a_ball, a_lattice, formulas):
    class Unlucky(TightField):
        has_failed = False

        def query(self, locations):
            if len(locations) < SMALLEST_CHUNK and not self.has_failed:
                self.has_failed = True
                raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return super().query(locations)

    field = Unlucky(a_ball, 10**6)

    _, refined = formulas.run(refine(field, a_lattice, chunk_size=500))

    assert field.has_failed
    assert np.array_equal(refined.labels.numpy(), formulas.exhaustive(a_ball, a_lattice))


def test_memory_for_nothing_at_all_offers_the_cpu(a_ball, a_lattice, formulas):
    with pytest.raises(OutOfMemoryError, match="--device cpu"):
        formulas.run(refine(TightField(a_ball, SMALLEST_CHUNK // 2), a_lattice))


def test_logits_that_are_not_numbers_are_refused(a_lattice, formulas):
    field = formulas.field(lambda locations: torch.where(locations[:, 0] > 30, torch.nan, 1.0))

    with pytest.raises(EngineError, match="not numbers"):
        formulas.run(refine(field, a_lattice))


def test_closing_a_run_leaves_the_last_snapshot_as_it_was(a_ball, a_lattice, formulas):
    steps = refine(a_ball, a_lattice, chunk_size=100)
    snapshot = None
    while snapshot is None:
        snapshot = next(iter(formulas.snapshots_of([next(steps)])), None)
    labels = snapshot.labels.clone()
    for _ in range(5):
        next(steps)

    steps.close()

    assert torch.equal(snapshot.labels, labels)
    truth = formulas.exhaustive(a_ball, a_lattice)
    step = snapshot.step
    assert np.array_equal(labels.numpy(), truth[::step, ::step, ::step])
