"""One synthetic scan: a head, posed, with tumours and distractors, in four modalities, skull-stripped."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from napari_ossnet.engine.phantom.acquisition import AcquisitionRanges, acquire
from napari_ossnet.engine.phantom.anatomy import FULL_BOX, Box, Head, Pose, PoseRanges, brain_box
from napari_ossnet.engine.phantom.contrast import add_lesion, paint
from napari_ossnet.engine.phantom.distractors import (
    DistractorRanges,
    add_caps,
    add_meninges,
    add_spots,
    add_vessels,
    flow_field,
)
from napari_ossnet.engine.phantom.random_fields import FloatArray, linear_matrix, separable, smooth_noise
from napari_ossnet.engine.phantom.remap import remapped
from napari_ossnet.engine.phantom.tissues import Tissue
from napari_ossnet.engine.phantom.tumour import COARSE, WORK, closed_brain, grow, place_core, push_of
from napari_ossnet.engine.phantom.tumour_kinds import TumourPlan, TumourRanges, draw_plan


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanRanges:
    """All ranges from which a scan is drawn.

    Attributes:
        pose: How the head is placed.
        tumour: What grows in it.
        distractors: What else is bright.
        acquisition: What the scanner does to it.
        healthy: Probability of no tumour in heads that are painted.
        healthy_real: The same for heads from real scans: nothing shows better what real brains look like.
    """

    pose: PoseRanges = field(default_factory=PoseRanges)
    tumour: TumourRanges = field(default_factory=TumourRanges)
    distractors: DistractorRanges = field(default_factory=DistractorRanges)
    acquisition: AcquisitionRanges = field(default_factory=AcquisitionRanges)
    healthy: float = 0.05
    healthy_real: float = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticScan:
    """A scan with its truth, cropped to the brain.

    Attributes:
        image: (4, i, j, k) float32: FLAIR, T1, T1ce, T2; 0 outside the brain mask; white matter about 1.
        labels: (i, j, k) uint8: 1 core, 2 oedema, 3 enhancing.
        box: Where the crop lies in the 240 x 240 x 155 grid.
        head: Name of the head.
        plans: The tumours.
    """

    image: FloatArray
    labels: NDArray[np.uint8]
    box: Box
    head: str
    plans: tuple[TumourPlan, ...]


def make_scan(rng: np.random.Generator, head: Head, ranges: ScanRanges) -> SyntheticScan:
    """Draw one scan of a head; equal generators give equal scans."""
    pose = Pose.draw(rng, head, ranges.pose)
    healthy = ranges.healthy if head.images is None else ranges.healthy_real
    plans = [] if rng.random() < healthy else _draw_plans(rng, ranges.tumour)
    cores = []
    for plan in plans:
        core = place_core(rng, pose, plan)
        pose = pose.pushed(push_of(core, plan.push_mm))
        cores.append(core)
    box = brain_box(pose.render(FULL_BOX, COARSE, with_images=False).tissues, COARSE, margin=5)
    rendered = pose.render(box)
    tissues = rendered.tissues
    lesions = [grow(rng, tissues, box, core, plan) for core, plan in zip(cores, plans, strict=True)]
    labels = np.zeros(tissues.shape, dtype=np.uint8)
    for lesion in lesions:
        part = labels[lesion.window]
        part[lesion.labels > 0] = lesion.labels[lesion.labels > 0]
    depth = _brain_depth(tissues, labels)
    mask_depth = _mask_depth(rng, tissues, depth, rendered.brain)
    if rendered.images is None:
        image = _painted(rng, tissues, depth, mask_depth, ranges)
    else:
        image = remapped(rng, rendered.images, tissues)
    add_spots(rng, image, tissues, ranges.distractors)
    for plan, lesion in zip(plans, lesions, strict=True):
        add_lesion(rng, image, lesion, plan.kind)
    image = np.stack([acquire(rng, channel, ranges.acquisition) for channel in image])
    mask = mask_depth > 0
    return SyntheticScan(image=image * mask, labels=labels * mask, box=box, head=head.name, plans=tuple(plans))


def _draw_plans(rng: np.random.Generator, ranges: TumourRanges) -> list[TumourPlan]:
    count = 2 if rng.random() < ranges.several else 1
    return [draw_plan(rng, ranges) for _ in range(count)]


def _painted(
    rng: np.random.Generator,
    tissues: NDArray[np.uint8],
    depth: FloatArray,
    mask_depth: FloatArray,
    ranges: ScanRanges,
) -> FloatArray:
    tissues = tissues.copy()
    add_vessels(rng, tissues)
    image = paint(rng, tissues, flow_field(rng, tissues.shape, ranges.distractors), depth)
    add_caps(rng, image, tissues, ranges.distractors)
    add_meninges(rng, image, mask_depth)
    return image


def _brain_depth(tissues: NDArray[np.uint8], labels: NDArray[np.uint8]) -> FloatArray:
    """Distance from the surface of the brain with its sulci filled, in mm, positive inside."""
    coarse = tissues[::WORK, ::WORK, ::WORK].copy()
    coarse[labels[::WORK, ::WORK, ::WORK] > 0] = Tissue.WHITE
    distance = closed_brain(coarse, WORK, radius_mm=6.0)
    matrices = [linear_matrix(np.arange(n) / WORK, m) for n, m in zip(tissues.shape, distance.shape, strict=True)]
    return separable(matrices, distance)


def _mask_depth(
    rng: np.random.Generator, tissues: NDArray[np.uint8], depth: FloatArray, brain: NDArray[np.bool_] | None
) -> FloatArray:
    """Distance from the surface of an imperfect brain mask in mm, positive inside."""
    uneven = smooth_noise(rng, tissues.shape, 14.0) * np.float32(rng.uniform(0.1, 1.3))
    depth = depth + uneven + np.float32(rng.uniform(-0.3, 3.0))
    if brain is not None:
        depth = np.where(brain, depth, -1)
    return np.where(tissues > 0, depth, -1).astype(np.float32)
