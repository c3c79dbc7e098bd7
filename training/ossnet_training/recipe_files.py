"""Recipes as data: TOML files and ``key=value`` overrides, checked against the settings of ``config.py``.

All problems of a recipe are reported together, before anything starts.
"""

from __future__ import annotations

import dataclasses
import tomllib
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.networks.variants import VARIANTS
from ossnet_training.config import DataSettings, Recipe, contradictions
from ossnet_training.geometry import geometry_problems

RECIPES = Path(__file__).parent / "recipes"


def recipe_names() -> list[str]:
    """Names of the bundled recipes."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def load_recipe(recipe: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe, lay its variant's own settings (tables ``[variants.NAME]``) over it, then the overrides.

    Args:
        recipe: A bundled recipe's name or a .toml file.
        overrides: ``key=value`` texts; keys are dotted (``sampling.locations``) or, where only one setting has the
            name, bare (``locations``).

    Raises:
        InputError: The recipe is unknown or not TOML, or any setting is wrong; all problems in one text.
    """
    settings, problems = _read_settings(recipe, overrides)
    if not problems:
        problems = contradictions(settings) + geometry_problems(settings)
    _refuse(recipe, problems)
    return settings


def read_recipe(path: Path) -> Recipe:
    """The settings that a run was made with: that they hold together was looked at then, by the rules of that time.

    Raises:
        InputError: The file is not TOML, or is no recipe.
    """
    settings, problems = _read_settings(str(path), ())
    _refuse(str(path), problems)
    return settings


def recipe_tree(recipe: Recipe) -> dict[str, Any]:
    """The recipe as nested plain values, as TOML and JSON have them."""
    return _plain(dataclasses.asdict(recipe))


def recipe_toml(recipe: Recipe) -> str:
    """The recipe as TOML text that `load_recipe` reads back to an equal recipe."""
    lines: list[str] = []
    _write_table(recipe_tree(recipe), "", lines)
    return "\n".join(lines).lstrip("\n") + "\n"


def read_label_map(text: str) -> tuple[tuple[int, int], ...]:
    """A map of label numbers to classes as a recipe's ``data.label_map`` has it: ``[[4, 3], ...]``.

    Raises:
        InputError: The text is none.
    """
    problems: list[str] = []
    pairs = _convert(typing.get_type_hints(DataSettings)["label_map"], _parse_value(text), "--label-map", problems)
    if problems:
        raise InputError(f"--label-map takes pairs of whole numbers, such as [[4, 3], [2, 1]]; {'; '.join(problems)}.")
    return pairs


def _read_settings(recipe: str, overrides: Sequence[str]) -> tuple[Recipe, list[str]]:
    """The settings as they are given, and what is wrong with their form; with anything wrong they are no recipe."""
    tree = _read_toml(recipe)
    problems: list[str] = []
    given: dict[str, Any] = {}
    for text in overrides:
        _place_override(text, given, problems)
    special = _take_variant(tree, given, problems)
    merged = _merge(_merge(tree, special), given)
    return _build(Recipe, merged, "", problems), problems


def _refuse(recipe: str, problems: Sequence[str]) -> None:
    if problems:
        raise InputError(
            f"The recipe {recipe} can't be used as given:\n" + "\n".join(f"  - {text}" for text in problems)
        )


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


def _take_variant(tree: dict[str, Any], given: Mapping[str, Any], problems: list[str]) -> Mapping[str, Any]:
    """Take the tables of variants out of a recipe; gives that of the variant that is asked for."""
    tables = tree.pop("variants", {})
    variant = given.get("variant", tree.get("variant", Recipe.__dataclass_fields__["variant"].default))
    if not isinstance(tables, Mapping) or not all(isinstance(table, Mapping) for table in tables.values()):
        problems.append(f"variants: expected a table a variant, found {tables!r}")
        return {}
    unknown = sorted({*tables, variant} - set(VARIANTS))
    problems += [f"variant {name}: unknown; there are {', '.join(VARIANTS)}" for name in unknown]
    return tables.get(variant, {})


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
    if not is_right:
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
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    return repr(value)
