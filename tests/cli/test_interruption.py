"""Ctrl-C and the end of a batch job, in a process of their own: the right exit code, nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_ossnet.engine.checkpoints import save_weights
from napari_ossnet.engine.model_card import ModelCard
from napari_ossnet.engine.networks.variants import build_network
from napari_ossnet.engine.tasks import TASKS

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has other signals")


@pytest.fixture
def a_long_run(tmp_path: Path, a_home: Path) -> Iterator[subprocess.Popen[str]]:
    """A run with the published schedule that has printed its first snapshot and has seconds to go."""
    task = TASKS["hippocampus"]
    network = build_network("c", task)
    card = ModelCard(name="slow", title="Slow", task=task, variant="c", network_config=network.config.to_dict())
    save_weights(a_home / "weights" / "slow.safetensors", network, card)
    scan = np.random.default_rng(0).normal(size=(48, 64, 48)).astype(np.float32)
    nib.save(nib.Nifti1Image(scan, np.eye(4)), tmp_path / "scan.nii")
    options = ["--weights", "slow", "--schedule", "published", "--progress", "json", "--device", "cpu"]
    command = [sys.executable, "-m", "napari_ossnet.cli", "segment", str(tmp_path / "scan.nii")]
    process = subprocess.Popen(
        [*command, "-o", str(tmp_path / "out" / "mask.nii.gz"), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        # A shell's background job ignores Ctrl-C and hands that on; the run under test must not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    assert process.stdout is not None
    for line in process.stdout:
        if '"refining"' in line:
            break
    yield process
    process.kill()
    process.communicate()


def test_ctrl_c_ends_with_130_and_leaves_no_file(a_long_run: subprocess.Popen[str], tmp_path: Path) -> None:
    a_long_run.send_signal(signal.SIGINT)
    _, said = a_long_run.communicate(timeout=60)
    assert a_long_run.returncode == 130
    assert said.strip() == "ossnet: Stopped; no file was left half-written."
    assert list(tmp_path.rglob("out/*")) == []


def test_sigterm_ends_the_run_and_leaves_no_file(a_long_run: subprocess.Popen[str], tmp_path: Path) -> None:
    a_long_run.terminate()
    a_long_run.communicate(timeout=60)
    assert a_long_run.returncode == 128 + signal.SIGTERM
    assert list(tmp_path.rglob("out/*")) == []
