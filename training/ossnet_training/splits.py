"""Which cases train and which validate: bundled lists by name, files of the user's, or a random share by the seed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_ossnet.engine.errors import InputError

SPLITS = Path(__file__).parent / "splits"
#: What a list's headings stand for.
_HEADINGS = {
    "training": "training",
    "train": "training",
    "validation": "validation",
    "val": "validation",
    "test": "test",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Names of the cases that train, of those that validate, and of those that a list keeps out of both."""

    training: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...] = ()


def make_split(names: Sequence[str], split: str, *, fraction: float, seed: int) -> Split:
    """Divide the cases of a data set.

    Args:
        names: All cases found.
        split: A bundled list's name, a file (see `read_split`), or empty for a random share.
        fraction: That share, of cases that validate; at least one does.
        seed: Of the random share.

    Raises:
        InputError: The list is unknown, names cases that aren't there, or leaves nothing to train on.
    """
    if not split:
        order = np.random.default_rng(seed).permutation(len(names))
        held = {int(index) for index in order[: max(1, round(len(names) * fraction))]}
        validation = tuple(name for index, name in enumerate(names) if index in held)
        chosen = Split(training=tuple(n for n in names if n not in validation), validation=validation)
    else:
        chosen = _match(read_split(split), names, split)
    if not chosen.training or not chosen.validation:
        raise InputError(
            f"{len(names)} cases leave {len(chosen.training)} to train and {len(chosen.validation)} to validate; "
            "at least one of each is needed."
        )
    return chosen


def read_split(split: str) -> Split:
    """A list of names from a file.

    JSON has the keys ``training`` (optional), ``validation`` and ``test`` (optional); text has the headings
    ``Training:``, ``Validation:`` and ``Test:`` with a name a line below, as the published BraTS list does. ``train``
    and ``val`` mean the same. Without ``training``, all others train, but for those under ``test``.

    Raises:
        InputError: There is no such list, it has other headings, or it names no validation case.
    """
    bundled = [SPLITS / f"{split}{suffix}" for suffix in (".json", ".txt")]
    path = next((p for p in bundled if p.is_file()), Path(split))
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in SPLITS.glob("*.*")))
        raise InputError(f"There is no split {split!r}; expected one of {known}, or a .json or .txt file.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"The split {path} isn't text in UTF-8 ({error}); save it as such.") from error
    groups = _by_meaning(path, _read_json(path, text) if path.suffix == ".json" else _read_text(text))
    if not groups["validation"]:
        raise InputError(f"The split {path} names no validation case under 'Validation:'.")
    return Split(**{side: tuple(names) for side, names in groups.items()})


def _by_meaning(path: Path, headed: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The names under ``training``, ``validation`` and ``test``; other headings would let cases train unasked."""
    unknown = [heading or "none" for heading in headed if heading.lower() not in _HEADINGS]
    if unknown:
        raise InputError(
            f"The split {path} has names under the headings {', '.join(unknown)}; expected training, validation and "
            "test (or train, val)."
        )
    groups: dict[str, list[str]] = {side: [] for side in _HEADINGS.values()}
    for heading, names in headed.items():
        groups[_HEADINGS[heading.lower()]] += names
    return groups


def _read_json(path: Path, text: str) -> dict[str, list[str]]:
    try:
        groups = json.loads(text)
    except ValueError as error:
        raise InputError(f"The split {path} isn't JSON ({error}); correct that line.") from error
    if not isinstance(groups, dict) or not all(isinstance(names, list) for names in groups.values()):
        raise InputError(f"The split {path} isn't a JSON table of lists of names; see docs/training.md.")
    return {heading: [str(name) for name in names] for heading, names in groups.items()}


def _read_text(text: str) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    heading = ""
    for line in (line.strip() for line in text.splitlines()):
        if line.endswith(":"):
            heading = line[:-1]
        elif line:
            groups.setdefault(heading, []).append(line)
    return groups


def _match(listed: Split, names: Sequence[str], split: str) -> Split:
    """The part of a list that a data set has; names that are missing are an error, as a typing error would be one."""
    there = set(names)
    # Where all others train, a typing error under test would let that case train.
    needed = (*listed.training, *listed.validation, *(() if listed.training else listed.test))
    missing = [name for name in needed if name not in there]
    if missing:
        raise InputError(
            f"The split {split} names {len(missing)} cases that the data set doesn't have ({some_names(missing)}); "
            "check --data, or give another split with data.split=FILE."
        )
    sides = [set(listed.training), set(listed.validation), set(listed.test)]
    both = sorted(name for name in set.union(*sides) if sum(name in side for side in sides) > 1)
    if both:
        raise InputError(f"The split {split} has the same cases under several headings: {some_names(both)}.")
    rest = tuple(name for name in names if name not in sides[1] | sides[2])
    return Split(training=listed.training or rest, validation=listed.validation, test=listed.test)


def some_names(names: Sequence[str]) -> str:
    """Names for a sentence: the first five."""
    return ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")
