"""The state of a finer step, made a few planes at a time, against the definition sample by sample."""

from __future__ import annotations

import pytest
import torch

from napari_ossnet.engine.refining.level_grid import LevelGrid
from napari_ossnet.engine.refining.sample_prediction import upsampled_state

KNOWN = 0x80
LABEL = 0x7F


@pytest.mark.parametrize(
    ("shape", "coarse_steps", "fine_steps"),
    [
        ((41, 38, 35), (2, 2, 2), (1, 1, 1)),
        ((40, 37, 36), (2, 2, 2), (1, 1, 1)),
        ((65, 10, 9), (2, 2, 1), (1, 1, 1)),
        ((33, 30, 31), (1, 4, 2), (1, 2, 1)),
        ((129, 5, 1), (4, 2, 1), (2, 1, 1)),
        ((32, 2, 2), (2, 2, 2), (1, 1, 1)),
    ],
)
def test_every_finer_sample_has_the_label_of_the_coarse_one_below_it(shape, coarse_steps, fine_steps):
    coarse = LevelGrid(lattice_shape=shape, steps=coarse_steps)
    fine = LevelGrid(lattice_shape=shape, steps=fine_steps)
    state = torch.randint(0, 256, (coarse.count,), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

    found = upsampled_state(state, coarse, fine, LABEL)

    points = fine.points_of(torch.arange(fine.count))
    last = torch.tensor(shape) - 1
    steps = torch.tensor(coarse_steps)
    below = torch.where(points == last, torch.tensor(coarse.shape) - 1, points // steps)
    is_coarse = ((points == last) | (points % steps == 0)).all(dim=1)
    expected = state[coarse.keys_of(below)]
    assert torch.equal(found, torch.where(is_coarse, expected, expected & LABEL))
