"""The catalogue: which weights there are (bundled, published, imported), where their files lie, which one is used."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_ossnet.engine.errors import WeightsError
from napari_ossnet.engine.published_weights import CITATION, LICENCE, PUBLISHED, PublishedWeights

if TYPE_CHECKING:
    from napari_ossnet.engine.events import Progress
    from napari_ossnet.engine.model_card import ModelCard

BUNDLED_FOLDER = Path(__file__).parent / "weights"
SUFFIX = ".safetensors"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueEntry:
    """Weights that the program knows, whether or not their file is at hand."""

    name: str
    title: str
    task: str
    variant: str
    licence: str
    citation: str
    #: The mean Dice that whoever made the weights reports on their own validation cases; None where none is given.
    published_dice: float | None
    #: Approximate where the file is not at hand.
    size_bytes: int | None
    #: Where it is downloaded from; None where it is not.
    url: str | None
    #: Of the file as it is downloaded; None as long as nobody has seen it.
    sha256: str | None
    is_bundled: bool
    training_data: str = ""
    notes: str = ""

    @property
    def is_published(self) -> bool:
        """Whether it can be downloaded."""
        return self.url is not None


def ossnet_home() -> Path:
    """The folder for weights, downloads and runs: ``OSSNET_HOME``, else the platform's place for a user's data."""
    home = os.environ.get("OSSNET_HOME")
    if home:
        return Path(home).expanduser()
    import platformdirs

    return platformdirs.user_data_path("ossnet", appauthor=False)


def weights_folder() -> Path:
    """The folder of downloaded and imported weights; it need not exist."""
    return ossnet_home() / "weights"


def list_entries(task: str | None = None, variant: str | None = None) -> list[CatalogueEntry]:
    """Every entry: bundled, published, imported, in this order.

    Args:
        task: Only entries of this task.
        variant: Only entries of this variant.
    """
    entries = [_entry_of_file(path, is_bundled=True) for path in _weight_files(BUNDLED_FOLDER)]
    entries += [_published_entry(published) for published in PUBLISHED]
    names = {entry.name for entry in entries if entry is not None}
    files = [path for path in _weight_files(weights_folder()) if path.stem not in names]
    entries += [_entry_of_file(path, is_bundled=False) for path in files]
    known = (entry for entry in entries if entry is not None)
    return [e for e in known if (task is None or e.task == task) and (variant is None or e.variant == variant)]


def get_entry(name: str) -> CatalogueEntry:
    """The entry of this name.

    Raises:
        WeightsError: There is none; the sentence lists those that there are.
    """
    entries = list_entries()
    for entry in entries:
        if entry.name == name:
            return entry
    known = ", ".join(entry.name for entry in entries)
    raise WeightsError(f"There are no weights called '{name}' and no such file; the catalogue has {known}.")


def local_path(entry: CatalogueEntry) -> Path | None:
    """The file of an entry on this machine; None where it is not here yet."""
    path = (BUNDLED_FOLDER if entry.is_bundled else weights_folder()) / (entry.name + SUFFIX)
    return path if path.is_file() else None


def find_weights(task: str | None, variant: str | None = None, weights: str | Path | None = None) -> Path:
    """The file to segment with.

    Args:
        task: Name of the task; None accepts any that ``weights`` is made for.
        variant: None accepts any.
        weights: A file, or a name in the catalogue; None takes the best that is on this machine.

    Raises:
        WeightsError: There is none, or it is made for something else; the sentence says how to get some.
    """
    if weights is None:
        return _best_path(task, variant)
    path = Path(weights).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        raise WeightsError(f"{path} is a folder; give the weights file in it, a .safetensors or a .pt file.")
    if path.suffix in (SUFFIX, ".pt", ".pth") or len(path.parts) > 1:
        raise WeightsError(
            f"There is no weights file {path}; give one that exists, or a name from: ossnet weights list."
        )
    entry = get_entry(str(weights))
    _check_fits(entry, task, variant)
    found = local_path(entry)
    if found is None:
        raise WeightsError(f"The weights {entry.name} are not on this machine yet; {_how_to_get(entry)}.")
    return found


def download(entry: CatalogueEntry) -> Generator[Progress, None, Path]:
    """Downloads, checks and stores the weights of an entry; goes on where an earlier call broke off.

    Yields:
        Progress in bytes.

    Raises:
        WeightsError: The server can't be reached, or sent something else than these weights.
    """
    from napari_ossnet.engine.weights_intake import download_weights

    return (yield from download_weights(entry))


def import_weights(path: str | Path, name: str | None = None) -> CatalogueEntry:
    """Takes a weights file into the catalogue, offline: a published .pt file or a .safetensors file of our own.

    Args:
        path: The file.
        name: Name in the catalogue; None takes the published file's own, else the one in the file.

    Raises:
        WeightsError: The file is no weights file that we know, or is damaged; the sentence says what is wrong.
    """
    from napari_ossnet.engine.weights_intake import import_file

    return import_file(Path(path), name)


def remove(name: str) -> Path:
    """Deletes downloaded or imported weights from this machine and returns the path that was deleted.

    Raises:
        WeightsError: They are bundled, unknown, or not here.
    """
    entry = get_entry(name)
    if entry.is_bundled:
        raise WeightsError(f"The weights {name} come with the program and can't be removed.")
    path = local_path(entry)
    if path is None:
        raise WeightsError(f"The weights {name} are not on this machine, so there is nothing to remove.")
    path.unlink()
    return path


def preferred_entries(task: str | None = None, variant: str | None = None) -> list[CatalogueEntry]:
    """What the catalogue has, in the order in which it is chosen where nobody has said which.

    What is on this machine comes first, of it what the user fetched or imported, then the highest recorded Dice.
    """
    return sorted(
        list_entries(task, variant),
        key=lambda entry: (local_path(entry) is None, entry.is_bundled, -(entry.published_dice or 0.0)),
    )


def _best_path(task: str | None, variant: str | None) -> Path:
    path = local_path(_best_entry(task, variant))
    assert path is not None
    return path


def _best_entry(task: str | None, variant: str | None) -> CatalogueEntry:
    """The first of ``preferred_entries``, if it is on this machine."""
    entries = preferred_entries(task, variant)
    if entries and local_path(entries[0]) is not None:
        return entries[0]
    wanted = " ".join(part for part in (f"variant {variant}" if variant else "", f"for {task}" if task else "") if part)
    if not entries:
        known = sorted({f"{entry.task} ({entry.variant})" for entry in list_entries()})
        raise WeightsError(
            f"There are no weights {wanted}; the catalogue has {', '.join(known) or 'none'}; "
            "train some with ossnet-train, or import a file: ossnet weights import FILE."
        )
    raise WeightsError(f"There are no weights {wanted} on this machine yet; {_how_to_get(entries[0])}.")


def _how_to_get(entry: CatalogueEntry) -> str:
    return (
        f"get them with: ossnet weights download {entry.name}; "
        f"or, without a network, fetch {entry.url} elsewhere and run: ossnet weights import FILE"
    )


def _check_fits(entry: CatalogueEntry, task: str | None, variant: str | None) -> None:
    if task is not None and entry.task != task:
        raise WeightsError(f"The weights {entry.name} are made for the task {entry.task}, not for {task}.")
    if variant is not None and entry.variant != variant:
        raise WeightsError(f"The weights {entry.name} are of variant {entry.variant}, not {variant}.")


def _weight_files(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{SUFFIX}")) if folder.is_dir() else []


def _entry_of_file(path: Path, *, is_bundled: bool) -> CatalogueEntry | None:
    from napari_ossnet.engine.model_card import read_card

    try:
        card = read_card(path)
    except WeightsError as error:
        # One damaged file must not hide the others; using it by name says what is wrong.
        _log.warning("%s", error)
        return None
    return entry_from_card(card, path, is_bundled=is_bundled)


def entry_from_card(card: ModelCard, path: Path, *, is_bundled: bool) -> CatalogueEntry:
    """The entry of a file on this machine; the file's name is the entry's."""
    return CatalogueEntry(
        name=path.stem,
        title=card.title,
        task=card.task.name,
        variant=card.variant,
        licence=card.licence,
        citation=card.citation,
        published_dice=card.mean_dice,
        size_bytes=path.stat().st_size,
        url=None,
        sha256=None,
        is_bundled=is_bundled,
        training_data=card.training_data,
        notes=card.notes,
    )


def _published_entry(published: PublishedWeights) -> CatalogueEntry:
    from napari_ossnet.engine.checksums import known_sum

    return CatalogueEntry(
        name=published.name,
        title=f"OSS-Net {published.variant.upper()}, as published",
        task=published.task,
        variant=published.variant,
        licence=LICENCE,
        citation=CITATION,
        published_dice=published.dice,
        size_bytes=4 * published.parameters,
        url=published.url,
        sha256=known_sum(weights_folder(), published.name),
        is_bundled=False,
        training_data=published.training_data,
    )
