"""Memory follows the surface: measured in a process of its own, whose peak nothing else has raised."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

SCRIPT = """
import json, sys
import numpy as np
import torch
from napari_ossnet.engine.geometry import Lattice
from napari_ossnet.engine.host_memory import host_peak_bytes
from napari_ossnet.engine.refining.known_points import KnownPoints
from napari_ossnet.engine.refining.refinement import refine

class Ball:
    device, class_count, bytes_per_location = torch.device("cpu"), 1, 64
    def __init__(self, radius):
        self.radius = radius
    def query(self, locations):
        return (self.radius - (locations - 256.0).norm(dim=1))[:, None]
    def prior(self, locations):
        return torch.zeros(len(locations), dtype=torch.bool)

size, factor, radius = json.loads(sys.argv[1])
scan = Lattice(shape=(512,) * 3, to_grid=np.eye(4), affine=np.eye(4))
low, high = (512 - size) // 2, (512 + size) // 2
lattice = scan.region((low,) * 3, (high,) * 3, factor)
before = host_peak_bytes()
steps = refine(Ball(radius), lattice, chunk_size=4096, known=KnownPoints())
while True:
    try:
        next(steps)
    except StopIteration as stop:
        refined = stop.value
        break
print(json.dumps([host_peak_bytes() - before, int(refined.labels.sum()), refined.evaluated_locations]))
"""


def peak_of(size: int, factor: float, radius: float) -> tuple[int, int, int]:
    """Bytes above the start, occupied points, evaluated locations."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps([size, factor, radius])], capture_output=True, text=True, check=True
    )
    return tuple(json.loads(done.stdout))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the peak of a process is told reliably on POSIX only")
def test_a_small_box_of_a_large_scan_at_factor_eight_needs_little():
    peak, occupied, _ = peak_of(32, 8, 10.0)

    assert occupied == pytest.approx(4 / 3 * 3.14159 * 80.0**3, rel=0.001)
    # The box has 256^3 fine voxels: 17 MB as labels, 67 MB as float32.
    assert peak < 200e6


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the peak of a process is told reliably on POSIX only")
def test_beside_the_labels_memory_does_not_grow_with_the_box():
    small, _, _ = peak_of(32, 8, 10.0)
    large, _, _ = peak_of(64, 8, 10.0)

    # Eight times the voxels around the same ball: labels of 134 MB instead of 17, and an eighth more on the way there.
    assert large - small < 1.5 * (512**3 - 256**3)
