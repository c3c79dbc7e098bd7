"""Making many synthetic scans: which heads, how many, in which layout; restarting goes on where it stopped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.phantom.scan import ScanRanges, make_scan
from ossnet_training.synthesis.brats_folders import SCANS, write_brats_case
from ossnet_training.synthesis.heads import HeadShelf, HeadSource, label_sources, made_source, scan_sources
from ossnet_training.synthesis.pool import MANIFEST, PoolEntry, describe, read_manifest, write_scan

Layout = Literal["pool", "brats"]
FIRST_TRAINING_HEAD = 10_000
"""Heads made by code for training have seeds from here on; the demo's lies below."""
_MADE_HEADS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SynthesisSettings:
    """What to make.

    Attributes:
        output: Folder for the scans.
        labels: Folder of label maps with FreeSurfer's numbers, 1 mm.
        scans: Folder of real scans without tumour: ``<case>_flair``, ``_t1``, ``_t1ce``, ``_t2``, perhaps ``_seg``.
        count: Number of scans.
        seed: Seed of all of them; scan ``n`` depends on ``(seed, n)`` alone.
        layout: ``pool`` (half precision, cropped, made for training) or ``brats`` (a folder of NIfTI files a case).
        made_share: Share of heads made by code; all of them, where no folder is given.
        scan_share: Share of heads from real scans, where both folders are given.
        validation_heads: Names of heads whose scans validate; they never train. Every tenth, where none is named.
        ranges: Everything that is drawn.
    """

    output: Path
    labels: Path | None = None
    scans: Path | None = None
    count: int = 100
    seed: int = 0
    layout: Layout = "pool"
    made_share: float = 0.15
    scan_share: float = 0.25
    validation_heads: tuple[str, ...] = ()
    ranges: ScanRanges = field(default_factory=ScanRanges)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Heads:
    labels: list[HeadSource]
    scans: list[HeadSource]
    validating: frozenset[str]


def synthesise(settings: SynthesisSettings) -> Iterator[PoolEntry]:
    """Make the scans that are not there yet, one after the other; each is whole on disk when it is yielded.

    Args:
        settings: What to make.

    Raises:
        InputError: A folder of heads can't be used, or a share, the count or the seed makes no sense.
        OutputError: The output can't be written.
    """
    _check(settings)
    heads = _find_heads(settings)
    done = _finished(settings)
    shelf = HeadShelf()
    for number in range(settings.count):
        name = f"synthetic_{settings.seed:03d}_{number:05d}"
        if name in done:
            continue
        rng = np.random.default_rng([settings.seed, number])
        source = _choose(rng, heads, settings)
        scan = make_scan(rng, shelf.get(source), settings.ranges)
        split = "val" if source.name in heads.validating or _is_made_to_validate(source) else "train"
        entry = describe(scan, name=name, split=split, seed=(settings.seed, number))
        if settings.layout == "pool":
            write_scan(settings.output, entry, scan)
        else:
            write_brats_case(settings.output, entry, scan)
        yield entry


def _check(settings: SynthesisSettings) -> None:
    problems = []
    if settings.count < 1:
        problems.append(f"count must be at least 1, got {settings.count}")
    if settings.seed < 0:
        problems.append(f"seed must be 0 or more, got {settings.seed}")
    for name in ("made_share", "scan_share"):
        if not 0 <= getattr(settings, name) <= 1:
            problems.append(f"{name} must lie between 0 and 1, got {getattr(settings, name)}")
    if problems:
        raise InputError("Can't make scans: " + "; ".join(problems) + ".")


def _find_heads(settings: SynthesisSettings) -> _Heads:
    labels = label_sources(settings.labels) if settings.labels is not None else []
    scans = scan_sources(settings.scans) if settings.scans is not None else []
    names = [source.name for source in (*labels, *scans)]
    unknown = set(settings.validation_heads) - set(names)
    if unknown:
        raise InputError(f"No heads called {', '.join(sorted(unknown))}; there are {', '.join(names) or 'none'}.")
    validating = settings.validation_heads or tuple(names[9::10])
    return _Heads(labels=labels, scans=scans, validating=frozenset(validating))


def _choose(rng: np.random.Generator, heads: _Heads, settings: SynthesisSettings) -> HeadSource:
    made, real = rng.random(2)
    if not (heads.labels or heads.scans) or made < settings.made_share:
        return made_source(FIRST_TRAINING_HEAD + int(rng.integers(_MADE_HEADS)))
    from_scans = not heads.labels or (bool(heads.scans) and real < settings.scan_share)
    sources = heads.scans if from_scans else heads.labels
    return sources[int(rng.integers(len(sources)))]


def _is_made_to_validate(source: HeadSource) -> bool:
    """Every tenth head made by code validates."""
    return source.kind == "code" and int(source.name.rsplit("_", 1)[1]) % 10 == 0


def _finished(settings: SynthesisSettings) -> set[str]:
    manifest = MANIFEST if settings.layout == "pool" else SCANS
    if not (settings.output / manifest).exists():
        return set()
    return {entry.name for entry in read_manifest(settings.output, manifest)}
