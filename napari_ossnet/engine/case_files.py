"""Owns what a case of a cohort leaves behind: a mask, its report, or why there is none.

A finished case has left ``<case>.nii.gz`` and, written after it, ``<case>.json``; a failed one ``<case>.error.json``.
Where a run was killed between mask and report, a report that says no more than that tells whose the mask is.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_ossnet.engine.files.atomic import atomic_path

ERROR_SUFFIX = ".error.json"
#: Key of what stands in a report's place while the mask is written.
UNFINISHED = "unfinished"


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """What a mask was made with, as far as another choice makes another mask."""

    #: SHA-256 of the weights file.
    weights: str
    threshold: float
    schedule: str
    step: float
    mirrored: bool = False

    def differences(self, other: Making) -> str:
        """What is otherwise in ``other``, for people; empty where nothing is."""
        pairs = {
            "weights": (self.weights[:12], other.weights[:12]),
            "threshold": (f"{self.threshold:g}", f"{other.threshold:g}"),
            "schedule": (self.schedule, other.schedule),
            "step": (f"{self.step:g}", f"{other.step:g}"),
            "mirrored": (_yes_or_no(self.mirrored), _yes_or_no(other.mirrored)),
        }
        changed = (name for name in pairs if getattr(self, name) != getattr(other, name))
        return ", ".join(f"{name} {pairs[name][0]} (now {pairs[name][1]})" for name in changed)


@dataclass(frozen=True, slots=True)
class CaseFiles:
    """The files of one case in the folder for results."""

    target: Path
    name: str

    @property
    def mask(self) -> Path:
        """Where the mask is, or will be."""
        return self.target / f"{self.name}.nii.gz"

    @property
    def report(self) -> Path:
        """Written last: it marks the case as finished."""
        return self.target / f"{self.name}.json"

    @property
    def failure(self) -> Path:
        """Holds the sentence of a case that failed."""
        return self.target / (self.name + ERROR_SUFFIX)

    def making(self) -> Making | None:
        """What the mask was made with, by its report; None where one of the two isn't there."""
        content = read_report(self.report) if self.mask.is_file() else {}
        try:
            return Making(
                weights=content["weights"]["sha256"],
                threshold=content["threshold"],
                schedule=content["schedule"],
                step=content["snapshots"][-1]["step"],
                mirrored=content.get("mirrored", False),
            )
        except (IndexError, KeyError, TypeError):
            return None

    def volume_ml(self) -> float | None:
        """What the report says was found; None where it says nothing."""
        try:
            return float(read_report(self.report)["volume_ml"])
        except (KeyError, TypeError, ValueError):
            return None

    @property
    def is_foreign(self) -> bool:
        """Whether files of these names are there that no batch has left, such as the labels of the same cases."""
        if self.report.exists() and not {"evaluated_locations", UNFINISHED} & read_report(self.report).keys():
            return True
        return self.mask.exists() and not (self.report.exists() or self.failure.exists())

    def reopen(self) -> None:
        """Puts a mark in place of an older report: that must never stand beside a mask that it does not speak of.

        Raises:
            OutputError: The folder can't be written.
        """
        with atomic_path(self.report) as temporary:
            temporary.write_text(json.dumps({UNFINISHED: True}) + "\n", encoding="utf-8")

    def close(self) -> None:
        """Takes the sentence of an earlier failure away, now that mask and report are there."""
        self.failure.unlink(missing_ok=True)

    def fail(self, error: Exception) -> None:
        """Leaves the sentence that says why there is no mask; an older mask stays.

        Raises:
            OutputError: The folder can't be written.
        """
        with atomic_path(self.failure) as temporary:
            temporary.write_text(json.dumps({"error": str(error)}) + "\n", encoding="utf-8")


def _yes_or_no(value: bool) -> str:
    return "yes" if value else "no"


def read_report(report: Path) -> dict[str, Any]:
    """What a report says; nothing where it is gone, since another process does its case again, or is none."""
    try:
        content = json.loads(report.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
