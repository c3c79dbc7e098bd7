"""A budget is kept, measured in a process of its own, or refused before anything is done."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys

import pytest
import torch

from napari_ossnet.engine.errors import OutOfMemoryError
from napari_ossnet.engine.fields.memory_budget import check_budget, required_bytes, required_bytes_of_x
from napari_ossnet.engine.networks.oss_net import OSSNetConfig
from napari_ossnet.engine.networks.oss_net_x_config import XConfig
from napari_ossnet.engine.networks.variants import config_for_task
from napari_ossnet.engine.tasks import get_task

#: Prepares, encodes and asks a scan of random numbers, and prints peak memory above that with the scan loaded.
CHILD = """
import json, sys
import numpy as np
import torch
from napari_ossnet.engine.fields.build import build_field
from napari_ossnet.engine.host_memory import host_peak_bytes
from napari_ossnet.engine.networks.oss_net import OSSNet
from napari_ossnet.engine.networks.variants import build_network
from napari_ossnet.engine.tasks import get_task, prepare
from napari_ossnet.engine.volume import Volume

task = get_task(sys.argv[1])
network = build_network(sys.argv[3], task).eval()
shape = task.scan_shape or ((40, 50, 40) if task.name == 'hippocampus' else (160, 128, 96))
axes = np.diag([-1.0, -1.0, 1.0, 1.0]) if task.axes == "LPS" else np.eye(4)
data = np.zeros((len(task.modalities), *shape), np.float32)
for channel in data:
    for plane in channel:
        plane[:] = np.random.default_rng(0).random(plane.shape, np.float32)
volume = Volume(data=data, affine=axes, channel_names=task.modality_names, affine_codes=(1, 1))
before = host_peak_bytes()
steps = build_field(network, prepare(task, volume), device=torch.device("cpu"), memory_bytes=int(sys.argv[2]))
try:
    while True:
        next(steps)
except StopIteration as stop:
    field = stop.value
field.query(torch.rand(2**14, 3) * torch.tensor(task.grid_shape))
print(json.dumps(host_peak_bytes() - before))
"""


def config_for(channels: int, grid: tuple[int, int, int], widths: tuple[int, ...]) -> OSSNetConfig:
    return OSSNetConfig(
        in_channels=channels,
        grid_shape=grid,
        encoder_channels=widths,
        has_local_patches=True,
        has_mid_range_patches=False,
        has_encoder_skips=True,
    )


BRATS = config_for(4, (256, 256, 160), (16, 32, 64, 128))
LITS = config_for(1, (512, 512, 512), (8, 16, 32, 64, 128))
HIPPOCAMPUS = config_for(1, (48, 64, 48), (64, 128))
OSS_NET_C = {"brats": BRATS, "lits": LITS, "hippocampus": HIPPOCAMPUS}


def budget_of_x(task: str) -> int:
    shape = get_task(task).grid_shape
    config = XConfig.from_dict(config_for_task("x", get_task(task)))
    return required_bytes_of_x(config, shape, 4 * config.in_channels * math.prod(shape))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="resident memory means something else on other systems")
@pytest.mark.parametrize(
    ("variant", "task", "compiled"),
    # On the small grid fixed costs are nearly all there is.
    [
        ("c", "brats", "1"), ("c", "lits", "1"), ("c", "hippocampus", "1"),
        ("x", "brats", "1"), ("x", "lits", "1"), ("x", "hippocampus", "1"), ("x", "brats", "0"),
    ],
)  # fmt: skip
def test_a_whole_scan_stays_within_what_was_foretold(
    variant: str, task: str, compiled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if compiled == "1":
        pytest.importorskip("numba")
    monkeypatch.setenv("OSSNET_COMPILED", compiled)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    budget = required_bytes(OSS_NET_C[task]) if variant == "c" else budget_of_x(task)
    torch.set_num_threads(threads)
    child = subprocess.run(
        [sys.executable, "-c", CHILD, task, str(budget), variant],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=500,
        env={**os.environ, "OMP_NUM_THREADS": "2"},
    )
    assert child.returncode == 0, child.stderr
    assert json.loads(child.stdout) <= 1.1 * budget


def test_the_targets_are_foretold_to_be_met(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    monkeypatch.setenv("OSSNET_COMPILED", "1")
    assert required_bytes(BRATS) < 0.6e9
    assert required_bytes(LITS) < 1.2e9


def test_a_budget_that_can_not_be_kept_is_refused_with_what_it_takes() -> None:
    with pytest.raises(OutOfMemoryError, match=r"takes about .* --memory allows 64.0 MiB"):
        check_budget(required_bytes(BRATS), 64 * 2**20)
    check_budget(required_bytes(BRATS), None)
    check_budget(required_bytes(BRATS), 2**30)
