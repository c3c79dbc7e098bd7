"""``ossnet weights``: what there is, and how it comes, goes and is described."""

from __future__ import annotations

import textwrap
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, TypeAlias

import tyro

from napari_ossnet.cli.reporters import ProgressKind, drive, make_reporter
from napari_ossnet.engine.catalogue import (
    CatalogueEntry,
    download,
    get_entry,
    import_weights,
    list_entries,
    local_path,
    ossnet_home,
    remove,
)
from napari_ossnet.engine.checksums import sha256_of
from napari_ossnet.engine.device import format_bytes

Name: TypeAlias = tyro.conf.Positional[str]


@dataclass(frozen=True, kw_only=True)
class ListWeights:
    """List all weights: bundled, published, imported."""

    task: str | None = None
    """Only those for this task."""
    variant: str | None = None
    """Only those of this variant."""

    def run(self) -> None:
        """Prints a table."""
        from rich.console import Console
        from rich.table import Table

        table = Table(box=None, pad_edge=False, header_style="bold")
        for header in ("name", "task", "variant", "Dice", "size", "where"):
            table.add_column(header, justify="right" if header in ("Dice", "size") else "left", no_wrap=True)
        for entry in list_entries(self.task, self.variant):
            dice = "-" if entry.published_dice is None else f"{entry.published_dice:.3f}"
            size = "-" if entry.size_bytes is None else format_bytes(entry.size_bytes)
            table.add_row(entry.name, entry.task, entry.variant, dice, size, _where(entry))
        Console(soft_wrap=True, highlight=False).print(table)
        print("\nDice: on validation cases of whoever made the weights, so not comparable between data sets.")
        print(f"Folder: {ossnet_home() / 'weights'}")


@dataclass(frozen=True, kw_only=True)
class DownloadWeights:
    """Download published weights; goes on where an earlier download broke off."""

    names: tyro.conf.Positional[tuple[str, ...]] = field()
    """Names as in the list."""
    progress: ProgressKind = "bar"
    """How progress is shown."""

    def run(self) -> None:
        """Downloads one after the other.

        Raises:
            WeightsError: A name is unknown, or a download failed.
        """
        entries = [get_entry(name) for name in self.names]
        for entry in entries:
            reporter = make_reporter(self.progress)
            path = local_path(entry)
            if path is None:
                print(f"{entry.name} from {entry.url}; licence: {entry.licence}") if self.progress == "bar" else None
                path = drive(download(entry), reporter)
            reporter.fact("weights", f"{entry.name} is at {path}", name=entry.name, path=path)


@dataclass(frozen=True, kw_only=True)
class ImportWeights:
    """Take weights from a file: a published .pt file or a .safetensors file."""

    file: tyro.conf.Positional[Path]
    """The file."""
    name: str | None = None
    """The name that it gets in the list; without one, its own."""

    def run(self) -> None:
        """Checks and stores it.

        Raises:
            WeightsError: The file holds no weights that we know.
        """
        entry = import_weights(self.file, self.name)
        print(f"{entry.name} ({entry.task}, variant {entry.variant}) is at {local_path(entry)}")


@dataclass(frozen=True, kw_only=True)
class RemoveWeights:
    """Delete downloaded or imported weights from this machine."""

    name: Name
    """Name as in the list."""

    def run(self) -> None:
        """Deletes them.

        Raises:
            WeightsError: They are not here, or come with the program.
        """
        print(f"Removed {remove(self.name)}")


@dataclass(frozen=True, kw_only=True)
class DescribeWeights:
    """Print everything that is known about some weights."""

    name: Name
    """Name as in the list."""

    def run(self) -> None:
        """Prints it.

        Raises:
            WeightsError: There are no weights of this name.
        """
        entry = get_entry(self.name)
        path = local_path(entry)
        facts = {key: value for key, value in asdict(entry).items() if value not in (None, "")}
        facts |= {"file": path or "not on this machine"} | ({"sha256": sha256_of(path)} if path else {})
        for key, value in facts.items():
            print(textwrap.fill(f"{key:15} {value}", 110, subsequent_indent=" " * 16, break_long_words=False))


Action = (
    Annotated[ListWeights, tyro.conf.subcommand("list")]
    | Annotated[DownloadWeights, tyro.conf.subcommand("download")]
    | Annotated[ImportWeights, tyro.conf.subcommand("import")]
    | Annotated[RemoveWeights, tyro.conf.subcommand("remove")]
    | Annotated[DescribeWeights, tyro.conf.subcommand("info")]
)


@dataclass(frozen=True, kw_only=True)
class Weights:
    """List, download, import, remove or describe weights."""

    action: tyro.conf.OmitSubcommandPrefixes[Action]

    def run(self) -> None:
        """Does what was asked for."""
        self.action.run()


def _where(entry: CatalogueEntry) -> str:
    if entry.is_bundled:
        return "bundled"
    here = local_path(entry) is not None
    if entry.is_published:
        return "downloaded" if here else "to download"
    return "imported"
