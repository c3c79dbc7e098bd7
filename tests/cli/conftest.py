"""A small brain task with its own weights, small scans for it, and the command line in process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from napari_ossnet import cli
from napari_ossnet.engine.checkpoints import save_weights
from napari_ossnet.engine.model_card import ModelCard
from napari_ossnet.engine.networks.variants import build_network_from_config, config_for_task
from napari_ossnet.engine.tasks import TASKS, Task

MODALITIES = ("flair", "t1", "t1ce", "t2")
SHAPE = (30, 28, 26)
#: LAS, one axis flipped against the task's RAS, away from the origin.
AFFINE = np.array([[-1.0, 0, 0, 40], [0, 1, 0, -30], [0, 0, 1, 15], [0, 0, 0, 1]])


@dataclass(frozen=True)
class Outcome:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """The error, which must be one line without a traceback."""
        lines = self.err.strip().splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("ossnet: ")
        assert lines[0].endswith(".")
        return lines[0]


@pytest.fixture
def ossnet(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """The command line, run in this process."""

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = cli.main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return Outcome(code, said.out, said.err)

    return run


def small_task(name: str, size: int) -> Task:
    """The brain tumour task on a small grid."""
    shape = (size, size, size)
    small = {"grid_shape": shape, "scan_shape": None, "placement": "centre", "axes": "RAS", "latent_grid": (8, 8, 8)}
    return replace(TASKS["brats"], name=name, **small)


def save_small_weights(path: Path, task: Task, seed: int = 9) -> Path:
    """Untrained weights of few parameters; with this seed three quarters of the small scan are object."""
    blocks = [2] * (task.grid_shape[0] // 2 // task.latent_grid[0]).bit_length()
    config = config_for_task("c", task)
    config |= {"encoder_channels": blocks[1:], "decoder_features": 8, "decoder_blocks": 2}
    torch.manual_seed(seed)
    card = ModelCard(
        name=path.stem, title="Small", task=task, variant="c", network_config=config, citation="Nobody 2021"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    save_weights(path, build_network_from_config("c", config), card)
    return path


@pytest.fixture
def small_weights(a_home: Path) -> Path:
    """Weights for the task ``small`` in the catalogue."""
    return save_small_weights(a_home / "weights" / "small.safetensors", small_task("small", 32))


def write_images(folder: Path, shape: tuple[int, int, int] = SHAPE, prefix: str = "case1") -> dict[str, Path]:
    """Four modalities of a smooth random scan."""
    rng = np.random.default_rng(7)
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for modality in MODALITIES:
        data = rng.normal(size=shape).astype(np.float32) * 40
        data[4:-4, 4:-4, 4:-4] += 300
        paths[modality] = folder / f"{prefix}_{modality}.nii.gz"
        nib.save(nib.Nifti1Image(data, AFFINE), paths[modality])
    return paths


@pytest.fixture
def some_images(tmp_path: Path) -> dict[str, Path]:
    return write_images(tmp_path / "images")
