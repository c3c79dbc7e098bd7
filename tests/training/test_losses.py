"""Losses against their definitions written out."""

from __future__ import annotations

import torch
from ossnet_training.losses import (
    auxiliary_loss,
    dice_loss,
    occupancy_loss,
    occupied_cells,
    padded_to_cells,
    predicted_classes,
)
from torch.nn import functional


def test_one_logit_means_binary_cross_entropy() -> None:
    logits = torch.tensor([[[0.3], [-1.2]]])
    classes = torch.tensor([[2, 0]], dtype=torch.uint8)
    expected = -(torch.log(torch.sigmoid(torch.tensor(0.3))) + torch.log(1 - torch.sigmoid(torch.tensor(-1.2)))) / 2
    torch.testing.assert_close(occupancy_loss(logits, classes), expected)


def test_several_logits_mean_softmax_cross_entropy() -> None:
    logits = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    classes = torch.tensor([[0, 1, 2, 1, 0], [2, 2, 1, 0, 1]], dtype=torch.uint8)
    picked = logits.log_softmax(-1).gather(-1, classes.long()[..., None])
    torch.testing.assert_close(occupancy_loss(logits, classes), -picked.mean())


def test_a_cell_is_occupied_where_any_of_its_voxels_is() -> None:
    label = torch.zeros((2, 8, 8, 6), dtype=torch.uint8)
    label[0, 7, 0, 2] = 2
    for cells in ((4, 2, 3), (3, 2, 3)):  # the second doesn't divide the grid
        expected = functional.adaptive_max_pool3d((label > 0).float()[:, None], cells) > 0
        assert torch.equal(occupied_cells(label, torch.Size(cells)), expected)
        assert int(occupied_cells(label, torch.Size(cells)).sum()) >= 1
    sure = torch.where(occupied_cells(label, torch.Size((4, 2, 3))), 30.0, -30.0)
    assert float(auxiliary_loss(sure, label)) < 1e-6
    assert float(auxiliary_loss(-sure, label)) > 10


def test_cells_of_a_grid_that_they_do_not_divide_end_beyond_it() -> None:
    label = torch.zeros((1, 42, 16, 9), dtype=torch.uint8)
    label[0, 39, 3, 8] = 1
    occupied = occupied_cells(padded_to_cells(label, 8), torch.Size((6, 2, 2)))
    assert occupied.nonzero().tolist() == [[0, 0, 4, 0, 1]]


def test_soft_dice_is_zero_for_a_sure_right_answer_and_one_for_a_wrong_one() -> None:
    classes = torch.arange(400).reshape(2, 200) % 3
    right = 60.0 * functional.one_hot(classes, 3).float()
    assert float(dice_loss(right, classes)) < 1e-5
    assert float(dice_loss(right.roll(1, dims=-1), classes)) > 0.9
    binary = torch.where(classes > 0, 30.0, -30.0)[..., None]
    assert float(dice_loss(binary, classes)) < 1e-5


def test_a_batch_is_the_mean_of_its_volumes() -> None:
    logits = torch.randn(4, 50, 3, generator=torch.Generator().manual_seed(1))
    classes = torch.randint(0, 3, (4, 50), generator=torch.Generator().manual_seed(2))
    for loss in (dice_loss, occupancy_loss):
        parts = torch.stack([loss(logits[n : n + 2], classes[n : n + 2]) for n in (0, 2)])
        torch.testing.assert_close(loss(logits, classes), parts.mean())


def test_classes_are_above_one_half_or_the_largest() -> None:
    assert predicted_classes(torch.tensor([[0.1], [-0.1]])).tolist() == [1, 0]
    assert predicted_classes(torch.tensor([[0.1, 0.3, 0.2], [1.0, -1.0, 0.0]])).tolist() == [1, 0]
