"""`ossnet-train`: fit, evaluate, compare, table, export, synthesise, location-error and bench."""

from __future__ import annotations

import dataclasses
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from napari_ossnet.engine.errors import EngineError, InputError, WeightsError

if TYPE_CHECKING:
    from ossnet_training.synthesis.pairs import Pair


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Train a network by a recipe; KEY=VALUE words after it change single settings (variant=x, locations=4096)."""

    recipe: tyro.conf.Positional[str]
    """A bundled recipe (brats, hippocampus, lits, synthetic-brain, synthetic-abdomen) or a .toml file."""
    settings: tyro.conf.Positional[tuple[str, ...]] = ()
    """KEY=VALUE: any setting of the recipe; dotted (sampling.locations) where the bare name isn't unique."""
    data: str | None = None
    """The data set: a folder, a dataset.json or a CSV file."""
    minutes: float | None = None
    """Stop after so many minutes of training, with a checkpoint; over all resumptions, without the validations."""
    resume: Literal["auto"] | None = None
    """'auto' goes on where the run of this name stopped, or starts it."""
    init_from: str | None = None
    """Weights to start from with a fresh optimiser: a name in the catalogue or a file."""
    name: str | None = None
    """The run's name under OSSNET_HOME/runs; by default task, variant and seed."""

    def run(self) -> None:
        """Train."""
        from ossnet_training.loop import fit
        from ossnet_training.planning import plan_run
        from ossnet_training.recipe_files import load_recipe

        recipe = load_recipe(self.recipe, self.settings)
        if self.data is not None:
            recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, path=self.data))
        if self.minutes is not None:
            recipe = dataclasses.replace(recipe, minutes=self.minutes)
        plan = plan_run(recipe, name=self.name, resume=self.resume, init_from=self.init_from)
        print(f"{plan.run.path}: {len(plan.training)} cases train, {len(plan.validation)} validate", flush=True)
        fit(plan, has_bar=sys.stdout.isatty())


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Judge a run's best weights, or any weights, on labelled cases: Dice, IoU, HD95, volume error."""

    source: tyro.conf.Positional[str]
    """A run, a weights file, or a name in the catalogue."""
    data: str | None = None
    """The data set; by default the run's."""
    split: str | None = None
    """Whose validation cases are judged: a bundled split or a file; by default the run's own, else all cases."""
    protocol: Literal["dense", "sampled"] = "dense"
    """Dense masks in the scans' own voxels, or 2^17 uniform locations as in the paper."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    cases: int = 0
    """Only the first so many cases; 0 takes all."""
    label_map: str | None = None
    """How label numbers map to the classes, as data.label_map of a recipe: [[4, 3], ...]; by default the run's."""
    thresholds: bool = False
    """Show beside it what Otsu's and the best threshold of the first channel achieve."""
    output: Path | None = None
    """Folder for the CSV, the table and the picture; by default the run's for all its own cases, else the present."""

    def run(self) -> None:
        """Evaluate; prints each case as it comes, then the table."""
        from ossnet_training.comparing import judge, judge_thresholds, keep_scores, output_folder, write_report
        from ossnet_training.evaluation import Score
        from ossnet_training.recipe_files import read_label_map

        label_map = None if self.label_map is None else read_label_map(self.label_map)
        folder = output_folder(
            self.source, self.output, data=self.data, split=self.split, limit=self.cases, label_map=label_map
        )
        scores: list[Score] = []
        found = judge(
            self.source,
            data=self.data,
            split=self.split,
            protocol=self.protocol,
            device=self.device,
            limit=self.cases,
            label_map=label_map,
        )
        for case in found:
            scores += case
            print(case[0].case, ", ".join(f"{s.region} {s.dice:.4f}" for s in case), flush=True)
        keep_scores(folder, scores, self.protocol)
        shown = {Path(self.source).stem: scores}
        if self.thresholds:
            pairs = []
            for pair in judge_thresholds(
                self.source, data=self.data, split=self.split, limit=self.cases, label_map=label_map
            ):
                pairs.append(pair)
                print(f"{pair[0].case} Otsu {pair[0].dice:.4f}, best threshold {pair[1].dice:.4f}", flush=True)
            shown |= {"Otsu": [pair[0] for pair in pairs], "best threshold": [pair[1] for pair in pairs]}
        table = write_report(folder, shown, f"evaluation-{self.protocol}")
        print(table.read_text(encoding="utf-8"))
        print(f"Scores, table and picture are in {folder.resolve()}.")


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Put evaluated runs side by side in one table and one picture."""

    runs: tyro.conf.Positional[tuple[str, ...]]
    """Names of runs that `ossnet-train evaluate` has judged."""
    protocol: Literal["dense", "sampled"] = "dense"
    """Which of their scores."""
    output: Path = Path()
    """Folder for comparison.md and comparison.png."""

    def run(self) -> None:
        """Compare."""
        from ossnet_training.comparing import (
            kept_scores,
            refuse_different_cases,
            refuse_different_data,
            write_report,
        )

        if not self.runs:
            raise InputError("Name the runs to compare: ossnet-train compare RUN RUN ...")
        scores = {name: kept_scores(name, self.protocol) for name in self.runs}
        refuse_different_data(self.runs)
        refuse_different_cases(scores)
        print(write_report(self.output, scores, "comparison").read_text(encoding="utf-8"))


@dataclass(frozen=True, kw_only=True)
class Table:
    """Train several variants for the same minutes each and judge them in one table; started again, it goes on."""

    recipe: tyro.conf.Positional[str]
    """A bundled recipe (brats, hippocampus, lits, synthetic-brain, synthetic-abdomen) or a .toml file."""
    settings: tyro.conf.Positional[tuple[str, ...]] = ()
    """KEY=VALUE: any setting of the recipe, for all variants."""
    data: str
    """The data set: a folder, a dataset.json or a CSV file."""
    variants: str = "o-net,a,b,c,d,x,unet-2d,unet-3d,pfseg"
    """Their names with commas between; unet-2d is trained across all three axes, and the best is shown."""
    minutes: float = 10.0
    """Of training, each."""
    seed: int = 0
    """Of all runs."""
    output: Path = Path()
    """Folder for table.md and table.png."""

    def run(self) -> None:
        """Train, judge and compare."""
        from ossnet_training.table import TableSettings, make_table

        table = TableSettings(
            recipe=self.recipe,
            data=self.data,
            variants=tuple(name.strip() for name in self.variants.split(",") if name.strip()),
            minutes=self.minutes,
            settings=self.settings,
            seed=self.seed,
            output=self.output,
        )
        for line in make_table(table):
            print(line, flush=True)
        print((self.output / "table.md").read_text(encoding="utf-8"))


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write a run's best weights as .safetensors with a model card beside it, or as a published-layout .pt."""

    source: tyro.conf.Positional[str]
    """A run, a weights file, or a name in the catalogue."""
    output: tyro.conf.Positional[Path]
    """A .safetensors or .pt file."""
    name: str | None = None
    """The weights' name in the catalogue; by default the file's."""
    half: bool = False
    """Store matrices in half precision."""
    notes: str = ""
    """Put at the end of the model card."""

    def run(self) -> None:
        """Export."""
        from ossnet_training.export import export_weights

        written = export_weights(self.source, self.output, name=self.name, is_half=self.half, notes=self.notes)
        print(f"{written} ({written.stat().st_size / 1e6:.1f} MB)")


@dataclass(frozen=True, kw_only=True)
class Synthesise:
    """Make synthetic scans with labels; a run that was stopped goes on where it was."""

    output: tyro.conf.Positional[Path]
    """Folder for the scans."""
    anatomy: Literal["brain", "abdomen", "shapes"] = "brain"
    """Brains with tumours in four MR modalities; by code alone: CTs of abdomens with the liver, or balls and rings."""
    count: int = 100
    """How many."""
    labels: Path | None = None
    """Folder of label maps with FreeSurfer's numbers, 1 mm, as anatomy; code makes heads where nothing is given."""
    scans: Path | None = None
    """Folder of real scans without tumour: CASE_flair, _t1, _t1ce, _t2, perhaps _seg."""
    seed: int = 0
    """Scan n depends on the seed and n alone."""
    layout: Literal["pool", "brats"] = "pool"
    """Of brains: a pool made for training, or a folder of NIfTI files a case."""

    def run(self) -> None:
        """Synthesise."""
        if self.anatomy != "brain" and (self.labels or self.scans or self.layout != "pool"):
            raise InputError("Only brains have --labels, --scans and --layout: abdomens and shapes are made by code.")
        {"brain": self._brains, "abdomen": self._abdomens, "shapes": self._shapes}[self.anatomy]()

    def _abdomens(self) -> None:
        from ossnet_training.synthesis.abdomen_contrast import make_abdomen_pair

        self._pairs("abdomen", make_abdomen_pair)

    def _shapes(self) -> None:
        from ossnet_training.synthesis.shapes import KIND, make_shape_pair

        self._pairs(KIND, make_shape_pair)

    def _pairs(self, kind: str, make: Callable[[int, int], Pair]) -> None:
        from ossnet_training.synthesis.pairs import synthesise_pairs

        for name, pair in synthesise_pairs(self.output, kind, make, count=self.count, seed=self.seed):
            print(f"{name}: {pair.volume_ml:.1f} mL", flush=True)

    def _brains(self) -> None:
        from ossnet_training.synthesis.synthesise import SynthesisSettings, synthesise

        settings = SynthesisSettings(
            output=self.output,
            labels=self.labels,
            scans=self.scans,
            count=self.count,
            seed=self.seed,
            layout=self.layout,
        )
        for entry in synthesise(settings):
            print(f"{entry.name}: {', '.join(entry.kinds) or 'no tumour'}, {entry.volume_ml:.1f} mL", flush=True)


@dataclass(frozen=True, kw_only=True)
class LocationErrors:
    """How far surfaces lie from the true ones beyond the scan's resolution, on scans of analytic shapes."""

    runs: tyro.conf.Positional[tuple[str, ...]]
    """Runs trained on `ossnet-train synthesise OUT --anatomy shapes`."""
    factors: tuple[int, ...] = (1, 2, 4)
    """How many times finer than the scan's the voxels are."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""

    def run(self) -> None:
        """Measure."""
        from ossnet_training.location_error import error_table, location_errors

        if not self.runs:
            raise InputError("Name the runs to measure: ossnet-train location-error RUN RUN ...")
        print(error_table({name: location_errors(name, self.factors, device=self.device) for name in self.runs}))


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Measure training throughput beside a plain reimplementation of the published loop."""

    locations: int = 4096
    """Locations a volume."""
    batch: int = 2
    """Volumes a step."""
    steps: int = 5
    """Steps that are measured, after one that isn't."""
    workers: int = 1
    """Worker processes of the published loop."""
    task: str = "brats"
    """Whose grid and network."""

    def run(self) -> None:
        """Measure."""
        from ossnet_training.benchmark import compare_throughput

        for line in compare_throughput(
            task=self.task, locations=self.locations, batch=self.batch, steps=self.steps, workers=self.workers
        ):
            print(line, flush=True)


Command = Annotated[
    Annotated[Fit, tyro.conf.subcommand("fit")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Compare, tyro.conf.subcommand("compare")]
    | Annotated[Table, tyro.conf.subcommand("table")]
    | Annotated[Export, tyro.conf.subcommand("export")]
    | Annotated[Synthesise, tyro.conf.subcommand("synthesise")]
    | Annotated[LocationErrors, tyro.conf.subcommand("location-error")]
    | Annotated[Bench, tyro.conf.subcommand("bench")],
    tyro.conf.OmitSubcommandPrefixes,
]


def settings_last(arguments: Sequence[str]) -> list[str]:
    """The words with all KEY=VALUE at their end, wherever they were written: the parser takes them in one place."""
    if not arguments or arguments[0] not in ("fit", "table"):
        return list(arguments)
    words: list[str] = []
    settings: list[str] = []
    for before, word in zip(("", *arguments), arguments, strict=False):
        is_value = before.startswith("--") and "=" not in before
        is_setting = "=" in word and not word.startswith("-") and not is_value
        (settings if is_setting else words).append(word)
    return words + settings


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 0, 1 for failures, 2 for what the user can correct, 130 for Ctrl-C."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    try:
        words = settings_last(sys.argv[1:] if arguments is None else arguments)
        tyro.cli(Command, args=words, prog="ossnet-train", description=__doc__).run()
    except (InputError, WeightsError) as error:
        print(error, file=sys.stderr)
        return 2
    except EngineError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped; go on with --resume auto.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
