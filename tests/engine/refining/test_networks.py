"""The octree on fields of real, if tiny and random, networks: it finds what asking everything finds."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from napari_ossnet.engine.fields.build import build_field
from napari_ossnet.engine.geometry import Lattice
from napari_ossnet.engine.refining.decision import Decision
from napari_ossnet.engine.refining.refinement import refine


@pytest.fixture
def a_field(a_tiny_network, formulas):
    """A tiny network of each variant, three classes, on a smooth scan."""
    shape = a_tiny_network.config.grid_shape
    noise = np.random.default_rng(3).normal(size=(2, *shape))
    grid = (8 * gaussian_filter(noise, (0, 3, 3, 3))).astype(np.float32)
    half = sum(grid[:, i::2, j::2, k::2] for i, j, k in np.ndindex(2, 2, 2)) / np.float32(8)
    scan = SimpleNamespace(grid=grid, encoder_input=lambda: np.ascontiguousarray(half))
    _, field = formulas.run(build_field(a_tiny_network, scan, device=torch.device("cpu")))
    return field


def exhaustive(field, lattice: Lattice) -> np.ndarray:
    indices = torch.cartesian_prod(*[torch.arange(size) for size in lattice.shape])
    labels = [Decision(0.5).labels(field.query(lattice.locations(chunk))) for chunk in indices.split(4096)]
    return torch.cat(labels).reshape(lattice.shape).numpy()


@pytest.mark.parametrize("factor", [1, 2])
def test_the_mask_is_the_exhaustive_one(factor, a_field, a_tiny_network, formulas):
    i, j, k = a_tiny_network.config.grid_shape
    lattice = formulas.lattice(i, j, k).region((0, 0, 0), (i, j, k), factor)

    _, refined = formulas.run(refine(a_field, lattice))

    truth = exhaustive(a_field, lattice)
    assert len(np.unique(truth)) > 1
    assert np.mean(refined.labels.numpy() != truth) <= 1e-4


def test_half_of_the_chunks_size_changes_nothing(a_field, a_tiny_network, formulas):
    lattice = formulas.lattice(*a_tiny_network.config.grid_shape)

    _, whole = formulas.run(refine(a_field, lattice, chunk_size=4096))
    _, halved = formulas.run(refine(a_field, lattice, chunk_size=100))

    assert torch.equal(whole.labels, halved.labels)
