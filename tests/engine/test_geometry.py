"""The frames: affines, axis orders and the lattice."""

from __future__ import annotations

from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
import torch

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.geometry import (
    Lattice,
    Orientation,
    axis_codes_of,
    is_sheared,
    refuse_unusable_affine,
    scaling_affine,
    spacing_of,
    voxel_to_world,
    world_to_voxel,
)

ALL_AXIS_CODES = ["".join(letters) for order in permutations(("RL", "AP", "SI")) for letters in product(*order)]


def random_rotation(seed: int, largest_degrees: float = 180.0) -> np.ndarray:
    """A rotation about a random axis by a random angle (Rodrigues' formula)."""
    random = np.random.default_rng(seed)
    axis = random.normal(size=3)
    x, y, z = axis / np.linalg.norm(axis)
    angle = np.deg2rad(random.uniform(-largest_degrees, largest_degrees))
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def random_affine(seed: int, largest_degrees: float = 180.0) -> np.ndarray:
    random = np.random.default_rng(seed + 1000)
    affine = np.eye(4)
    affine[:3, :3] = random_rotation(seed, largest_degrees) @ np.diag(random.uniform(0.3, 5.0, 3))
    affine[:3, 3] = random.uniform(-200, 200, 3)
    return affine


def stored_as(affine: np.ndarray, shape: tuple[int, int, int], codes: str) -> tuple[np.ndarray, Orientation]:
    """The affine of the same scan stored in another axis order."""
    orientation = Orientation.between(affine, shape, codes)
    return affine @ orientation.scan_from_task, orientation


@pytest.mark.parametrize("seed", range(20))
def test_axis_codes_agree_with_nibabel_for_rotations_up_to_thirty_degrees(seed: int) -> None:
    affine = random_affine(seed, largest_degrees=30)
    for codes in ALL_AXIS_CODES:
        stored, _ = stored_as(affine, (3, 4, 5), codes)
        assert axis_codes_of(stored) == codes == "".join(nib.aff2axcodes(stored))


@pytest.mark.parametrize("seed", range(20))
def test_spacing_is_the_length_of_a_voxels_edges_however_the_scan_is_turned(seed: int) -> None:
    rotation = random_rotation(seed)
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.diag([0.5, 1.25, 7.0])
    assert spacing_of(affine) == pytest.approx((0.5, 1.25, 7.0), rel=1e-12)


@pytest.mark.parametrize("codes", ALL_AXIS_CODES)
def test_reorienting_equals_nibabels_reorientation(codes: str) -> None:
    array = np.arange(3 * 4 * 5, dtype=np.float32).reshape(3, 4, 5)
    affine = random_affine(7, largest_degrees=20)
    orientation = Orientation.between(affine, (3, 4, 5), codes)
    image = nib.Nifti1Image(array, affine)
    wanted = image.as_reoriented(
        nib.orientations.ornt_transform(nib.io_orientation(affine), nib.orientations.axcodes2ornt(codes))
    )
    assert np.array_equal(orientation.to_task(array), wanted.get_fdata())
    assert np.allclose(affine @ orientation.scan_from_task, wanted.affine, atol=1e-12)
    assert orientation.task_shape == wanted.shape


@pytest.mark.parametrize("codes", ALL_AXIS_CODES)
def test_reorienting_there_and_back_changes_nothing_and_copies_nothing(codes: str) -> None:
    array = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    orientation = Orientation.between(np.diag([-1.0, 1, 1, 1]), (3, 4, 5), codes)
    back = orientation.to_scan(orientation.to_task(array))
    assert np.array_equal(back, array)
    assert np.shares_memory(back, array)


@pytest.mark.parametrize("codes", ALL_AXIS_CODES)
def test_index_maps_lead_to_the_same_voxel_as_reorienting_the_array(codes: str) -> None:
    array = np.arange(3 * 4 * 5).reshape(3, 4, 5)
    orientation = Orientation.between(np.eye(4), array.shape, codes)
    in_task = np.array(list(np.ndindex(*orientation.task_shape)))
    in_scan = orientation.scan_indices(in_task)
    assert in_scan.dtype.kind == "i"
    assert np.array_equal(orientation.to_task(array)[tuple(in_task.T)], array[tuple(in_scan.T)])
    assert np.array_equal(orientation.task_indices(in_scan), in_task)
    assert np.allclose(voxel_to_world(orientation.scan_from_task, in_task), in_scan)


@pytest.mark.parametrize("degrees", [0, 30, 44.9, 45, 45.1, 60, 90])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_turned_scan_is_ordered_alike_however_it_is_stored(degrees: float, axis: int) -> None:
    """At 45 degrees two assignments are equally good; float noise must not choose between them."""
    a, b = (other for other in range(3) if other != axis)
    affine = np.eye(4)
    affine[[a, b, a, b], [a, b, b, a]] = [
        np.cos(np.deg2rad(degrees)),
        np.cos(np.deg2rad(degrees)),
        -np.sin(np.deg2rad(degrees)),
        np.sin(np.deg2rad(degrees)),
    ]
    affine = affine @ np.diag([1.1, 0.7, 2.3, 1.0])
    shape = (3, 4, 5)
    wanted = None
    for codes in ALL_AXIS_CODES:
        stored, orientation = stored_as(affine, shape, codes)
        in_task = stored @ Orientation.between(stored, orientation.task_shape, "LPS").scan_from_task
        wanted = in_task if wanted is None else wanted
        assert np.allclose(in_task, wanted, atol=1e-9)


def test_locations_and_world_positions_are_inverse_to_each_other() -> None:
    affine = random_affine(3)
    locations = np.random.default_rng(1).uniform(-10, 300, (50, 3))
    assert np.allclose(world_to_voxel(affine, voxel_to_world(affine, locations)), locations, atol=1e-9)


def test_shear_is_seen_and_a_rotation_is_none() -> None:
    sheared = np.eye(4)
    sheared[0, 2] = 0.2
    assert is_sheared(sheared)
    assert not is_sheared(random_affine(5))


@pytest.mark.parametrize(
    "affine",
    [
        np.zeros((4, 4)),
        np.diag([1.0, 0.0, 1.0, 1.0]),
        np.full((4, 4), np.nan),
        np.eye(3),
        np.array([[1.0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
    ],
    ids=["zeros", "a zero axis", "NaN", "3 x 3", "two parallel axes"],
)
def test_an_affine_that_places_nothing_is_refused(affine: np.ndarray) -> None:
    with pytest.raises(InputError, match="affine"):
        refuse_unusable_affine(affine)


def test_tiny_and_huge_voxels_are_places_too() -> None:
    refuse_unusable_affine(np.diag([1e-3, 1e-3, 1e-3, 1.0]))
    refuse_unusable_affine(np.diag([-1e3, 1e3, 0.1, 1.0]))


# --- the lattice ---


@pytest.fixture
def a_lattice() -> Lattice:
    return Lattice(
        shape=(20, 30, 40), to_grid=scaling_affine((1.5, 2.0, 0.75), (8.0, -3.0, 2.5)), affine=random_affine(11)
    )


def test_lattice_locations_are_the_affine_applied(a_lattice: Lattice) -> None:
    indices = torch.tensor([[0, 0, 0], [19, 29, 39], [3, 5, 7]])
    located = a_lattice.locations(indices)
    assert located.dtype == torch.float32
    assert np.allclose(located.numpy(), voxel_to_world(a_lattice.to_grid, indices.numpy()), atol=1e-5)


def test_lattice_locations_follow_a_map_that_is_not_diagonal() -> None:
    lattice = Lattice(shape=(5, 5, 5), to_grid=random_affine(2), affine=np.eye(4))
    indices = np.array(list(np.ndindex(5, 5, 5)))
    located = lattice.locations(torch.from_numpy(indices)).numpy()
    assert np.allclose(located, voxel_to_world(lattice.to_grid, indices), atol=1e-4)


def test_whole_shifts_give_whole_locations_without_rounding() -> None:
    lattice = Lattice(shape=(240, 240, 155), to_grid=scaling_affine((1.0, 1.0, 1.0), (8.0, 8.0, 3.0)), affine=np.eye(4))
    indices = torch.tensor([[0, 0, 0], [239, 239, 154], [100, 7, 63]])
    assert torch.equal(lattice.locations(indices), (indices + torch.tensor([8, 8, 3])).float())


@pytest.mark.parametrize("seed", range(25))
def test_fine_voxels_tile_the_region_exactly(seed: int) -> None:
    """Outer faces, in the world and in the grid, are those of the coarse box, whatever the factor."""
    random = np.random.default_rng(seed)
    lattice = Lattice(
        shape=(20, 30, 40),
        to_grid=scaling_affine(tuple(random.uniform(0.3, 4, 3)), tuple(random.uniform(-9, 9, 3))),
        affine=random_affine(seed),
    )
    start = tuple(int(random.integers(0, size)) for size in lattice.shape)
    stop = tuple(int(random.integers(a + 1, size + 1)) for a, size in zip(start, lattice.shape, strict=True))
    factor = float(random.choice([1, 1.3, 2, 2.5, 3.7, 4, 8]))
    fine = lattice.region(start, stop, factor)
    for affine, fine_affine in ((lattice.affine, fine.affine), (lattice.to_grid, fine.to_grid)):
        for low in product((0, 1), repeat=3):
            coarse_face = np.where(low, stop, start) - 0.5
            fine_face = np.where(low, fine.shape, 0) - 0.5
            assert np.allclose(
                voxel_to_world(affine, coarse_face[None]), voxel_to_world(fine_affine, fine_face[None]), atol=1e-9
            )
    for count, a, b in zip(fine.shape, start, stop, strict=True):
        assert abs(count - (b - a) * factor) <= 0.5


def test_a_region_of_factor_one_is_the_box_itself(a_lattice: Lattice) -> None:
    box = a_lattice.region((2, 3, 4), (7, 9, 11), 1.0)
    assert box.shape == (5, 6, 7)
    assert np.allclose(
        voxel_to_world(box.affine, np.array([[0, 0, 0]])), voxel_to_world(a_lattice.affine, np.array([[2, 3, 4]]))
    )
    assert np.allclose(spacing_of(box.affine), spacing_of(a_lattice.affine))


def test_an_odd_factor_has_fine_voxels_at_the_coarse_centres(a_lattice: Lattice) -> None:
    fine = a_lattice.region((2, 3, 4), (7, 9, 11), 3.0)
    assert np.allclose(
        voxel_to_world(fine.affine, np.array([[1, 1, 1]])), voxel_to_world(a_lattice.affine, np.array([[2, 3, 4]]))
    )


def test_a_region_of_a_region_tiles_it_as_well(a_lattice: Lattice) -> None:
    once = a_lattice.region((4, 4, 4), (8, 8, 8), 4.0)
    twice = a_lattice.region((4, 4, 4), (8, 8, 8), 2.0).region((0, 0, 0), (8, 8, 8), 2.0)
    assert once.shape == twice.shape
    assert np.allclose(once.affine, twice.affine)
    assert np.allclose(once.to_grid, twice.to_grid)


@pytest.mark.parametrize(
    ("start", "stop", "factor"),
    [
        ((0, 0, 0), (0, 5, 5), 2.0),
        ((-1, 0, 0), (5, 5, 5), 2.0),
        ((0, 0, 0), (21, 5, 5), 2.0),
        ((0, 0, 0), (5, 5, 5), 0.5),
        ((0, 0, 0), (5, 5, 5), float("nan")),
    ],
    ids=["empty", "starts outside", "ends outside", "coarser", "NaN"],
)
def test_a_region_that_can_not_be_refined_is_refused(
    a_lattice: Lattice, start: tuple[int, int, int], stop: tuple[int, int, int], factor: float
) -> None:
    with pytest.raises(InputError):
        a_lattice.region(start, stop, factor)
