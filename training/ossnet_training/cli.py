"""`ossnet-train`: fit, evaluate, compare, export, synthesise."""

from __future__ import annotations

import dataclasses
import logging
import sys
from dataclasses import dataclass
from typing import Annotated

import tyro

from napari_ossnet.engine.errors import EngineError, InputError, WeightsError


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Train a network by a recipe; ``key=value`` words after it change single settings."""

    recipe: tyro.conf.Positional[str]
    """A bundled recipe (brats, lits, hippocampus, synthetic-brain) or a .toml file."""
    overrides: tyro.conf.Positional[tuple[str, ...]] = ()
    """Settings, e.g. variant=c sampling.locations=4096."""
    data: str | None = None
    """The data set: a folder, a dataset.json or a CSV file."""
    minutes: float | None = None
    """Stop after so many minutes, with a checkpoint."""
    resume: str | None = None
    """'auto' goes on where the run of this name stopped."""
    init_from: str | None = None
    """Weights to start from: a catalogue name or a file."""
    name: str | None = None
    """The run's name under OSSNET_HOME/runs; by default task, variant and seed."""

    def run(self) -> None:
        """Train; see `ossnet_training.loop`."""
        from ossnet_training.config import load_recipe
        from ossnet_training.loop import fit, plan_run

        recipe = load_recipe(self.recipe, self.overrides)
        if self.data is not None:
            recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, path=self.data))
        if self.minutes is not None:
            recipe = dataclasses.replace(recipe, minutes=self.minutes)
        plan = plan_run(recipe, name=self.name, resume=self.resume, init_from=self.init_from)
        print(f"run {plan.run.path}: {len(plan.training)} cases train, {len(plan.validation)} validate", flush=True)
        fit(plan, has_bar=sys.stdout.isatty())


Command = Annotated[Fit, tyro.conf.subcommand("fit")]


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    try:
        tyro.extras.subcommand_cli_from_dict({"fit": Fit}, args=arguments, prog="ossnet-train").run()
    except (InputError, WeightsError) as error:
        print(error, file=sys.stderr)
        return 2
    except EngineError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
