"""What a run costs: its memory is that of its steps."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ossnet_training.callbacks import Clock
from ossnet_training.config import Recipe
from ossnet_training.costs import KeepCosts
from ossnet_training.run_folder import RunFolder

from napari_ossnet.engine.host_memory import host_peak_bytes


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can count a process's peak anew")
def test_memory_of_the_time_before_the_first_step_and_of_validation_is_not_counted(tmp_path: Path) -> None:
    costs = KeepCosts(RunFolder(path=tmp_path), Clock(Recipe(task="brats"), 1))
    trainer, on_cpu = SimpleNamespace(is_global_zero=False), SimpleNamespace(device=torch.device("cpu"))
    for begin in (costs.on_train_start, costs.on_validation_end):
        taken = np.ones(2**28, dtype=np.uint8)
        del taken
        peak = host_peak_bytes()
        begin(trainer, on_cpu)
        costs.on_validation_start(trainer, on_cpu)
        assert 2**26 < costs.state_dict()["peak_bytes"] < peak - 2**27
    taken = np.ones(2**28, dtype=np.uint8)
    del taken
    costs.on_train_end(trainer, on_cpu)
    assert costs.state_dict()["peak_bytes"] > peak - 2**26
