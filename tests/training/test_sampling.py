"""Where a step looks: reproducible draws, bands of the right width, boxes that hold their locations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ossnet_training.config import SamplingSettings
from ossnet_training.sampling import (
    band_locations,
    border_band,
    case_generator,
    draw_locations,
    draw_planes,
    unsure_locations,
)
from scipy.ndimage import maximum_filter


@pytest.fixture
def a_label() -> torch.Tensor:
    label = torch.zeros((24, 20, 28), dtype=torch.uint8)
    label[8:14, 6:12, 9:17] = 1
    label[14:17, 6:12, 9:17] = 2
    return label


@pytest.fixture
def an_image(a_label: torch.Tensor) -> torch.Tensor:
    return torch.randn((1, *a_label.shape), generator=case_generator(0, 0, 0))


def _draw(image: torch.Tensor, label: torch.Tensor, settings: SamplingSettings, *numbers: int) -> torch.Tensor:
    return draw_locations(image, label, settings, case_generator(*numbers), settings.locations).indices


@pytest.mark.parametrize(
    "settings",
    [
        SamplingSettings(locations=200),
        SamplingSettings(locations=200, strategy="border", border_voxels=2),
        SamplingSettings(locations=200, boxes=5, box_voxels=8),
    ],
)
def test_draws_depend_on_seed_epoch_and_case_alone(
    an_image: torch.Tensor, a_label: torch.Tensor, settings: SamplingSettings
) -> None:
    first = _draw(an_image, a_label, settings, 3, 1, 4)
    assert first.shape == (200, 3)
    assert torch.equal(first, _draw(an_image, a_label, settings, 3, 1, 4))
    for other in ((4, 1, 4), (3, 2, 4), (3, 1, 5)):
        assert not torch.equal(first, _draw(an_image, a_label, settings, *other))
    assert bool(((first >= 0) & (first < torch.tensor(a_label.shape))).all())


@pytest.mark.parametrize("reach", [1, 3])
def test_the_band_is_every_voxel_within_reach_of_a_border(a_label: torch.Tensor, reach: int) -> None:
    label = a_label.numpy()
    # The oracle asks every voxel: is there another class among its neighbours? Then a cube's maximum.
    edge = np.zeros(label.shape, dtype=bool)
    for index in np.ndindex(*label.shape):
        for axis in range(3):
            for step in (-1, 1):
                near = list(index)
                near[axis] += step
                if 0 <= near[axis] < label.shape[axis]:
                    edge[index] |= label[tuple(near)] != label[index]
    expected = maximum_filter(edge, size=2 * reach + 1, mode="constant")
    assert np.array_equal(border_band(a_label, reach).numpy(), expected)


def test_half_of_border_sampling_lies_in_the_band(an_image: torch.Tensor, a_label: torch.Tensor) -> None:
    settings = SamplingSettings(locations=400, strategy="border", border_voxels=1)
    i, j, k = _draw(an_image, a_label, settings, 0, 0, 0)[:200].T
    assert bool(border_band(a_label, 1)[i, j, k].all())


def test_a_small_band_gives_what_it_has_and_the_rest_is_uniform(an_image: torch.Tensor) -> None:
    label = torch.zeros((24, 20, 28), dtype=torch.uint8)
    label[5, 5, 5] = 1
    near = band_locations(label, 1, 10_000, case_generator(0, 0, 0))
    assert len(near) == len(torch.unique(near, dim=0)) == int(border_band(label, 1).sum())
    settings = SamplingSettings(locations=5000, strategy="border", border_voxels=1)
    assert len(_draw(an_image, label, settings, 0, 0, 0)) == 5000


def test_an_empty_label_has_no_band_and_is_drawn_from_all_the_same(an_image: torch.Tensor) -> None:
    label = torch.zeros((24, 20, 28), dtype=torch.uint8)
    assert not border_band(label, 3).any()
    for settings in (
        SamplingSettings(locations=50, strategy="border"),
        SamplingSettings(locations=48, boxes=4, box_voxels=8),
    ):
        assert len(_draw(an_image, label, settings, 0, 0, 0)) == settings.locations


def test_locations_lie_in_their_boxes_and_boxes_on_border_and_anatomy(a_label: torch.Tensor) -> None:
    image = torch.zeros((1, *a_label.shape))
    image[:, 8:16] = torch.randn((1, 8, *a_label.shape[1:]), generator=case_generator(0, 0, 0))
    settings = SamplingSettings(strategy="border", locations=800, boxes=8, box_voxels=8, border_fraction=0.5)
    draw = draw_locations(image, a_label, settings, case_generator(1, 2, 3), 800)
    assert draw.boxes is not None
    inside = draw.indices.reshape(8, 100, 3) - draw.boxes[:, None]
    assert bool(((inside >= 0) & (inside < 8)).all())
    band = border_band(a_label, 1)
    for i, j, k in draw.boxes[:4].tolist():
        assert band[i : i + 8, j : j + 8, k : k + 8].any()


def test_uniform_boxes_are_drawn_to_no_border(an_image: torch.Tensor, a_label: torch.Tensor) -> None:
    def boxes(strategy: str, fraction: float) -> list[list[int]]:
        settings = SamplingSettings(strategy=strategy, boxes=8, box_voxels=8, border_fraction=fraction)
        drawn = draw_locations(an_image, a_label, settings, case_generator(1, 2, 3), 800).boxes
        assert drawn is not None
        return drawn.tolist()

    assert boxes("uniform", 1.0) == boxes("uniform", 0.0) == boxes("border", 0.0)
    assert boxes("uniform", 1.0) != boxes("border", 1.0)


def test_planes_are_whole_and_different(a_label: torch.Tensor) -> None:
    draw = draw_planes(a_label.shape, 1, 3, case_generator(0, 0, 0))
    planes = draw.indices.reshape(3, -1, 3)
    assert all(len(torch.unique(plane[:, 1])) == 1 for plane in planes)
    assert len(torch.unique(planes[:, 0, 1])) == 3
    assert all(len(torch.unique(plane, dim=0)) == 24 * 28 for plane in planes)


def test_unsure_locations_are_those_near_one_half() -> None:
    probability = torch.cat([torch.full((500,), 0.001), torch.full((500,), 0.5)])
    candidates = torch.arange(1000)[:, None].expand(-1, 3)
    odds = torch.stack([1 - probability, probability], dim=1)
    kept = unsure_locations(candidates, odds, 200, case_generator(0, 0, 0))
    assert len(torch.unique(kept[:, 0])) == 200
    assert float((kept[:, 0] >= 500).float().mean()) > 0.9
