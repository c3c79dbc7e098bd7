"""What a training run may be told: frozen settings and what can't hold together; ``recipe_files.py`` reads them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from napari_ossnet.engine.refining.step_sizes import STEPS


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSettings:
    """Where the cases come from and which of them validate."""

    #: How the folder is laid out; ``auto`` looks at what lies in it.
    layout: Literal["auto", "brats", "lits", "decathlon", "pairs", "pool"] = "auto"
    #: The data set's folder, dataset.json or CSV file; usually given on the command line.
    path: str = ""
    #: A bundled split by name, a text or JSON file, or empty for a random one by the seed; a pool has its own.
    split: str = ""
    #: Share of the cases that validate where no split is given.
    validation_fraction: float = 0.1
    #: How label numbers map to the task's classes: ``[[from, to], ...]``; anything else positive is an error.
    label_map: tuple[tuple[int, int], ...] = ()
    #: Take cases whose label has no foreground.
    allow_empty: bool = False
    #: Processes that read cases ahead; 0 reads in the training process.
    workers: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingSettings:
    """Which locations of a volume a step looks at."""

    #: ``all`` takes every voxel, for networks that answer densely.
    strategy: Literal["uniform", "border", "adaptive", "all"] = "uniform"
    #: Locations a volume and step; 2^14 in the paper.
    locations: int = 16384
    #: Share of them near the label's surface (or where the network is unsure); of the boxes, those that lie on it.
    border_fraction: float = 0.5
    #: Reach of the band to either side of the surface in voxels (about 7 in the published script); of no use to boxes.
    border_voxels: int = 7
    #: Boxes a volume that the locations lie in; 0 spreads them over the whole volume.
    boxes: int = 0
    #: Edge of such a box in voxels.
    box_voxels: int = 32
    #: Planes a volume that a network of two dimensions sees.
    planes: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimiserSettings:
    """How weights move."""

    name: Literal["radam", "adamw", "adam"] = "radam"
    learning_rate: float = 3e-4
    #: The Pade activation units' own rate; they have no weight decay.
    pade_learning_rate: float = 1e-2
    weight_decay: float = 0.0
    #: Lookahead's fast steps a slow one (Zhang et al., 2019); 0 leaves it out.
    lookahead_steps: int = 5
    lookahead_alpha: float = 0.8
    schedule: Literal["constant", "milestones", "cosine", "plateau"] = "milestones"
    #: Epochs after which the rate is divided by ten.
    milestones: tuple[int, ...] = (20, 30)
    #: Epochs without a better validation Dice after which ``plateau`` divides the rate by ten.
    patience: int = 20
    #: Steps over which the rate rises from zero.
    warmup_steps: int = 0
    #: Largest norm of all gradients together; 0 leaves them as they are.
    clip_norm: float = 0.0
    #: Decay a step of the running average of weights that is validated and exported; 0 uses the weights themselves.
    average_decay: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LossSettings:
    """What counts as wrong."""

    #: Weight of the auxiliary segmentation's cross-entropy (0.1 in the paper).
    auxiliary: float = 0.1
    #: Weight of a soft Dice loss over the step's locations; PFSeg's own Dice loss over its output (published: 1).
    dice: float = 0.0
    #: PFSeg alone, 0.5 each as published; 0 leaves a term out: the super-resolved image against the scan ...
    super_resolution: float = 0.5
    #: ... the same inside the guidance crop ...
    guidance: float = 0.5
    #: ... segmentation times image against label times scan (its paper's target-enhanced loss) ...
    target_enhanced: float = 0.5
    #: ... and the self-similarity of these products, averaged over cubes of 10^3 voxels.
    self_similarity: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentationSettings:
    """Random changes of a training case, each applied with ``probability`` unless it has its own."""

    probability: float = 0.5
    #: Axes (0, 1, 2 of the network's grid) that may be flipped.
    flip_axes: tuple[int, ...] = ()
    flip_probability: float = 0.5
    rotation_degrees: float = 0.0
    #: Largest relative change of size.
    scale: float = 0.0
    shift_voxels: float = 0.0
    #: Standard deviation of a smooth random warp in voxels.
    elastic_voxels: float = 0.0
    #: Spacing of the warp's control points in voxels.
    elastic_spacing: int = 12
    #: Largest additive change, in standard deviations of the scan.
    brightness: float = 0.0
    #: Largest relative change of contrast.
    contrast: float = 0.0
    #: Largest bend of the intensity curve, 0 to 1; roughly a change of log gamma.
    tone: float = 0.0
    #: Largest standard deviation of additive noise.
    noise: float = 0.0
    #: Draw the noise's standard deviation from 0 to ``noise``; the paper always uses the whole.
    is_noise_varied: bool = False
    #: Largest standard deviation of a blur in voxels.
    blur_voxels: float = 0.0
    #: Largest log amplitude of a smooth multiplicative field.
    bias_field: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationSettings:
    """When and how the run is judged."""

    #: Epochs between validations; 0 goes by minutes.
    every_epochs: int = 1
    #: Minutes between validations; 0 goes by epochs.
    every_minutes: float = 0.0
    #: Dense masks or the paper's uniform locations, both on the network's grid; `ossnet-train evaluate` alone judges
    #: in the scans' own voxels.
    protocol: Literal["dense", "sampled"] = "sampled"
    #: Finest step of the dense protocol in voxels of the grid: 1, 2, 4, 8 or 16; 2 is quicker and nearly as exact.
    step: int = 1
    #: Locations a volume of the sampled protocol; 2^17 in the paper.
    locations: int = 131072
    #: Only the first so many validation cases; 0 takes all.
    cases: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """All settings of a run; ``config.toml`` in a run's folder is one of these in full."""

    task: str
    variant: str = "c"
    title: str = ""
    seed: int = 0
    epochs: int = 50
    #: Volumes a step, over all processes together.
    batch_size: int = 8
    #: Minutes of training alone, validations not counted, after which a run stops whatever ``epochs`` says; 0 goes by
    #: epochs.
    minutes: float = 0.0
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"
    #: auto, cpu, cuda, cuda:1 (with a single process), mps.
    device: str = "auto"
    #: Seconds between checkpoints.
    checkpoint_seconds: float = 120.0
    #: What the model card says about the data; of a bundled recipe only where its own split was trained on.
    training_data: str = ""
    licence: str = ""
    citation: str = ""
    #: Overrides of the task's geometry (``grid_shape``, ``latent_grid``, ``classes``, ``modalities``, ...).
    geometry: Mapping[str, Any] = field(default_factory=dict)
    #: Overrides of the variant's network configuration.
    network: Mapping[str, Any] = field(default_factory=dict)
    data: DataSettings = field(default_factory=DataSettings)
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    optimiser: OptimiserSettings = field(default_factory=OptimiserSettings)
    loss: LossSettings = field(default_factory=LossSettings)
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)
    validation: ValidationSettings = field(default_factory=ValidationSettings)


def contradictions(recipe: Recipe) -> list[str]:
    """Settings that are each well formed but can't hold together or lie out of range, in words."""
    at_least = {
        "seed": (recipe.seed, 0),
        "epochs": (recipe.epochs, 1),
        "batch_size": (recipe.batch_size, 1),
        "minutes": (recipe.minutes, 0),
        "checkpoint_seconds": (recipe.checkpoint_seconds, 1),
        "sampling.locations": (recipe.sampling.locations, 1),
        "sampling.border_voxels": (recipe.sampling.border_voxels, 1),
        "sampling.boxes": (recipe.sampling.boxes, 0),
        "sampling.box_voxels": (recipe.sampling.box_voxels, 8),
        "sampling.planes": (recipe.sampling.planes, 1),
        "data.workers": (recipe.data.workers, 0),
        "validation.locations": (recipe.validation.locations, 1),
        "optimiser.learning_rate": (recipe.optimiser.learning_rate, 0),
        "optimiser.pade_learning_rate": (recipe.optimiser.pade_learning_rate, 0),
        "optimiser.weight_decay": (recipe.optimiser.weight_decay, 0),
        "optimiser.patience": (recipe.optimiser.patience, 1),
        "validation.every_epochs": (recipe.validation.every_epochs, 0),
        "validation.every_minutes": (recipe.validation.every_minutes, 0),
        "validation.step": (recipe.validation.step, 1),
        "validation.cases": (recipe.validation.cases, 0),
    }
    problems = [
        f"{name} must be at least {low}, found {value}" for name, (value, low) in at_least.items() if value < low
    ]
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", recipe.device):
        problems.append(f"device must be auto, cpu, cuda, cuda:n or mps, found {recipe.device!r}")
    if recipe.validation.protocol == "dense" and recipe.validation.step not in STEPS:
        steps = ", ".join(map(str, STEPS))
        problems.append(f"validation.step must be one of {steps} with protocol=dense, found {recipe.validation.step}")
    if recipe.variant == "unet-2d" and recipe.sampling.strategy == "adaptive":
        problems.append("sampling.strategy=adaptive chooses single locations, but unet-2d sees whole planes")
    if recipe.sampling.boxes and recipe.sampling.strategy == "adaptive":
        problems.append("sampling.strategy=adaptive chooses single locations, whatever boxes; use sampling.boxes=0")
    if not recipe.validation.every_epochs and not recipe.validation.every_minutes:
        problems.append("validation.every_epochs or validation.every_minutes must be above 0")
    fractions = {
        "sampling.border_fraction": recipe.sampling.border_fraction,
        "data.validation_fraction": recipe.data.validation_fraction,
        "augmentation.probability": recipe.augmentation.probability,
        "augmentation.flip_probability": recipe.augmentation.flip_probability,
        "optimiser.average_decay": recipe.optimiser.average_decay,
    }
    problems += [
        f"{name} must lie in 0 to 1, found {value}" for name, value in fractions.items() if not 0 <= value <= 1
    ]
    problems += [
        f"augmentation.flip_axes must be 0, 1 or 2, found {a}"
        for a in recipe.augmentation.flip_axes
        if a not in (0, 1, 2)
    ]
    return problems
