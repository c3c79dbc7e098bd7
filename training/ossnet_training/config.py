"""What a training run may be told: frozen settings, read from a recipe (TOML) and ``key=value`` overrides.

A recipe is data. Every key is checked against the dataclasses below, and all problems are reported together, before
anything starts.
"""

from __future__ import annotations

import dataclasses
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from napari_ossnet.engine.errors import InputError

RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSettings:
    """Where the cases come from and which of them validate."""

    #: How the folder is laid out; ``auto`` looks at what lies in it.
    layout: Literal["auto", "brats", "lits", "decathlon", "pairs", "pool"] = "auto"
    #: The data set's folder, dataset.json or CSV file; usually given on the command line.
    path: str = ""
    #: A bundled split by name, a text or JSON file, or empty for a random one by the seed.
    split: str = ""
    #: Share of the cases that validate where no split is given.
    validation_fraction: float = 0.1
    #: How label numbers map to the task's classes: ``[[from, to], ...]``; anything else positive is an error.
    label_map: tuple[tuple[int, int], ...] = ()
    #: Processes that read cases ahead; 0 reads in the training process.
    workers: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingSettings:
    """Which locations of a volume a step looks at."""

    strategy: Literal["uniform", "border", "adaptive"] = "uniform"
    #: Locations a volume and step; 2^14 in the paper.
    locations: int = 16384
    #: Share of them near the label's surface (or where the network is unsure).
    border_fraction: float = 0.5
    #: Reach of the band to either side of the surface in voxels (about 7 in the published script).
    border_voxels: int = 7
    #: Boxes a volume that the locations lie in; 0 spreads them over the whole volume.
    boxes: int = 0
    #: Edge of such a box in voxels.
    box_voxels: int = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimiserSettings:
    """How weights move."""

    name: Literal["radam", "adamw"] = "radam"
    learning_rate: float = 3e-4
    #: The Pade activation units' own rate; they have no weight decay.
    pade_learning_rate: float = 1e-2
    weight_decay: float = 0.0
    #: Lookahead's fast steps a slow one (Zhang et al., 2019); 0 leaves it out.
    lookahead_steps: int = 5
    lookahead_alpha: float = 0.8
    schedule: Literal["constant", "milestones", "cosine"] = "milestones"
    #: Epochs after which the rate is divided by ten.
    milestones: tuple[int, ...] = (20, 30)
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
    #: Weight of a soft Dice loss over the step's locations.
    dice: float = 0.0


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
    #: Dense native masks or the paper's uniform locations.
    protocol: Literal["dense", "sampled"] = "sampled"
    #: Finest step of the dense protocol in voxels; 2 is quicker and nearly as exact.
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
    #: Wall-clock limit in minutes; 0 goes by epochs.
    minutes: float = 0.0
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"
    device: str = "auto"
    #: Seconds between checkpoints.
    checkpoint_seconds: float = 120.0
    #: What the model card says about the data.
    training_data: str = ""
    licence: str = ""
    citation: str = ""
    #: Overrides of the task's geometry (``grid_shape``, ``latent_grid``, ...).
    geometry: Mapping[str, Any] = field(default_factory=dict)
    #: Overrides of the variant's network configuration.
    network: Mapping[str, Any] = field(default_factory=dict)
    #: Settings that hold for one variant only, by its name; applied before the command line's.
    variants: Mapping[str, Any] = field(default_factory=dict)
    data: DataSettings = field(default_factory=DataSettings)
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    optimiser: OptimiserSettings = field(default_factory=OptimiserSettings)
    loss: LossSettings = field(default_factory=LossSettings)
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)
    validation: ValidationSettings = field(default_factory=ValidationSettings)


def recipe_names() -> list[str]:
    """Names of the bundled recipes."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def load_recipe(recipe: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe, lay its variant's own settings over it, then the overrides.

    Args:
        recipe: A bundled recipe's name or a .toml file.
        overrides: ``key=value`` texts; keys are dotted (``sampling.locations``) or, where only one setting has the
            name, bare (``locations``).

    Raises:
        InputError: The recipe is unknown or not TOML, or any setting is wrong; all problems in one text.
    """
    tree = _read_toml(recipe)
    problems: list[str] = []
    given: dict[str, Any] = {}
    for text in overrides:
        _place_override(text, given, problems)
    variant = given.get("variant", tree.get("variant", "c"))
    special = tree.get("variants", {}).get(variant, {}) if isinstance(tree.get("variants", {}), dict) else {}
    merged = _merge(_merge(tree, special), given)
    settings = _build(Recipe, merged, "", problems)
    if not problems:
        problems += contradictions(settings)
    if problems:
        raise InputError(
            f"The recipe {recipe} can't be used as given:\n" + "\n".join(f"  - {text}" for text in problems)
        )
    return settings


def contradictions(recipe: Recipe) -> list[str]:
    """Settings that are each well formed but can't hold together or lie out of range, in words."""
    at_least = {
        "epochs": (recipe.epochs, 1),
        "batch_size": (recipe.batch_size, 1),
        "minutes": (recipe.minutes, 0),
        "checkpoint_seconds": (recipe.checkpoint_seconds, 1),
        "sampling.locations": (recipe.sampling.locations, 1),
        "sampling.border_voxels": (recipe.sampling.border_voxels, 1),
        "sampling.boxes": (recipe.sampling.boxes, 0),
        "sampling.box_voxels": (recipe.sampling.box_voxels, 8),
        "data.workers": (recipe.data.workers, 0),
        "validation.locations": (recipe.validation.locations, 1),
        "optimiser.learning_rate": (recipe.optimiser.learning_rate, 0),
    }
    problems = [
        f"{name} must be at least {low}, found {value}" for name, (value, low) in at_least.items() if value < low
    ]
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


def recipe_tree(recipe: Recipe) -> dict[str, Any]:
    """The recipe as nested plain values, as TOML and JSON have them."""
    return _plain(dataclasses.asdict(recipe))


def recipe_toml(recipe: Recipe) -> str:
    """The recipe as TOML text that `load_recipe` reads back to an equal recipe."""
    lines: list[str] = []
    _write_table(recipe_tree(recipe), "", lines)
    return "\n".join(lines).lstrip("\n") + "\n"


def _read_toml(recipe: str) -> dict[str, Any]:
    path = RECIPES / f"{recipe}.toml" if recipe in recipe_names() else Path(recipe)
    if path.suffix != ".toml" or not path.is_file():
        raise InputError(
            f"There is no recipe {recipe!r}; expected one of {', '.join(recipe_names())}, or the path of a .toml file."
        )
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"The recipe {path} isn't TOML ({error}); correct that line and start again.") from error


def _place_override(text: str, tree: dict[str, Any], problems: list[str]) -> None:
    key, separator, value = text.partition("=")
    if not separator or not key:
        problems.append(f"expected key=value, found {text!r}")
        return
    path = _full_key(key.strip(), problems)
    if path is None:
        return
    node = tree
    for name in path[:-1]:
        node = node.setdefault(name, {})
    node[path[-1]] = _parse_value(value.strip())


def _full_key(key: str, problems: list[str]) -> list[str] | None:
    """Where a key given on the command line belongs; a bare name is looked up in all sections."""
    if "." in key or key in Recipe.__dataclass_fields__:
        return key.split(".")
    homes = [name for name, section in _sections().items() if key in section.__dataclass_fields__]
    if len(homes) == 1:
        return [homes[0], key]
    where = f"it is one of {', '.join(f'{home}.{key}' for home in homes)}" if homes else "no such setting"
    problems.append(f"{key}: {where}")
    return None


def _sections() -> dict[str, Any]:
    hints = typing.get_type_hints(Recipe)
    return {name: kind for name, kind in hints.items() if dataclasses.is_dataclass(kind)}


def _parse_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _build(kind: Any, tree: Mapping[str, Any], prefix: str, problems: list[str]) -> Any:
    hints = typing.get_type_hints(kind)
    values: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if key not in hints:
            problems.append(f"{name}: no such setting; there are {', '.join(sorted(hints))}")
        elif dataclasses.is_dataclass(hints[key]) and isinstance(value, Mapping):
            values[key] = _build(hints[key], value, f"{name}.", problems)
        else:
            values[key] = _convert(hints[key], value, name, problems)
    missing = [f.name for f in dataclasses.fields(kind) if _is_required(f) and f.name not in values]
    problems += [f"{prefix}{name}: missing" for name in missing]
    return None if missing else kind(**values)


def _is_required(setting: dataclasses.Field) -> bool:
    return setting.default is dataclasses.MISSING and setting.default_factory is dataclasses.MISSING


def _convert(hint: Any, value: Any, name: str, problems: list[str]) -> Any:
    """The value as the setting's type has it; a problem is noted where it can't be."""
    origin = typing.get_origin(hint)
    if origin is Literal:
        if value not in typing.get_args(hint):
            problems.append(f"{name}: expected one of {', '.join(map(str, typing.get_args(hint)))}, found {value!r}")
        return value
    if origin is tuple:
        inner = typing.get_args(hint)
        if not isinstance(value, list | tuple):
            problems.append(f"{name}: expected a list, found {value!r}")
            return ()
        kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis else list(inner)
        if len(kinds) != len(value):
            problems.append(f"{name}: expected {len(kinds)} values, found {value!r}")
            return ()
        return tuple(_convert(kind, item, name, problems) for kind, item in zip(kinds, value, strict=True))
    return _convert_plain(hint, value, name, problems)


def _convert_plain(hint: Any, value: Any, name: str, problems: list[str]) -> Any:
    kind = Mapping if typing.get_origin(hint) is not None else hint
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    is_right = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    if not is_right or isinstance(hint, types.UnionType):
        words = {float: "a number", int: "a whole number", str: "a text", bool: "true or false", Mapping: "a table"}
        problems.append(f"{name}: expected {words.get(kind, kind)}, found {value!r}")
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _write_table(tree: Mapping[str, Any], name: str, lines: list[str]) -> None:
    tables = {key: value for key, value in tree.items() if isinstance(value, Mapping)}
    if name:
        lines += ["", f"[{name}]"]
    lines += [f"{key} = {_toml_value(value)}" for key, value in tree.items() if key not in tables]
    for key, value in tables.items():
        quoted = key if key.replace("_", "").replace("-", "").isalnum() else f'"{key}"'
        _write_table(value, f"{name}.{quoted}" if name else quoted, lines)


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    return repr(value)
