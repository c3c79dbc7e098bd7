"""From the scan to the network's grid: exactly as published, the same however a scan is stored, and back."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path
from types import ModuleType

import nibabel as nib
import numpy as np
import pytest
import torch

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.geometry import Orientation, voxel_to_world
from napari_ossnet.engine.scans.preparation import PreparedVolume, mean_and_deviation, prepare
from napari_ossnet.engine.tasks import Task, get_task
from napari_ossnet.engine.volume import Volume, read_volume

ALL_AXIS_CODES = ["".join(letters) for order in permutations(("RL", "AP", "SI")) for letters in product(*order)]
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def make_volume(data: np.ndarray, affine: np.ndarray) -> Volume:
    names = tuple(f"channel {index}" for index in range(len(data)))
    return Volume(data=np.ascontiguousarray(data, dtype=np.float32), affine=affine, channel_names=names)


def stored_as(volume: Volume, codes: str) -> Volume:
    """The same scan, its axes stored in another order."""
    orientation = Orientation.between(volume.affine, volume.shape, codes)
    return make_volume(orientation.to_task(volume.data), volume.affine @ orientation.scan_from_task)


def small(task: Task, **changes: object) -> Task:
    return replace(task, modalities=task.modalities[:1], **changes)


@pytest.fixture
def a_small_brats() -> Task:
    """One channel and an eighth of the published grid: 3 and 3, 3 and 3, 2 and 1 of padding."""
    return small(get_task("brats"), grid_shape=(32, 36, 20), scan_shape=(26, 30, 17))


@pytest.fixture
def a_small_lits() -> Task:
    return small(get_task("lits"), grid_shape=(32, 32, 32))


def random_scan(shape: tuple[int, int, int], spacing: tuple[float, float, float], seed: int = 0) -> Volume:
    """Noise inside an ellipsoid that is off the centre, zero outside."""
    random = np.random.default_rng(seed)
    grids = np.meshgrid(*[np.linspace(-1, 1, size) for size in shape], indexing="ij")
    inside = sum(((grid - shift) / 0.7) ** 2 for grid, shift in zip(grids, (0.1, -0.2, 0.15), strict=True)) < 1
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = (-31, 17, 4)
    return make_volume((np.where(inside, random.normal(100, 20, shape), 0))[None], affine)


# --- as published ---


@pytest.fixture
def the_fill_rule(a_fixtures_folder: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("fill_rule", a_fixtures_folder / "fill_rule.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_scan_of_the_published_shape_goes_in_as_published(the_fill_rule: ModuleType) -> None:
    raw = the_fill_rule.volume("volume/bra_ts", 4, (240, 240, 155))
    prepared = prepare(get_task("brats"), make_volume(raw, LPS))

    tensor = torch.from_numpy(raw)
    mean, deviation = tensor.mean((1, 2, 3), keepdim=True), tensor.std((1, 2, 3), unbiased=True, keepdim=True)
    wanted = torch.nn.functional.pad((tensor - mean) / deviation, (3, 2, 8, 8, 8, 8))
    assert np.abs(prepared.grid - wanted.numpy()).max() < 2e-6
    half = torch.nn.functional.interpolate(wanted[None], scale_factor=0.5, mode="trilinear", align_corners=False)[0]
    assert prepared.encoder_input().dtype == np.float32
    assert np.abs(prepared.encoder_input() - half.numpy()).max() < 2e-6
    assert torch.equal(
        prepared.lattice.locations(torch.tensor([[0, 0, 0], [239, 239, 154]])),
        torch.tensor([[8.0, 8, 3], [247, 247, 157]]),
    )
    assert prepared.covered_box() == ((0, 0, 0), (240, 240, 155))


@pytest.mark.slow
def test_a_ct_is_stretched_over_the_grid_as_published(the_fill_rule: ModuleType) -> None:
    raw = the_fill_rule.volume("volume/lits", 1, (96, 112, 80))
    prepared = prepare(get_task("lits"), make_volume(raw, np.eye(4)))

    tensor = torch.from_numpy(raw)
    wanted = torch.nn.functional.interpolate(
        ((tensor - tensor.mean()) / tensor.std())[None], size=(512, 512, 512), mode="trilinear", align_corners=False
    )[0].numpy()
    assert np.abs(prepared.grid - wanted).max() < 2e-6
    assert prepared.grid.shape == (1, 512, 512, 512)


def test_a_published_scan_stored_in_another_order_gives_the_same_grid() -> None:
    scan = make_volume(np.random.default_rng(0).normal(50, 9, (4, 240, 240, 155)).astype(np.float32), LPS)
    wanted = prepare(get_task("brats"), scan).grid
    assert np.array_equal(prepare(get_task("brats"), stored_as(scan, "SRA")).grid, wanted)


def test_the_deviation_is_unbiased_and_needs_no_float64_copy() -> None:
    channel = np.random.default_rng(0).normal(1000, 3, (37, 20, 21)).astype(np.float32)
    mean, deviation = mean_and_deviation(channel)
    assert mean == pytest.approx(channel.astype(np.float64).mean(), rel=1e-12)
    assert deviation == pytest.approx(channel.astype(np.float64).std(ddof=1), rel=1e-12)


# --- whatever the axis order ---


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.8, 1.3, 3.1), (0.4, 0.45, 0.5)])
@pytest.mark.parametrize("name", ["brats", "lits", "hippocampus"])
def test_the_grid_is_the_same_for_all_48_axis_orders(
    name: str, spacing: tuple[float, float, float], a_small_brats: Task, a_small_lits: Task
) -> None:
    tasks = {"brats": a_small_brats, "lits": a_small_lits, "hippocampus": get_task("hippocampus")}
    scan = random_scan((41, 38, 52), spacing)
    wanted = prepare(tasks[name], scan)
    for codes in ALL_AXIS_CODES:
        prepared = prepare(tasks[name], stored_as(scan, codes))
        assert np.array_equal(prepared.grid, wanted.grid), codes
        assert np.allclose(prepared.grid_affine, wanted.grid_affine, atol=1e-9)
        assert np.allclose(prepared.lattice.to_grid, wanted.lattice.to_grid, atol=1e-9)
        assert np.allclose(prepared.lattice.affine, wanted.lattice.affine, atol=1e-9)


@pytest.mark.parametrize("name", ["brats", "lits"])
def test_real_files_in_eight_axis_orders_give_the_same_grid(a_data_folder: Path, name: str, a_small_lits: Task) -> None:
    task = a_small_lits if name == "lits" else small(get_task("brats"))
    files = sorted((a_data_folder / "orientations").glob("*.nii.gz"))
    assert len(files) == 8
    wanted = prepare(task, read_volume(files[0]))
    for file in files[1:]:
        prepared = prepare(task, read_volume(file))
        assert np.array_equal(prepared.grid, wanted.grid), file.name
        assert np.allclose(prepared.grid_affine, wanted.grid_affine, atol=1e-3), file.name


def test_axis_order_is_nibabels_idea_of_it(a_small_lits: Task) -> None:
    scan = random_scan((32, 32, 32), (1.0, 1.0, 1.0))
    stored = stored_as(scan, "PSL")
    canonical = nib.as_closest_canonical(nib.Nifti1Image(stored.data[0], stored.affine)).get_fdata()
    canonical = (canonical - canonical.mean()) / canonical.std(ddof=1)
    assert np.allclose(prepare(a_small_lits, stored).grid[0], canonical, atol=1e-5)


# --- every voxel in its place ---

OBLIQUE = np.array([[0.9, -0.3, 0.1, -20], [0.35, 1.0, -0.2, 33], [-0.1, 0.3, 0.95, 5], [0, 0, 0, 1.0]])


def ramp(locations_world: np.ndarray) -> np.ndarray:
    """A linear function of the place, which trilinear interpolation reproduces exactly."""
    return locations_world @ np.array([1.0, -2.0, 0.5]) + 400.0


def indices_of(shape: tuple[int, ...]) -> np.ndarray:
    return np.stack(np.meshgrid(*[np.arange(size) for size in shape], indexing="ij"), axis=-1).reshape(-1, 3)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "SPR", "AIL"])
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 1.9, 1.0), (0.35, 0.3, 3.0)])
@pytest.mark.parametrize("name", ["brats", "lits", "hippocampus"])
def test_grid_voxels_show_what_lies_at_their_place_in_the_world(
    name: str, spacing: tuple[float, float, float], codes: str, a_small_brats: Task, a_small_lits: Task
) -> None:
    task = {"brats": a_small_brats, "lits": a_small_lits, "hippocampus": get_task("hippocampus")}[name]
    shape = (60, 57, 62)
    affine = OBLIQUE @ np.diag([*spacing, 1.0])
    values = ramp(voxel_to_world(affine, indices_of(shape))).reshape(shape)
    prepared = prepare(task, stored_as(make_volume(values[None], affine), codes))

    grid_indices = indices_of(task.grid_shape)
    in_lattice = voxel_to_world(np.linalg.inv(prepared.lattice.to_grid), grid_indices)
    # Away from the scan's faces, where neighbours are clamped, and in the box, because around it is padding.
    inside = np.all((in_lattice > 5) & (in_lattice < np.array(prepared.lattice.shape) - 6), axis=1)
    inside &= np.all((grid_indices >= prepared.box_start) & (grid_indices < prepared.box_stop), axis=1)
    assert inside.sum() > 200
    shown = prepared.grid[0].reshape(-1)[inside].astype(np.float64)
    wanted = ramp(voxel_to_world(prepared.grid_affine, grid_indices[inside]))
    slope, intercept = np.polyfit(wanted, shown, 1)
    assert slope > 0
    assert np.abs(slope * wanted + intercept - shown).max() < 2e-5 * np.ptp(shown) + 1e-5


@pytest.mark.parametrize("name", ["brats", "lits", "hippocampus"])
def test_lattice_grid_and_scan_agree_on_the_world(name: str, a_small_brats: Task, a_small_lits: Task) -> None:
    task = {"brats": a_small_brats, "lits": a_small_lits, "hippocampus": get_task("hippocampus")}[name]
    scan = stored_as(make_volume(random_scan((40, 44, 30), (1, 1, 1)).data, OBLIQUE @ np.diag([0.9, 1.1, 2, 1])), "SLP")
    prepared = prepare(task, scan)
    indices = indices_of(prepared.lattice.shape)
    world = voxel_to_world(prepared.lattice.affine, indices)
    in_grid = voxel_to_world(prepared.lattice.to_grid, indices)
    assert np.allclose(voxel_to_world(prepared.grid_affine, in_grid), world, atol=1e-9)
    assert np.allclose(voxel_to_world(scan.affine, prepared.orientation.scan_indices(indices)), world, atol=1e-9)
    assert prepared.lattice.shape == prepared.orientation.task_shape


def test_a_mask_in_lattice_order_comes_back_on_the_scans_voxels(a_small_brats: Task) -> None:
    """Thresholding the scan through the lattice equals thresholding it in place."""
    scan = stored_as(random_scan((26, 30, 17), (1, 1, 1)), "IAR")
    prepared = prepare(a_small_brats, scan)
    locations = prepared.lattice.locations(torch.from_numpy(indices_of(prepared.lattice.shape))).long()
    mask = prepared.grid[0][tuple(locations.T.numpy())].reshape(prepared.lattice.shape) > 0.5
    values = scan.data[0]
    wanted = (values - values.mean()) / values.std(ddof=1) > 0.5
    assert np.array_equal(prepared.orientation.to_scan(mask), wanted)


# --- placement ---


def box_of(prepared: PreparedVolume) -> np.ndarray:
    return prepared.grid[(slice(None), *map(slice, prepared.box_start, prepared.box_stop))]


def test_a_scan_of_another_shape_is_centred_on_its_foreground_without_interpolation() -> None:
    data = np.zeros((4, 300, 260, 180), np.float32)
    brain = np.random.default_rng(0).normal(100, 10, (4, 120, 140, 100)).astype(np.float32)
    data[:, 150:270, 100:240, 60:160] = brain
    prepared = prepare(get_task("brats"), make_volume(data, LPS))
    box = box_of(prepared)
    assert box.shape == (4, 240, 240, 155)
    # 120 of 240, 140 of 240 and 100 of 155 voxels, the odd one before.
    start = (60, 50, 28)
    placed = box[:, 60:180, 50:190, 28:128]
    mean, deviation = (x[:, None, None, None] for x in (box.mean((1, 2, 3)), box.std((1, 2, 3), ddof=1)))
    assert np.allclose(mean, 0, atol=1e-4)
    assert np.allclose(deviation, 1, atol=1e-4)
    whole = np.zeros((4, 240, 240, 155))
    whole[:, 60:180, 50:190, 28:128] = brain
    wanted = (brain - whole.mean((1, 2, 3), keepdims=True)) / whole.std((1, 2, 3), ddof=1, keepdims=True)
    assert np.allclose(placed, wanted, atol=1e-4)
    assert np.array_equal(np.diag(prepared.lattice.to_grid), np.ones(4))
    assert np.array_equal(
        prepared.lattice.to_grid[:3, 3],
        np.array(start) - (150, 100, 60) + get_task("brats").box_start,
    )


def test_the_foreground_lands_in_the_middle_whatever_the_spacing(a_small_brats: Task) -> None:
    shape, spacing = (50, 40, 60), (0.5, 0.8, 0.35)
    data = np.zeros(shape, np.float32)
    data[10:30, 5:21, 20:50] = np.random.default_rng(0).uniform(50, 150, (20, 16, 30))
    affine = LPS @ np.diag([*spacing, 1.0])
    prepared = prepare(a_small_brats, make_volume(data[None], affine))
    middle = voxel_to_world(prepared.lattice.to_grid, np.array([[19.5, 12.5, 34.5]]))[0] - prepared.box_start
    assert np.allclose(middle, (np.array(a_small_brats.box_shape) - 1) / 2, atol=1e-6)
    assert np.allclose(np.diag(prepared.lattice.to_grid)[:3], spacing)


def test_beyond_the_scan_the_box_shows_the_scans_own_background(a_small_brats: Task) -> None:
    scan = random_scan((20, 22, 17), (1, 1, 1))
    shifted = make_volume(scan.data - 500, scan.affine)
    assert np.allclose(prepare(a_small_brats, shifted).grid, prepare(a_small_brats, scan).grid, atol=1e-4)
    box = box_of(prepare(a_small_brats, shifted))[0]
    assert box[0, 0, 0] == box[-1, -1, -1] == box.min()


def test_a_head_taller_than_the_box_hangs_from_its_top(a_small_brats: Task) -> None:
    data = np.zeros((26, 30, 40), np.float32)
    data[5:21, 5:25, 4:35] = np.random.default_rng(0).uniform(50, 150, (16, 20, 31))
    for codes in ("LPS", "LPI", "SAR"):
        prepared = prepare(a_small_brats, stored_as(make_volume(data[None], LPS), codes))
        top = voxel_to_world(prepared.lattice.to_grid, np.array([[13, 15, 34]]))[0, 2]
        assert top == a_small_brats.box_start[2] + a_small_brats.box_shape[2] - 1


def test_outside_of_the_box_the_lattice_is_not_covered(a_small_brats: Task) -> None:
    scan = random_scan((60, 20, 50), (1.0, 1.0, 1.0))
    prepared = prepare(a_small_brats, scan)
    start, stop = prepared.covered_box()
    for index in indices_of(prepared.lattice.shape)[::7]:
        location = voxel_to_world(prepared.lattice.to_grid, index[None])[0]
        is_in_box = np.all((location >= prepared.box_start) & (location < prepared.box_stop))
        assert is_in_box == bool(np.all((index >= start) & (index < stop)))


def test_a_finer_region_is_covered_where_its_voxels_lie_in_the_box(a_small_brats: Task) -> None:
    prepared = prepare(a_small_brats, random_scan((60, 20, 50), (1.0, 1.0, 1.0)))
    start, stop = prepared.covered_box()
    fine = prepared.lattice.region((0, 0, 0), prepared.lattice.shape, 2.0)
    assert prepared.covered_box(fine) == (tuple(2 * a for a in start), tuple(2 * b for b in stop))


def test_a_small_scan_is_centred_and_padded_with_zeros_after_its_own_z_score() -> None:
    task = get_task("hippocampus")
    data = np.random.default_rng(0).normal(5000, 700, (35, 51, 32)).astype(np.float32)
    prepared = prepare(task, make_volume(data[None], np.eye(4)))
    inside = prepared.grid[0, 7:42, 7:58, 8:40]
    assert np.allclose(inside, (data - data.mean()) / data.std(ddof=1), atol=1e-4)
    outside = prepared.grid.copy()
    outside[0, 7:42, 7:58, 8:40] = 0
    assert not outside.any()


def test_a_scan_larger_than_the_grid_is_cut_around_its_centre() -> None:
    task = get_task("hippocampus")
    data = np.random.default_rng(0).normal(5000, 700, (60, 70, 32)).astype(np.float32)
    prepared = prepare(task, make_volume(data[None], np.eye(4)))
    cut = data[6:54, 3:67]
    assert np.allclose(prepared.grid[0, :, :, 8:40], (cut - cut.mean()) / cut.std(ddof=1), atol=1e-4)
    assert prepared.covered_box() == ((6, 3, 0), (54, 67, 32))


@pytest.mark.parametrize("spacing", [(1.004, 0.996, 1.0), (1.0, 1.0, 1.0)])
def test_spacing_within_a_hundredth_counts_as_equal(a_small_brats: Task, spacing: tuple[float, float, float]) -> None:
    prepared = prepare(a_small_brats, random_scan((26, 30, 17), spacing))
    assert np.array_equal(np.diag(prepared.lattice.to_grid), np.ones(4))


def test_a_real_brain_fits_into_the_box(a_data_folder: Path) -> None:
    volume = read_volume(a_data_folder / "ms_brain" / "patient07_flair.nii.gz")
    prepared = prepare(small(get_task("brats")), volume)
    values = Orientation.between(volume.affine, volume.shape, "LPS").to_task(volume.data)[0]
    start, stop = prepared.covered_box()
    left_out = values.copy()
    left_out[tuple(map(slice, start, stop))] = 0
    assert np.abs(left_out).max() < 0.05 * values.max()


# --- refused ---


def test_images_that_show_nothing_where_the_network_looks_are_refused(a_small_brats: Task) -> None:
    task = replace(a_small_brats, modalities=get_task("brats").modalities[:2])
    data = np.zeros((2, 90, 30, 17), np.float32)
    data[0, 5:25, 5:25, 4:14] = np.random.default_rng(0).uniform(50, 100, (20, 20, 10))
    data[1, -1, -1, -1] = 1
    with pytest.raises(InputError, match="constant where the network looks"):
        prepare(task, make_volume(data, LPS))
