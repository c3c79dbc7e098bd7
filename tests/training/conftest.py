"""A data set, a recipe and a run that are tiny enough to train in a second or two."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

AFFINE = np.diag([1.0, 1.0, 1.0, 1.0])

RECIPE = """
task = "hippocampus"
variant = "x"
epochs = 3
batch_size = 2
device = "cpu"
checkpoint_seconds = 1

[geometry]
grid_shape = [16, 16, 16]
latent_grid = [2, 2, 2]

[network]
local_channels = [[4, 4]]
stem_channels = [8]
level_channels = [8, 8]
down_convolutions = [1, 1]
up_convolutions = [1]
groups = 4
decoder_width = 8
decoder_blocks = 1

[data]
validation_fraction = 0.34

[sampling]
strategy = "border"
locations = 64
border_voxels = 1

[optimiser]
learning_rate = 1e-3
lookahead_steps = 2
average_decay = 0.9

[augmentation]
probability = 1.0
flip_axes = [0]
rotation_degrees = 5.0
noise = 0.1

[validation]
every_epochs = 1
protocol = "sampled"
locations = 256
"""


def write_case(root: Path, name: str, seed: int, *, label: np.ndarray | None = None) -> None:
    """An image with two bright blocks and their label, 16 x 17 x 16 voxels."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((16, 17, 16), dtype=np.uint8)
    i, j, k = (int(n) for n in rng.integers(2, 5, 3))
    truth[i : i + 6, j : j + 4, k : k + 5] = 1
    truth[i : i + 6, j + 4 : j + 8, k : k + 5] = 2
    image = rng.normal(0, 0.2, truth.shape).astype(np.float32) + truth
    for folder, data in (("images", image), ("labels", truth if label is None else label)):
        (root / folder).mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(data, AFFINE), root / folder / f"{name}.nii.gz")


@pytest.fixture
def a_case_writer() -> Callable[..., None]:
    return write_case


@pytest.fixture
def a_data_set(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    for number in range(6):
        write_case(root, f"case_{number}", number)
    return root


@pytest.fixture
def a_recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE, encoding="utf-8")
    return path
