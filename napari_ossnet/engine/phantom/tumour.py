"""Tumours grown into a head: a core that pushes, and an oedema that follows white matter from there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_ossnet.engine.phantom.anatomy import FULL_BOX, Box, Pose, brain_box, knots_from_grid
from napari_ossnet.engine.phantom.random_fields import (
    FloatArray,
    blurred,
    layered_noise,
    linear_matrix,
    separable,
    smooth_noise,
)
from napari_ossnet.engine.phantom.tissues import FLUIDS, Tissue, member_table, tissue_table
from napari_ossnet.engine.phantom.tumour_kinds import TumourPlan

COARSE = 3
"""Stride of the first look at the head, in voxels: where to put the core, how it pushes."""
WORK = 2
"""Stride of the grid on which a tumour's shape is grown."""

_BRAIN = member_table(*[t for t in Tissue if 0 < t < Tissue.SOFT_TISSUE])
_BEYOND = 150.0
_IS_FLUID = member_table(*FLUIDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesion:
    """A tumour on the voxels of a window.

    Attributes:
        window: Where the arrays lie in the box that the tumour was grown in.
        labels: uint8: 1 core without enhancement or necrosis, 2 oedema, 3 enhancing; 0 elsewhere.
        water: 0 to 1, how much of the oedema's change of contrast a voxel has.
        core: 0 to 1, the share of core tissue.
        necrosis: 0 to 1, the necrotic share of the core.
        enhancement: 0 to 1, the enhancing share of the core.
    """

    window: Box
    labels: NDArray[np.uint8]
    water: FloatArray
    core: FloatArray
    necrosis: FloatArray
    enhancement: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """The core's and the brain's signed depths on a coarse grid: positive inside, about in mm."""

    depth: FloatArray
    brain: FloatArray
    box: Box
    stride: int
    volume_ml: float


def place_core(rng: np.random.Generator, pose: Pose, plan: TumourPlan) -> Core:
    """Draw where the core lies and how it is shaped, before anything is pushed."""
    whole = pose.render(FULL_BOX, COARSE, with_images=False).tissues
    box = brain_box(whole, COARSE, margin=6)
    tissues = pose.render(box, COARSE, with_images=False).tissues
    brain = closed_brain(tissues, COARSE, radius_mm=6.0)
    seed = _draw_seed(rng, tissues, brain, plan)
    distance = _ellipsoid_distance(rng, tissues.shape, seed, plan.elongation) * COARSE
    radius = (plan.core_ml * 1e3 * 3 / (4 * np.pi)) ** (1 / 3)
    rough = plan.roughness * radius
    noise = layered_noise(
        rng, tissues.shape, {22 / COARSE: 0.45 * rough, 11 / COARSE: 0.3 * rough, 5 / COARSE: 0.12 * rough}
    )
    penalty = tissue_table({Tissue.VENTRICLE: 1.2, Tissue.CSF: 0.35, Tissue.CORTEX: 0.1})[tissues] * radius
    level = blurred(distance + penalty + noise, 0.7)
    level += np.where(brain > 0, 0, 1e3).astype(np.float32)
    wanted = min(int(plan.core_ml * 1e3 / COARSE**3) + 1, level.size - 1)
    threshold = np.partition(level.ravel(), wanted)[wanted]
    depth = np.clip(threshold - level, -60, None)
    return Core(depth=depth.astype(np.float32), brain=brain, box=box, stride=COARSE, volume_ml=plan.core_ml)


def push_of(core: Core, strength_mm: float) -> FloatArray:
    """(3, knots): the displacement by which the core pushes its surroundings away, for `Pose.pushed`."""
    soft = (core.depth > 0).astype(np.float32)
    # The skull does not give way.
    room = np.clip(blurred(core.brain, 2.0) / 14.0, 0, 1)
    radius = (max(core.volume_ml, 0.5) * 1e3 * 3 / (4 * np.pi)) ** (1 / 3)
    soft = blurred(soft, max(radius * 0.7, 5.0) / core.stride)
    gradient = np.stack(list(np.gradient(soft))).astype(np.float32)
    gradient *= np.float32(strength_mm) / max(float(np.sqrt((gradient**2).sum(0)).max()), 1e-9)
    gradient *= room
    return np.stack([knots_from_grid(g, core.box, core.stride) for g in gradient])


def grow(rng: np.random.Generator, tissues: NDArray[np.uint8], box: Box, core: Core, plan: TumourPlan) -> Lesion:
    """The whole tumour on the voxels of ``box``: core, and oedema grown from it.

    Args:
        rng: Source of randomness.
        tissues: The pushed head on the box's voxels, 1 mm.
        box: Where these voxels lie in the scan's grid.
        core: From `place_core`.
        plan: What kind of tumour it is to be.
    """
    window = _window(core, box, plan)
    tissues = tissues[window]
    depth = _upsampled(core.depth, core.box, core.stride, _within(box, window))
    depth += smooth_noise(rng, tissues.shape, 2.5) * np.float32(0.35)
    inside = (depth > 0) & _BRAIN[tissues]
    reach = _oedema_reach(rng, tissues, inside, plan)
    fluid = blurred(_IS_FLUID[tissues].astype(np.float32), 0.8)
    allowed = _BRAIN[tissues] & (fluid < plan.fluid_limit) & (tissues != Tissue.VENTRICLE)
    whole = inside | _cut_to_volume(reach, allowed & ~inside, plan.whole_ml * 1e3 - inside.sum())
    border = float(reach[whole & ~inside].max()) if (whole & ~inside).any() else 0.0
    water = _water(rng, reach, border, tissues, plan)
    core_share = np.clip(depth / plan.core_softness_mm + 0.5, 0, 1).astype(np.float32)
    necrosis, enhancement = _compartments(rng, depth, plan)
    labels = np.where(whole, 2, 0).astype(np.uint8)
    labels[inside] = np.where(enhancement[inside] > 0.5, 3, 1)
    return Lesion(
        window=window, labels=labels, water=water, core=core_share, necrosis=necrosis, enhancement=enhancement
    )


def _window(core: Core, box: Box, plan: TumourPlan) -> Box:
    """The part of the box, in its own voxels, that the tumour can reach."""
    reach_mm = int((plan.whole_ml * 1e3 * 3 / (4 * np.pi)) ** (1 / 3) * 1.5 + 18)
    parts = []
    for axis, (target, source) in enumerate(zip(box, core.box, strict=True)):
        hit = np.flatnonzero((core.depth > 0).any(axis=tuple(a for a in range(3) if a != axis))) * core.stride
        first = source.start - target.start + int(hit[0]) - reach_mm
        last = source.start - target.start + int(hit[-1]) + reach_mm
        parts.append(slice(max(first, 0), min(last, target.stop - target.start)))
    return (parts[0], parts[1], parts[2])


def _within(box: Box, window: Box) -> Box:
    i, j, k = (slice(b.start + w.start, b.start + w.stop) for b, w in zip(box, window, strict=True))
    return (i, j, k)


def closed_brain(tissues: NDArray[np.uint8], stride: int, radius_mm: float) -> FloatArray:
    """Signed distance in mm, positive inside the brain with its sulci filled (a closing of what is not fluid)."""
    from scipy.ndimage import distance_transform_edt

    solid = _BRAIN[tissues] & (tissues != Tissue.CSF)
    outside = distance_transform_edt(~solid) * stride
    filled = outside < radius_mm
    inner = distance_transform_edt(filled) * stride - radius_mm
    within = distance_transform_edt(inner > 0) * stride
    without = distance_transform_edt(inner <= 0) * stride
    return np.where(inner > 0, within - stride / 2, stride / 2 - without).astype(np.float32)


def _draw_seed(
    rng: np.random.Generator, tissues: NDArray[np.uint8], brain: FloatArray, plan: TumourPlan
) -> NDArray[np.float64]:
    weights = tissue_table(
        {
            Tissue.WHITE: 1.0,
            Tissue.CORTEX: plan.cortex_affinity,
            Tissue.STRIATUM: 0.15,
            Tissue.THALAMUS: 0.2,
            Tissue.LIMBIC: 0.3,
            Tissue.BRAIN_STEM: 0.03,
            Tissue.CEREBELLUM_WHITE: 0.03,
        }
    )[tissues]
    weights *= np.exp(0.8 * smooth_noise(rng, tissues.shape, 30 / COARSE)) * (brain > 4)
    sums = np.cumsum(weights.ravel(), dtype=np.float64)
    index = int(np.searchsorted(sums, rng.uniform(0, sums[-1])))
    return np.array(np.unravel_index(index, tissues.shape), dtype=np.float64)


def _ellipsoid_distance(
    rng: np.random.Generator, shape: tuple[int, ...], centre: NDArray[np.float64], elongation: float
) -> FloatArray:
    axes = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    scales = np.exp(rng.uniform(-elongation, elongation, 3))
    scales /= np.prod(scales) ** (1 / 3)
    form = (axes * scales) @ axes.T
    offsets = np.meshgrid(*[np.arange(n) - c for n, c in zip(shape, centre, strict=True)], indexing="ij", sparse=True)
    square = sum(
        (form[row, 0] * offsets[0] + form[row, 1] * offsets[1] + form[row, 2] * offsets[2]) ** 2 for row in range(3)
    )
    return np.sqrt(square).astype(np.float32)


def _upsampled(values: FloatArray, source: Box, stride: int, target: Box) -> FloatArray:
    matrices = [
        linear_matrix((np.arange(t.start, t.stop) - s.start) / stride, n)
        for t, s, n in zip(target, source, values.shape, strict=True)
    ]
    return separable(matrices, values)


def _oedema_reach(
    rng: np.random.Generator, tissues: NDArray[np.uint8], inside: NDArray[np.bool_], plan: TumourPlan
) -> FloatArray:
    """How far a voxel is from the core for water that runs along white matter, in mm; large where it never comes."""
    from scipy.ndimage import distance_transform_edt
    from skimage.graph import MCP_Geometric

    start = inside[::WORK, ::WORK, ::WORK]
    # Means of blocks, so that a fissure one voxel wide still stands in the way.
    cost = _block_means(tissue_table(plan.costs, default=_BEYOND)[tissues])
    noise = layered_noise(rng, cost.shape, {14 / WORK: plan.finger, 6 / WORK: 0.6 * plan.finger})
    cost = np.where(start, 0.01, cost * np.exp(noise))
    seeds = np.argwhere(start)
    if len(seeds) == 0:
        return np.full(tissues.shape, 1e3, dtype=np.float32)
    walked, _ = MCP_Geometric(cost).find_costs(seeds)
    straight = distance_transform_edt(~start)
    reach = (plan.along * walked + (1 - plan.along) * straight) * WORK
    reach = blurred(np.minimum(reach, 400.0).astype(np.float32), plan.smoothing_mm / WORK)
    matrices = [linear_matrix(np.arange(n) / WORK, m) for n, m in zip(tissues.shape, reach.shape, strict=True)]
    return separable(matrices, reach) + smooth_noise(rng, tissues.shape, 3.0) * np.float32(0.4)


def _block_means(values: FloatArray) -> FloatArray:
    """Means over blocks of `WORK` voxels a side; a last layer that doesn't fill a block is held."""
    filled = np.pad(values, [(0, -n % WORK) for n in values.shape], mode="edge")
    i, j, k = (n // WORK for n in filled.shape)
    return filled.reshape(i, WORK, j, WORK, k, WORK).mean(axis=(1, 3, 5))


def _cut_to_volume(reach: FloatArray, allowed: NDArray[np.bool_], voxels: float) -> NDArray[np.bool_]:
    values = reach[allowed]
    wanted = int(min(max(voxels, 0), values.size - 1))
    if wanted == 0:
        return np.zeros(reach.shape, dtype=bool)
    threshold = min(float(np.partition(values, wanted)[wanted]), 150.0)
    return allowed & (reach < threshold)


def _water(
    rng: np.random.Generator, reach: FloatArray, border: float, tissues: NDArray[np.uint8], plan: TumourPlan
) -> FloatArray:
    profile = np.clip((border - reach) / plan.softness_mm + 0.5, 0, 1)
    faded = plan.floor + (1 - plan.floor) * np.clip(1 - reach / max(border, 1e-3), 0, 1)
    uneven = 1 + plan.unevenness * np.clip(layered_noise(rng, reach.shape, {12.0: 0.7, 5.0: 0.5}), -2, 2)
    response = blurred(tissue_table(plan.response)[tissues], 0.6)
    return np.clip(profile * faded * uneven, 0, 1.5) * response


def _compartments(rng: np.random.Generator, depth: FloatArray, plan: TumourPlan) -> tuple[FloatArray, FloatArray]:
    rim = plan.rim_mm * np.exp(0.45 * smooth_noise(rng, depth.shape, 9.0) + 0.25 * smooth_noise(rng, depth.shape, 4.0))
    necrosis = np.clip((depth - rim) / 1.2 + 0.5, 0, 1) if plan.is_necrotic else np.zeros_like(depth)
    patches = layered_noise(rng, depth.shape, {10.0: 0.8, 4.0: 0.6})
    enhancing = np.clip((patches - plan.enhancement_level) / 0.4 + 0.5, 0, 1) * (1 - necrosis)
    return necrosis.astype(np.float32), np.where(depth > -1, enhancing, 0).astype(np.float32)
