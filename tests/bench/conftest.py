"""A small brain task with its own C and a scan for it: everything in milliseconds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_ossnet.bench.networks import Contender
from napari_ossnet.bench.scans import BenchScan, bench_scan
from napari_ossnet.engine.checkpoints import save_weights
from napari_ossnet.engine.checksums import sha256_of
from napari_ossnet.engine.model_card import ModelCard
from napari_ossnet.engine.networks.oss_net import OSSNet
from napari_ossnet.engine.networks.variants import build_network_from_config, config_for_task
from napari_ossnet.engine.tasks import TASKS, PreparedVolume, prepare
from napari_ossnet.engine.volume import Volume

SIZE = 32


@pytest.fixture
def a_contender(tmp_path: Path) -> Contender:
    """An OSS-Net C of few parameters whose mask is neither empty nor full."""
    shape = (SIZE, SIZE, SIZE)
    task = replace(
        TASKS["brats"],
        name="small",
        grid_shape=shape,
        scan_shape=None,
        placement="centre",
        axes="RAS",
        latent_grid=(8, 8, 8),
    )
    config = config_for_task("c", task) | {"encoder_channels": [2], "decoder_features": 8, "decoder_blocks": 2}
    torch.manual_seed(9)
    network = build_network_from_config("c", config)
    assert isinstance(network, OSSNet)
    card = ModelCard(name="small", title="Small", task=task, variant="c", network_config=config)
    path = tmp_path / "small.safetensors"
    save_weights(path, network, card)
    return Contender(variant="c", task="small", path=path, name="small", sha256=sha256_of(path))


@pytest.fixture
def a_scan() -> BenchScan:
    """Four channels of a bright cube in noise, a little smaller than the grid."""
    data = np.random.default_rng(7).normal(size=(4, 30, 28, 26)).astype(np.float32) * 40
    data[:, 4:-4, 4:-4, 4:-4] += 300
    volume = Volume(data=data, affine=np.eye(4), channel_names=("flair", "t1", "t1ce", "t2"))
    return bench_scan("small", volume, 22 * 20 * 18)


@pytest.fixture
def a_prepared_scan(a_contender: Contender, a_scan: BenchScan) -> PreparedVolume:
    from napari_ossnet.engine.model_card import read_card

    return prepare(read_card(a_contender.path).task, a_scan.volume)
