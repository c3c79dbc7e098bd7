"""Augmentation: image and label move together, and the same seed gives the same case."""

from __future__ import annotations

import pytest
import torch
from ossnet_training.augmentation import augment
from ossnet_training.config import AugmentationSettings
from ossnet_training.sampling import case_generator

EVERYTHING = AugmentationSettings(
    probability=1.0,
    flip_axes=(0, 1),
    rotation_degrees=10,
    scale=0.1,
    shift_voxels=2,
    elastic_voxels=1.0,
    brightness=0.1,
    contrast=0.1,
    tone=0.3,
    noise=0.1,
    is_noise_varied=True,
    blur_voxels=0.8,
    bias_field=0.2,
)


@pytest.fixture
def a_case() -> tuple[torch.Tensor, torch.Tensor]:
    label = torch.zeros((20, 22, 24), dtype=torch.uint8)
    label[6:13, 5:12, 8:15] = 1
    return label[None].float().repeat(2, 1, 1, 1), label


def test_nothing_asked_for_changes_nothing(a_case: tuple[torch.Tensor, torch.Tensor]) -> None:
    changed = augment(*a_case, None, AugmentationSettings(), case_generator(0, 0, 0))
    assert torch.equal(changed.image, a_case[0])
    assert torch.equal(changed.label, a_case[1])


def test_the_same_seed_gives_the_same_case(a_case: tuple[torch.Tensor, torch.Tensor]) -> None:
    first, again, other = (augment(*a_case, None, EVERYTHING, case_generator(0, 0, n)) for n in (1, 1, 2))
    assert torch.equal(first.image, again.image)
    assert torch.equal(first.label, again.label)
    assert not torch.equal(first.image, other.image)


@pytest.mark.parametrize("number", range(4))
def test_image_and_label_move_together(a_case: tuple[torch.Tensor, torch.Tensor], number: int) -> None:
    settings = AugmentationSettings(
        probability=1.0, flip_axes=(0, 1, 2), rotation_degrees=15, scale=0.1, shift_voxels=2, elastic_voxels=1.0
    )
    changed = augment(*a_case, None, settings, case_generator(0, 0, number))
    found = changed.image[0] > 0.5
    overlap = (found & (changed.label > 0)).sum() * 2 / (found.sum() + (changed.label > 0).sum())
    assert float(overlap) > 0.97
    assert not torch.equal(changed.label, a_case[1])


@pytest.mark.parametrize("number", range(4))
def test_an_object_that_the_grids_border_cuts_off_keeps_its_label_there(number: int) -> None:
    label = torch.zeros((20, 22, 24), dtype=torch.uint8)
    label[6:13, 5:12, 12:] = 1
    image = label[None].float()
    settings = AugmentationSettings(probability=1.0, rotation_degrees=15, scale=0.2, shift_voxels=4)
    changed = augment(image, label, None, settings, case_generator(0, 0, number))
    # Trilinear and nearest round a surface differently, by less than a voxel.
    assert bool((changed.label[changed.image[0] > 0.9] == 1).all())
    assert bool((changed.label[changed.image[0] < 0.1] == 0).all())


def test_a_flip_takes_the_encoders_window_with_it(a_case: tuple[torch.Tensor, torch.Tensor]) -> None:
    image, label = a_case
    window = ((2, 3, 4), (14, 20, 24))
    settings = AugmentationSettings(flip_axes=(0,), flip_probability=1.0)
    changed = augment(image, label, window, settings, case_generator(0, 0, 0))
    assert changed.window == ((6, 3, 4), (18, 20, 24))
    seen = label[2:14, 3:20, 4:24]
    assert torch.equal(changed.label[6:18, 3:20, 4:24], seen.flip(0))


def test_the_tone_bends_the_range_but_keeps_its_ends_and_order() -> None:
    image = torch.linspace(-2, 5, 27).reshape(1, 3, 3, 3)
    settings = AugmentationSettings(probability=1.0, tone=0.8)
    bent = augment(image, torch.zeros((3, 3, 3), dtype=torch.uint8), None, settings, case_generator(0, 0, 1)).image
    assert bool((bent.flatten().diff() > 0).all())
    torch.testing.assert_close(bent.flatten()[[0, -1]], image.flatten()[[0, -1]], atol=1e-5, rtol=0)
    assert not torch.allclose(bent, image, atol=0.05)
