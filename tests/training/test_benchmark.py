"""Both sides of the benchmark do the same work, and it reports their ratio."""

from __future__ import annotations

import re

import pytest
from ossnet_training.benchmark import Load, compare_throughput, fit_steps, published_steps

LOAD = Load(task="hippocampus", locations=32, batch=2, steps=1, workers=0)


@pytest.mark.parametrize("steps", [fit_steps, published_steps])
def test_a_side_does_as_many_steps_as_it_is_asked_for(steps) -> None:
    assert len(list(steps(LOAD))) == LOAD.steps + 1


@pytest.mark.slow
def test_the_ratio_is_that_of_the_two_throughputs() -> None:
    *_, published, ours, ratio = compare_throughput(task="hippocampus", locations=32, batch=1, steps=1, workers=1)
    rates = [float(re.search(r"([\d,]+) locations/s", line)[1].replace(",", "")) for line in (published, ours)]
    assert float(ratio.split()[1]) == pytest.approx(rates[1] / rates[0], rel=0.1, abs=0.1)
    assert "GiB" in published
