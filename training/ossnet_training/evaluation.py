"""Judging weights on labelled cases: dense masks in the scan's own voxels, and the paper's sampled protocol."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.fields.build import build_field
from napari_ossnet.engine.fields.protocol import OccupancyField
from napari_ossnet.engine.scans.scan_frame import cropped
from napari_ossnet.engine.tasks import PreparedVolume, Task, prepare
from napari_ossnet.engine.volume import Volume
from ossnet_training.answering import classes_at_locations, dense_classes, finish
from ossnet_training.cache import class_numbers, label_on_grid, read_case
from ossnet_training.cases import Case
from ossnet_training.losses import classes_at
from ossnet_training.overlap import class_columns, dice_of, iou_of, overlap_counts
from ossnet_training.pool_cases import PoolCase, read_pool_case
from ossnet_training.sampling import case_generator, uniform_locations
from ossnet_training.splits import some_names
from ossnet_training.surface_distance import hd95_mm
from ossnet_training.thresholds import best_threshold_mask, otsu_mask

Protocol = Literal["dense", "sampled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How well one class of one case was found.

    ``hd95_mm`` is NaN in the sampled protocol, infinite where found or truth is empty; ``volume_error`` is the signed
    error relative to the true volume, NaN where that is 0.
    """

    case: str
    region: str
    dice: float
    iou: float
    hd95_mm: float
    volume_error: float
    true_ml: float
    elapsed_s: float


#: The figures of a score that tables show, in order.
FIGURES = ("dice", "iou", "hd95_mm", "volume_error")


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One answer beside the truth: class numbers of the same shape, and the size of a voxel."""

    found: Tensor
    truth: Tensor
    spacing_mm: tuple[float, float, float] | None
    voxel_ml: float


def evaluate_cases(
    network: nn.Module,
    task: Task,
    cases: Sequence[Case | PoolCase],
    *,
    device: torch.device,
    protocol: Protocol = "dense",
    locations: int = 2**17,
    label_map: Sequence[tuple[int, int]] = (),
    seed: int = 0,
) -> Iterator[list[Score]]:
    """Scores of each case: the whole foreground, then each class where there are several.

    Args:
        network: In evaluation mode.
        task: Of the weights.
        cases: With labels.
        device: Where to answer.
        protocol: ``dense`` masks in native voxels through the octree, or uniform ``sampled`` locations (paper).
        locations: Of the sampled protocol.
        label_map: As in training.
        seed: Of the sampled locations.

    Raises:
        InputError: A case can't be read, with its name.
    """
    for number, case in enumerate(cases):
        volume, classes = _read(case, task, label_map)
        started_at = time.perf_counter()
        prepared = prepare(task, volume)
        field = finish(build_field(network, prepared, device=device))
        if protocol == "dense":
            judged = _dense(field, prepared, classes)
        else:
            generator = case_generator(seed, 0, number, stream=5)
            judged = _sampled(field, prepared, classes, locations, generator)
        yield list(_scores(case.name, task, judged, time.perf_counter() - started_at))


def threshold_scores(
    task: Task, cases: Sequence[Case | PoolCase], *, channel: int = 0, label_map: Sequence[tuple[int, int]] = ()
) -> Iterator[tuple[Score, Score]]:
    """Scores of Otsu's threshold of a channel and of the best threshold, each with its largest component."""
    for case in cases:
        volume, classes = _read(case, task, label_map)
        truth = classes > 0
        scores = []
        for make in (otsu_mask, lambda image, truth=truth: best_threshold_mask(image, truth)):
            started_at = time.perf_counter()
            judged = Judged(
                found=torch.from_numpy(make(volume.data[channel]).astype(np.uint8)),
                truth=torch.from_numpy(truth.astype(np.uint8)),
                spacing_mm=volume.spacing_mm,
                voxel_ml=math.prod(volume.spacing_mm) / 1000,
            )
            scores.append(next(_scores(case.name, task, judged, time.perf_counter() - started_at)))
        yield scores[0], scores[1]


def _read(case: Case | PoolCase, task: Task, label_map: Sequence[tuple[int, int]]) -> tuple[Volume, np.ndarray]:
    """A case's scan, and its label as class numbers."""
    volume, label = read_pool_case(case) if isinstance(case, PoolCase) else read_case(case, task)
    try:
        return volume, class_numbers(label, task, label_map)
    except InputError as error:
        raise InputError(f"Case {case.name}: {error}") from error


def _dense(field: OccupancyField, prepared: PreparedVolume, classes: np.ndarray) -> Judged:
    """The whole scan's mask, as `ossnet segment` makes it; what the grid does not cover is background."""
    start, stop = prepared.covered_box()
    found = np.zeros(prepared.lattice.shape, dtype=np.uint8)
    part = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    found[part] = dense_classes(field, cropped(prepared.lattice, start, stop)).cpu().numpy()
    spacing = prepared.volume.spacing_mm
    return Judged(
        found=torch.from_numpy(np.ascontiguousarray(prepared.orientation.to_scan(found))),
        truth=torch.from_numpy(classes),
        spacing_mm=spacing,
        voxel_ml=math.prod(spacing) / 1000,
    )


def _sampled(
    field: OccupancyField, prepared: PreparedVolume, classes: np.ndarray, count: int, generator: torch.Generator
) -> Judged:
    """Uniform locations of the network's grid, each standing for its share of the grid's volume."""
    label = torch.from_numpy(label_on_grid(classes, prepared))
    indices = uniform_locations(label.shape, count, generator)
    grid_ml = abs(np.linalg.det(prepared.grid_affine[:3, :3])) * label.numel() / 1000
    return Judged(
        found=classes_at_locations(field, indices).cpu(),
        truth=classes_at(label, indices),
        spacing_mm=None,
        voxel_ml=grid_ml / count,
    )


def _scores(case: str, task: Task, judged: Judged, elapsed_s: float) -> Iterator[Score]:
    counts = overlap_counts(judged.found, judged.truth, len(task.classes))
    for number, region in enumerate(class_columns([entry.name for entry in task.classes])):
        found_ml, true_ml = (float(value) * judged.voxel_ml for value in counts[number, :2])
        yield Score(
            case=case,
            region=region,
            dice=float(dice_of(counts[number])),
            iou=float(iou_of(counts[number])),
            hd95_mm=_surface_distance(judged, number),
            volume_error=(found_ml - true_ml) / true_ml if true_ml else math.nan,
            true_ml=true_ml,
            elapsed_s=elapsed_s,
        )


def _surface_distance(judged: Judged, number: int) -> float:
    if judged.spacing_mm is None:
        return math.nan
    masks = [((labels > 0) if number == 0 else (labels == number)).numpy() for labels in (judged.found, judged.truth)]
    return hd95_mm(masks[0], masks[1], judged.spacing_mm)


def cases_by_name(cases: Sequence[Case | PoolCase], names: Sequence[str]) -> list[Case | PoolCase]:
    """The cases of these names, in their order.

    Raises:
        InputError: The data set lacks some of them.
    """
    known = {case.name: case for case in cases}
    missing = [name for name in names if name not in known]
    if missing:
        raise InputError(
            f"The data set lacks {len(missing)} of the {len(names)} cases to judge ({some_names(missing)}); check "
            "--data and --split; a weights file without --split is judged on all cases that there are."
        )
    return [known[name] for name in names]
