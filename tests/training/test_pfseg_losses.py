"""PFSeg's losses against their formulas written out voxel by voxel, and their switches."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from ossnet_training.config import LossSettings
from ossnet_training.pfseg_losses import (
    FusionMaps,
    cross_entropy,
    dice_loss,
    foreground,
    foreground_truth,
    guidance_loss,
    guidance_start,
    pfseg_losses,
    self_similarity_loss,
    target_enhanced_loss,
)

from napari_ossnet.engine.networks.pfseg import PFSeg, PFSegConfig
from napari_ossnet.engine.networks.pfseg_frame import centred_start, grid_images, output_labels, start_around

ALL_TERMS = LossSettings(dice=1.0)
NO_IMAGE = dataclasses.replace(ALL_TERMS, super_resolution=0, guidance=0, target_enhanced=0, self_similarity=0)
CONFIG = PFSegConfig(box_start=(0, 0, 0), box_stop=(20, 18, 16), output_shape=(64, 32, 32))


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_cross_entropy_is_that_of_sigmoid_or_softmax_at_every_voxel() -> None:
    logits, classes = _random(2, 3, 4, 3, 2) * 6 - 3, (_random(2, 4, 3, 2, seed=1) * 3).long()
    odds = (logits.double().exp() / logits.double().exp().sum(1, keepdim=True)).numpy()
    expected = -np.mean([np.log(odds[b, classes[b, i, j, k], i, j, k]) for b, i, j, k in np.ndindex(2, 4, 3, 2)])
    assert float(cross_entropy(logits, classes)) == pytest.approx(expected, rel=1e-5)
    p, t = 1 / (1 + np.exp(-logits[:, 0].double().numpy())), (classes > 0).numpy()
    expected = -np.mean(t * np.log(p) + (1 - t) * np.log(1 - p))
    assert float(cross_entropy(logits[:, :1], classes)) == pytest.approx(expected, rel=1e-5)


def test_dice_is_the_published_fraction_with_squares() -> None:
    probability, truth = _random(2, 2, 3, 4, 5), (_random(2, 2, 3, 4, 5, seed=1) > 0.6).float()
    expected = np.mean(
        [
            1 - ((p * t).sum() + 1) / ((p**2).sum() + (t**2).sum() + 1)
            for p, t in zip(probability.flatten(0, 1).numpy(), truth.flatten(0, 1).numpy(), strict=True)
        ]
    )
    assert float(dice_loss(probability, truth)) == pytest.approx(expected, rel=1e-5)


def test_the_guidance_counts_inside_each_volumes_crop_and_is_averaged_over_the_image() -> None:
    image, scan = _random(2, 1, 8, 8, 8), _random(2, 1, 8, 8, 8, seed=1)
    starts, size = [(1, 2, 3), (4, 0, 5)], (2, 3, 3)
    mask = np.zeros((2, 1, 8, 8, 8))
    mask[0, 0, 1:3, 2:5, 3:6] = mask[1, 0, 4:6, 0:3, 5:8] = 1
    expected = ((mask * image.numpy() - mask * scan.numpy()) ** 2).mean()
    assert float(guidance_loss(image, scan, starts, size)) == pytest.approx(expected, rel=1e-5)


def _maps(classes: int) -> FusionMaps:
    return FusionMaps(
        segmentation=_random(2, classes, 7, 4, 6),
        image=_random(2, 1, 7, 4, 6, seed=1),
        truth=_random(2, classes, 7, 4, 6, seed=2),
    )


def test_the_target_enhanced_loss_compares_products() -> None:
    maps = _maps(2)
    expected = np.mean((maps.segmentation.numpy() * maps.image.numpy() - maps.truth.numpy()) ** 2)
    assert float(target_enhanced_loss(maps)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("classes", [1, 2])
def test_self_similarity_is_the_sum_over_all_pairs_of_places(classes: int) -> None:
    maps = _maps(classes)

    def pooled(values: torch.Tensor) -> np.ndarray:
        # Cubes of 2^3; the seventh plane is left over.
        return values.numpy()[:, :, :6].reshape(2, -1, 3, 2, 2, 2, 3, 2).mean((3, 5, 7)).reshape(2, -1, 18)

    found, truth = pooled(maps.segmentation) * pooled(maps.image), pooled(maps.truth)
    volumes = [
        sum(abs(t[:, a] @ t[:, b] - f[:, a] @ f[:, b]) for a in range(18) for b in range(18))
        for f, t in zip(found, truth, strict=True)
    ]
    expected = np.mean(volumes) / (2 * 3) ** 2
    assert float(self_similarity_loss(maps, 2)) == pytest.approx(expected, rel=1e-4)


def test_foreground_has_a_map_a_class() -> None:
    classes = torch.tensor([[0, 1, 2]])[..., None, None]
    assert foreground_truth(classes, 1).flatten().tolist() == [0, 1, 1]
    assert foreground_truth(classes, 3).flatten(2).tolist() == [[[0, 1, 0], [0, 0, 1]]]
    logits = torch.zeros(1, 3, 1, 1, 1)
    torch.testing.assert_close(foreground(logits).flatten(), torch.tensor([1 / 3, 1 / 3]))
    assert foreground(logits[:, :1]).flatten().tolist() == [0.5]


@pytest.fixture
def a_network() -> PFSeg:
    torch.manual_seed(0)
    return PFSeg(CONFIG)


@pytest.fixture
def a_batch() -> tuple[torch.Tensor, torch.Tensor]:
    labels = torch.zeros((1, 20, 18, 16), dtype=torch.uint8)
    labels[:, 3:9, 4:9, 9:14] = 1
    return _random(1, 1, 20, 18, 16) * 2 - 1 + labels[:, None], labels


def test_the_loss_is_the_published_sum(a_network: PFSeg, a_batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    terms = pfseg_losses(a_network, *a_batch, [centred_start(CONFIG)], ALL_TERMS)
    images = grid_images(CONFIG, a_batch[0])
    with torch.no_grad():
        logits, image = a_network(images.low_resolution, images.full_resolution[:, :, 24:40, 12:20, 12:20])
    scan, truth = images.full_resolution, output_labels(CONFIG, a_batch[1])[:, None].float()
    maps = FusionMaps(segmentation=logits.sigmoid(), image=image, truth=truth * scan)
    expected = (
        dice_loss(logits.sigmoid(), truth)
        + cross_entropy(logits, truth[:, 0])
        + 0.5 * ((image - scan).square().mean() + guidance_loss(image, scan, [(24, 12, 12)], (16, 8, 8)))
        + 0.5 * (target_enhanced_loss(maps) + self_similarity_loss(maps))
    )
    torch.testing.assert_close(sum(terms.values()), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "left_out"),
    [
        ({"super_resolution": 0.0}, {"super_resolution"}),
        ({"guidance": 0.0}, {"guidance"}),
        ({"target_enhanced": 0.0}, {"target_enhanced"}),
        ({"self_similarity": 0.0}, {"self_similarity"}),
        ({"dice": 0.0}, {"dice"}),
    ],
)
def test_a_weight_of_zero_leaves_its_term_out(
    a_network: PFSeg, a_batch: tuple[torch.Tensor, torch.Tensor], changes: dict[str, float], left_out: set[str]
) -> None:
    starts = [centred_start(CONFIG)]
    every = pfseg_losses(a_network, *a_batch, starts, ALL_TERMS)
    some = pfseg_losses(a_network, *a_batch, starts, dataclasses.replace(ALL_TERMS, **changes))
    assert set(every) - set(some) == left_out
    for name, term in some.items():
        torch.testing.assert_close(term, every[name])


def test_segmentation_alone_trains_neither_the_image_decoder_nor_without_guidance_its_encoder(
    a_batch: tuple[torch.Tensor, torch.Tensor],
) -> None:
    network = PFSeg(dataclasses.replace(CONFIG, guidance="none"))
    terms = pfseg_losses(network, *a_batch, [centred_start(CONFIG)], NO_IMAGE)
    assert set(terms) == {"cross_entropy", "dice"}
    sum(terms.values()).backward()
    moved = {name for name, parameter in network.named_parameters() if parameter.grad is not None}
    assert any("conv11_seg" in name for name in moved)
    assert not any("_sr" in name or "high_freq" in name for name in moved)
    assert "guidance" not in pfseg_losses(network, *a_batch, [centred_start(CONFIG)], ALL_TERMS)


def test_guidance_at_the_object_is_centred_every_other_time(a_batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    label = a_batch[1][0]
    generator = torch.Generator().manual_seed(0)
    network = PFSeg(dataclasses.replace(CONFIG, guidance="object"))
    around = start_around(network.config, output_labels(CONFIG, label[None])[0] > 0)
    starts = [guidance_start(network, label, generator) for _ in range(60)]
    assert set(starts) == {around, centred_start(CONFIG)}
    assert 15 < starts.count(around) < 45
    assert {guidance_start(PFSeg(CONFIG), label, generator) for _ in range(9)} == {centred_start(CONFIG)}
    assert guidance_start(network, torch.zeros_like(label), generator) == centred_start(CONFIG)


def test_half_precision_changes_the_losses_no_more_than_the_network(
    a_network: PFSeg, a_batch: tuple[torch.Tensor, torch.Tensor]
) -> None:
    starts = [centred_start(CONFIG)]
    exact = pfseg_losses(a_network, *a_batch, starts, ALL_TERMS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = pfseg_losses(a_network, *a_batch, starts, ALL_TERMS)
    for name, term in rough.items():
        assert term.dtype == torch.float32
        torch.testing.assert_close(term, exact[name], rtol=0.1, atol=0.02)
