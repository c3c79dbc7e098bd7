"""A run's folder: what lies in it and how it explains itself."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import count
from pathlib import Path
from typing import Any

import napari_ossnet
from napari_ossnet.engine.errors import InputError, OutputError
from napari_ossnet.engine.files.atomic import atomic_path
from ossnet_training.config import Recipe
from ossnet_training.recipe_files import read_recipe, recipe_toml
from ossnet_training.splits import Split

#: What a run has learnt and measured, by name; not what it is made of (`RunFolder.describe`).
_OUTCOMES = (
    *("best.safetensors", "last.safetensors", "costs.json", "metrics.csv", "curves.png", "checkpoints", "tensorboard"),
    *("scores-*.csv", "evaluation-*"),
)
_PACKAGES = ("torch", "lightning", "numpy", "nibabel", "safetensors")


def runs_home() -> Path:
    """Where runs live: ``OSSNET_HOME/runs``, never the checkout."""
    from napari_ossnet.engine.catalogue import ossnet_home

    return ossnet_home() / "runs"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFolder:
    """The files of one run."""

    path: Path

    @property
    def name(self) -> str:
        """The run's name."""
        return self.path.name

    @property
    def config(self) -> Path:
        """All settings, as a recipe that starts the same run."""
        return self.path / "config.toml"

    @property
    def split(self) -> Path:
        """Names of the cases that train and validate."""
        return self.path / "split.json"

    @property
    def environment(self) -> Path:
        """Where the data lay, versions, machine and command."""
        return self.path / "environment.json"

    @property
    def metrics(self) -> Path:
        """One row a logged step."""
        return self.path / "metrics.csv"

    @property
    def costs(self) -> Path:
        """Time, steps, parameters and memory of the training."""
        return self.path / "costs.json"

    @property
    def curves(self) -> Path:
        """The metrics as a picture."""
        return self.path / "curves.png"

    @property
    def checkpoints(self) -> Path:
        """Everything needed to go on; the newest few."""
        return self.path / "checkpoints"

    @property
    def best(self) -> Path:
        """Weights of the best validation."""
        return self.path / "best.safetensors"

    @property
    def last(self) -> Path:
        """Weights at the last validation or at the end."""
        return self.path / "last.safetensors"

    def recipe(self) -> Recipe:
        """The settings that the run was started with."""
        return read_recipe(self.config)

    def data(self) -> Path:
        """Where the data that the run was made from lies, whatever the present folder is.

        Raises:
            InputError: The run's own files can't be read.
        """
        return data_path(self._facts().get("data") or self.recipe().data.path)

    def init_from(self) -> str | None:
        """The weights that the run was begun from, empty where from fresh ones; None where it doesn't say.

        Raises:
            InputError: The run's own files can't be read.
        """
        return self._facts().get("init_from")

    def _facts(self) -> dict[str, Any]:
        """What environment.json says of the run's latest start."""
        try:
            return json.loads(self.environment.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise InputError(f"{self.environment} isn't JSON ({error}); move the file away.") from error

    def set_aside(self) -> Path | None:
        """Move weights, scores, checkpoints and the like of this run, which begins anew, into a folder inside it.

        Returns:
            The folder; None where there was nothing to move.

        Raises:
            OutputError: The files can't be moved.
        """
        outcomes = sorted(path for pattern in _OUTCOMES for path in self.path.glob(pattern))
        if not outcomes:
            return None
        folders = (self.path / f"earlier_{number}" for number in count(1))
        folder = next(folder for folder in folders if not folder.exists())
        try:
            folder.mkdir()
            for path in outcomes:
                path.rename(folder / path.name)
        except OSError as error:
            raise OutputError(
                f"Can't move {self.path}'s files to {folder} ({error.strerror}); move them away, or choose --name."
            ) from error
        return folder

    def describe(self, recipe: Recipe, split: Split, *, init_from: str) -> None:
        """Write what the run is made of, before it starts; starts before this one stay in environment.json.

        Args:
            recipe: All settings.
            split: Which case trains and which validates.
            init_from: The weights that the run was begun from; empty where from fresh ones.

        Raises:
            InputError: The run's own files can't be read.
            OutputError: The folder can't be written.
        """
        before = self._facts()
        earlier = before.pop("earlier", [])
        facts = {
            "command": sys.argv,
            "init_from": init_from,
            "data": str(data_path(recipe.data.path)),
            "napari_ossnet": napari_ossnet.__version__,
            "packages": {name: _installed(name) for name in _PACKAGES},
            "python": platform.python_version(),
            "machine": f"{platform.platform()}, {os.cpu_count()} cores",
            "git": git_state(),
            "earlier": [*earlier, before] if before else earlier,
        }
        write_text(self.config, recipe_toml(recipe))
        write_text(
            self.split, json.dumps({"training": split.training, "validation": split.validation}, indent=1) + "\n"
        )
        write_text(self.environment, json.dumps(facts, indent=1) + "\n")

    def rows(self) -> list[dict[str, Any]]:
        """The rows of metrics.csv, numbers as floats, empty cells left out."""
        import csv

        if not self.metrics.is_file():
            return []
        with self.metrics.open(newline="", encoding="utf-8") as file:
            return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]


def data_path(path: str) -> Path:
    """A data set's path in full, so that two can be compared."""
    return Path(path).expanduser().resolve()


def find_run(name: str) -> RunFolder:
    """A run by name or path.

    Raises:
        InputError: There is no such run; the sentence lists those that there are.
    """
    for path in (Path(name).expanduser(), runs_home() / name):
        if (path / "config.toml").is_file():
            return RunFolder(path=path.resolve())
    there = ", ".join(run_names()) or "none yet"
    raise InputError(f"There is no run {name!r} in {runs_home()}; there are: {there}.")


def run_names() -> Sequence[str]:
    """Names of all runs under the home."""
    return sorted(path.parent.name for path in runs_home().glob("*/config.toml"))


def write_text(path: Path, text: str) -> None:
    """Write a small text file whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def git_state() -> str:
    """The commit of the source at hand, with ``+changes`` where files differ; empty without a checkout."""
    source = Path(__file__).parent
    try:
        commit = _git(source, "rev-parse", "HEAD")
        return commit + ("+changes" if _git(source, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *words]
    return subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", check=True, timeout=20
    ).stdout.strip()


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def weights_of(source: str) -> Path:
    """The weights file that a run, a catalogue name or a path stands for; of a run, the best.

    Raises:
        EngineError: There is none.
    """
    from napari_ossnet.engine.catalogue import find_weights

    path = Path(source).expanduser()
    if path.is_file():
        return path
    try:
        run = find_run(source)
    except InputError:
        return find_weights(None, weights=source)
    if not run.best.is_file():
        raise InputError(f"The run {run.name} has no weights yet; they are written at its first validation.")
    return run.best
