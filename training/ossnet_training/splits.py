"""Which cases train and which validate: bundled lists by name, files of the user's, or a random share by the seed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_ossnet.engine.errors import InputError

SPLITS = Path(__file__).parent / "splits"


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Names of the cases that train and of those that validate."""

    training: tuple[str, ...]
    validation: tuple[str, ...]


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

    JSON has the keys ``training`` (optional) and ``validation``; text has the headings ``Training:`` and
    ``Validation:`` with a name a line below, as the published BraTS list does. Without ``training``, all others train.

    Raises:
        InputError: There is no such list, or it names no validation case.
    """
    bundled = [SPLITS / f"{split}{suffix}" for suffix in (".json", ".txt")]
    path = next((p for p in bundled if p.is_file()), Path(split))
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in SPLITS.glob("*.*")))
        raise InputError(f"There is no split {split!r}; expected one of {known}, or a .json or .txt file.")
    text = path.read_text(encoding="utf-8")
    groups = _read_json(path, text) if path.suffix == ".json" else _read_text(text)
    if not groups.get("validation"):
        raise InputError(f"The split {path} names no validation case under 'Validation:'.")
    return Split(training=tuple(groups.get("training", ())), validation=tuple(groups["validation"]))


def _read_json(path: Path, text: str) -> dict[str, list[str]]:
    try:
        return {key: [str(name) for name in names] for key, names in json.loads(text).items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise InputError(f"The split {path} isn't a JSON table of lists of names ({error}).") from error


def _read_text(text: str) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    heading = ""
    for line in (line.strip() for line in text.splitlines()):
        if line.endswith(":"):
            heading = line[:-1].lower()
        elif line:
            groups.setdefault(heading, []).append(line)
    return groups


def _match(listed: Split, names: Sequence[str], split: str) -> Split:
    """The part of a list that a data set has; names that are missing are an error, as a typing error would be one."""
    there = set(names)
    missing = [name for name in (*listed.training, *listed.validation) if name not in there]
    if missing:
        raise InputError(
            f"The split {split} names {len(missing)} cases that the data set doesn't have ({some_names(missing)}); "
            "check --data, or give another split with data.split=FILE."
        )
    both = sorted(set(listed.training) & set(listed.validation))
    if both:
        raise InputError(f"The split {split} trains and validates on the same cases: {', '.join(both[:5])}.")
    rest = tuple(name for name in names if name not in listed.validation)
    return Split(training=listed.training or rest, validation=listed.validation)


def some_names(names: Sequence[str]) -> str:
    """Names for a sentence: the first five."""
    return ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")
