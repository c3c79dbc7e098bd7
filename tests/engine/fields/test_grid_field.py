"""A dense network's logits as a field."""

from __future__ import annotations

import numpy as np
import torch

from napari_ossnet.engine.fields.grid import GridField
from napari_ossnet.engine.fields.protocol import OccupancyField


def test_at_voxels_it_gives_the_networks_own_logits() -> None:
    logits = torch.randn(3, 4, 5, 6)
    field = GridField(logits)
    assert isinstance(field, OccupancyField)
    voxels = torch.tensor(list(np.ndindex(4, 5, 6)), dtype=torch.float32)
    torch.testing.assert_close(field.query(voxels), logits.flatten(1).T)
    assert field.prior(voxels) is None


def test_between_voxels_it_is_trilinear_and_outside_it_goes_on_as_at_the_border() -> None:
    logits = torch.randn(1, 4, 5, 6)
    found = GridField(logits).query(torch.tensor([[1.5, 2.0, 3.25], [-3.0, 9.0, 2.0]]))
    expected = (0.75 * (logits[0, 1, 2, 3] + logits[0, 2, 2, 3]) + 0.25 * (logits[0, 1, 2, 4] + logits[0, 2, 2, 4])) / 2
    torch.testing.assert_close(found[0, 0], expected)
    torch.testing.assert_close(found[1, 0], logits[0, 0, 4, 2])
