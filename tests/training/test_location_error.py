"""Errors of location beyond the scan's resolution: made-up errors are found again, in the part that they belong to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ossnet_training.cli import main
from ossnet_training.location_error import error_table, signed_errors, summarise, surface_vertices
from ossnet_training.synthesis.pairs import synthesise_pairs
from ossnet_training.synthesis.shapes import KIND, SHAPE, AnalyticShape, make_shape_pair, shape_of

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.tasks import PreparedVolume, get_task, prepare
from napari_ossnet.engine.volume import Volume, read_volume

TORUS = AnalyticShape(centre=np.array([23.2, 31.6, 24.1]), axis=np.array([0.6, 0.0, 0.8]), ring=10.0, thickness=4.0)
BALL = AnalyticShape(centre=np.array([23.2, 31.6, 24.1]), axis=np.array([0.0, 0.0, 1.0]), ring=0.0, thickness=11.0)


class ShapeField:
    """A network that draws every surface ``too_far`` mm outside of the shape's."""

    class_count = 1
    bytes_per_location = 64
    device = torch.device("cpu")

    def __init__(self, shape: AnalyticShape, too_far: float) -> None:
        self.shape, self.too_far = shape, too_far

    def query(self, locations: torch.Tensor) -> torch.Tensor:
        distances = self.shape.distance(locations.double().numpy())
        return torch.from_numpy(self.too_far - distances).float()[:, None]

    def prior(self, locations: torch.Tensor) -> None:
        return None


def prepared_scan() -> PreparedVolume:
    """A scan of the shapes' grid; what it shows plays no part."""
    noise = np.random.default_rng(0).normal(size=(1, *SHAPE)).astype(np.float32)
    return prepare(get_task("hippocampus"), Volume(data=noise, affine=np.eye(4), channel_names=("mr",)))


class TestShapes:
    def test_have_exact_distances(self) -> None:
        rng = np.random.default_rng(0)
        places = rng.uniform(5, 40, (500, 3))
        step = 1e-5
        slopes = [(TORUS.distance(places + step * axis) - TORUS.distance(places)) / step for axis in np.eye(3)]
        np.testing.assert_allclose(np.linalg.norm(slopes, axis=0), 1.0, atol=1e-3)
        on_ring = TORUS.centre + 10.0 * np.array([0.8, 0.0, -0.6])
        assert TORUS.distance(on_ring) == pytest.approx(-4.0)
        assert BALL.distance(BALL.centre + np.array([0, 0, 12.5])) == pytest.approx(1.5)

    def test_are_known_again_by_their_scan_s_name(self, tmp_path: Path) -> None:
        names = [name for name, _ in synthesise_pairs(tmp_path, KIND, make_shape_pair, count=2, seed=5)]
        assert list(synthesise_pairs(tmp_path, KIND, make_shape_pair, count=2, seed=5)) == []
        shape = shape_of(names[1])
        image = read_volume(tmp_path / "images" / f"{names[1]}.nii.gz").data[0]
        label = read_volume(tmp_path / "labels" / f"{names[1]}.nii.gz").data[0]
        voxels = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1)
        np.testing.assert_array_equal(label > 0, shape.distance(voxels) < 0)
        assert abs(image[label > 0].mean() - image[label == 0].mean()) > 0.3
        # A voxel that the surface cuts in half shows about half of the contrast.
        inside, outside = image[shape.distance(voxels) < -1].mean(), image[shape.distance(voxels) > 1].mean()
        cut = image[np.abs(shape.distance(voxels)) < 0.05].mean()
        assert (cut - outside) / (inside - outside) == pytest.approx(0.5, abs=0.15)

    def test_of_another_name_are_refused(self) -> None:
        with pytest.raises(InputError, match="synthesise OUT --anatomy shapes"):
            shape_of("hippocampus_001")


class TestErrors:
    def test_of_a_surface_that_is_too_far_out_are_an_offset(self) -> None:
        found = signed_errors(TORUS, surface_vertices(ShapeField(TORUS, 0.2), prepared_scan(), 4))
        error = summarise(4, found)
        assert error.offset == pytest.approx(0.2, abs=0.003)
        assert error.mean_distance == pytest.approx(0.2, abs=0.003)
        assert error.grid < 0.003
        assert error.rest < 0.01

    def test_of_extraction_fall_with_the_factor(self) -> None:
        field, scan = ShapeField(TORUS, 0.0), prepared_scan()
        coarse, fine = (
            summarise(f, signed_errors(TORUS, surface_vertices(field, scan, f))).mean_distance for f in (1, 4)
        )
        assert fine < coarse / 8

    def test_that_repeat_with_the_voxels_are_the_grid_s(self) -> None:
        rng = np.random.default_rng(1)
        directions = rng.normal(size=(20_000, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        surface = BALL.centre + 11.0 * directions
        axis = np.abs(directions).argmax(axis=1)
        places = surface[np.arange(len(surface)), axis]
        wave = 0.1 * np.sin(2 * np.pi * places) * np.sign(directions[np.arange(len(surface)), axis])
        error = summarise(4, signed_errors(BALL, surface + wave[:, None] * directions))
        assert error.grid == pytest.approx(0.1 / np.sqrt(2), rel=0.1)
        assert abs(error.offset) < 0.02
        assert error.rest < 0.03

    def test_add_up_in_squares(self) -> None:
        found = np.random.default_rng(2).normal(0.1, 0.3, (1000, 2)) % [10, 1]
        error = summarise(2, found)
        assert error.offset**2 + error.grid**2 + error.rest**2 == pytest.approx((found[:, 0] ** 2).mean())
        assert error_table({"x": [error]}).count("\n") == 3


def test_trained_runs_are_measured_by_one_command(tmp_path: Path, a_recipe: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("OSSNET_HOME", str(tmp_path / "home"))
    assert main(["synthesise", str(tmp_path / "shapes"), "--anatomy", "shapes", "--count", "4"]) == 0
    words = ["geometry.grid_shape=[48, 64, 48]", "geometry.latent_grid=[6, 8, 6]", "learning_rate=0.01", "epochs=12"]
    classes = ['geometry.classes=[{ name = "shape", label = 1 }]', "geometry.name=shapes"]
    data = str(tmp_path / "shapes")
    fit = ["fit", str(a_recipe), "--data", data, "--name", "tiny", "sampling.locations=2048", *classes, *words]
    assert main(fit) == 0
    capsys.readouterr()
    assert main(["location-error", "tiny", "--factors", "1", "4"]) == 0
    rows = capsys.readouterr().out.strip().splitlines()[2:]
    assert [row.split(" | ")[1] for row in rows] == ["1", "4"]
    assert all(float(row.split(" | ")[2]) < 20 for row in rows)
