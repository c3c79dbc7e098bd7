"""Taking weights into the catalogue: download or import, check, and store as safetensors with a model card."""

from __future__ import annotations

import re
import shutil
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_ossnet.engine.catalogue import (
    SUFFIX,
    CatalogueEntry,
    entry_from_card,
    get_entry,
    list_entries,
    ossnet_home,
    weights_folder,
)
from napari_ossnet.engine.checksums import FILE_NAME, known_sum, remember_sum, sha256_of
from napari_ossnet.engine.errors import WeightsError
from napari_ossnet.engine.events import Progress
from napari_ossnet.engine.files.atomic import atomic_path
from napari_ossnet.engine.published_weights import PUBLISHED

if TYPE_CHECKING:
    from napari_ossnet.engine.checkpoints import LoadedWeights
    from napari_ossnet.engine.model_card import ModelCard


def download_weights(entry: CatalogueEntry) -> Generator[Progress, None, Path]:
    """Downloads the weights of an entry and stores them; see ``catalogue.download``."""
    from napari_ossnet.engine.download import fetch

    if entry.url is None:
        raise WeightsError(f"The weights {entry.name} are not to be downloaded from anywhere; they are local ones.")
    file_name = entry.url.rpartition("/")[2]
    by_hand = "or fetch it with a browser and run: ossnet weights import FILE"
    path = yield from fetch(entry.url, ossnet_home() / "downloads" / file_name, instead=by_hand)
    yield Progress(stage="weights")
    try:
        target = _store_published(path, entry)
    except WeightsError:
        # What came is not what was asked for; kept, it would be in the way of every later try.
        path.unlink(missing_ok=True)
        raise
    path.unlink(missing_ok=True)
    return target


def import_file(path: Path, name: str | None) -> CatalogueEntry:
    """Takes a file that is already here; see ``catalogue.import_weights``."""
    path = path.expanduser()
    if not path.is_file():
        raise WeightsError(f"There is no weights file {path}; give a .pt or .safetensors file.")
    published = {weights.file_name: weights.name for weights in PUBLISHED}.get(path.name)
    if name is None and published is not None:
        entry = get_entry(published)
        _store_published(path, entry)
        return replace(entry, sha256=sha256_of(path))
    return _store_own(path, name)


def _store_published(path: Path, entry: CatalogueEntry) -> Path:
    """Checks a published file by its sum where that is known, by its structure always, and stores it."""
    sha256 = sha256_of(path)
    if entry.sha256 is not None and sha256 != entry.sha256:
        raise WeightsError(
            f"The file for {entry.name} has the SHA-256 {sha256}, expected {entry.sha256}: it is damaged or another "
            f"version; download it anew, or, if you trust it, delete its line in {weights_folder() / FILE_NAME}."
        )
    loaded = _load(path)
    found = (loaded.card.variant, loaded.card.task.name)
    if found != (entry.variant, entry.task):
        raise WeightsError(
            f"The file for {entry.name} holds variant {found[0]} for {found[1]}, "
            f"expected variant {entry.variant} for {entry.task}."
        )
    card = replace(
        loaded.card,
        name=entry.name,
        title=entry.title,
        training_data=entry.training_data,
        licence=entry.licence,
        citation=entry.citation,
        dice=None if entry.published_dice is None else {"whole": entry.published_dice},
        notes=f"Converted from {path.name}, SHA-256 {sha256}.",
    )
    target = _target(entry.name)
    _save(target, loaded, card)
    remember_sum(weights_folder(), entry.name, sha256)
    return target


def _store_own(path: Path, name: str | None) -> CatalogueEntry:
    loaded = _load(path)
    has_card = _has_card(path)
    stem = _as_name(name or (loaded.card.name if has_card else path.stem))
    _check_free(stem, path)
    target = _target(stem)
    if has_card and loaded.card.name == stem:
        # The very bytes, so that the file keeps its sum.
        with atomic_path(target) as temporary:
            shutil.copyfile(path, temporary)
    else:
        _save(target, loaded, replace(loaded.card, name=stem))
    remember_sum(weights_folder(), stem, sha256_of(path))
    return entry_from_card(replace(loaded.card, name=stem), target, is_bundled=False)


def _check_free(name: str, path: Path) -> None:
    """Refuses a name that other weights bear; the same file may come again."""
    another = f"give another name: ossnet weights import {path} --name NAME"
    for entry in list_entries():
        if entry.name != name:
            continue
        if entry.is_bundled or entry.is_published:
            raise WeightsError(f"The name {name} belongs to weights in the catalogue; {another}.")
        if known_sum(weights_folder(), name) != sha256_of(path):
            raise WeightsError(f"There are other weights called {name} already; remove them first, or {another}.")


def _has_card(path: Path) -> bool:
    from napari_ossnet.engine.model_card import read_card

    try:
        read_card(path)
    except WeightsError:
        return False
    return True


def _as_name(text: str) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if not name:
        raise WeightsError(f"'{text}' can't be a name in the catalogue; use letters, digits and hyphens.")
    return name


def _target(name: str) -> Path:
    return weights_folder() / (name + SUFFIX)


def _load(path: Path) -> LoadedWeights:
    from napari_ossnet.engine.checkpoints import load_checkpoint

    return load_checkpoint(path)


def _save(target: Path, loaded: LoadedWeights, card: ModelCard) -> None:
    from napari_ossnet.engine.checkpoints import save_weights

    save_weights(target, loaded.network, card)
