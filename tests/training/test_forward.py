"""What a training pass gives is what the network answers at the drawn locations."""

from __future__ import annotations

import torch
from ossnet_training.forward import training_logits
from ossnet_training.sampling import Draw

from napari_ossnet.engine.networks.variants import build_network_from_config, config_for_task
from napari_ossnet.engine.tasks import get_task


def test_a_u_net_on_boxes_answers_as_on_volumes_of_their_size() -> None:
    torch.manual_seed(0)
    network = build_network_from_config("unet-3d", config_for_task("unet-3d", get_task("hippocampus")))
    network.eval()
    grids = torch.randn(2, 1, 40, 36, 44)
    boxes = torch.tensor([[[0, 3, 5], [20, 11, 9]], [[8, 8, 8], [24, 20, 28]]])
    offsets = torch.randint(16, (2, 2, 30, 3))
    draws = [
        Draw(indices=(some[:, None] + offset).flatten(0, 1), boxes=some)
        for some, offset in zip(boxes, offsets, strict=True)
    ]

    with torch.no_grad():
        answer = training_logits(network, grids, draws, [None, None], 16).logits

        for grid, some, offset, found in zip(grids, boxes, offsets, answer.unflatten(1, (2, 30)), strict=True):
            for (i, j, k), inside, logits in zip(some.tolist(), offset, found, strict=True):
                alone = network(grid[None, :, i : i + 16, j : j + 16, k : k + 16])[0]
                torch.testing.assert_close(logits, alone[:, *inside.T].T, atol=1e-5, rtol=1e-4)
