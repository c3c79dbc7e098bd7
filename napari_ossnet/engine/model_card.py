"""The model card: what weights are, for which task, trained on what; it travels as JSON inside the weights file.

Reading a card touches only the head of a .safetensors file and imports no torch, so that listing weights is quick.
"""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from napari_ossnet.engine.errors import InputError, WeightsError
from napari_ossnet.engine.task_definition import Task

#: Key of the card in the metadata of a .safetensors file.
METADATA_KEY = "ossnet_card"
#: No head of weights is as long as this; a longer one is another kind of file.
_LONGEST_HEAD = 2**27


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """What a user should know of weights, and what the program needs to build their network.

    Attributes:
        name: Short name, as in the catalogue.
        title: Name for people.
        task: The task with its modalities, classes and grid: weights work wherever they are taken.
        variant: As on the command line, e.g. ``c``.
        network_config: Settings that the variant's network is built from.
        training_data: What the weights were trained on, in a sentence.
        licence: Of the weights.
        citation: What to cite.
        dice: Dice by class or data set as whoever trained the weights reports it; None where nobody does.
        created: Date and time, ISO 8601.
        notes: Anything else, in plain text.
    """

    name: str
    title: str
    task: Task
    variant: str
    network_config: dict[str, Any]
    training_data: str = ""
    licence: str = ""
    citation: str = ""
    dice: dict[str, float] | None = None
    created: str = ""
    notes: str = ""

    def __post_init__(self) -> None:
        """Keep the settings as JSON has them, so that a card equals the one that is read back."""
        object.__setattr__(self, "network_config", json.loads(json.dumps(self.network_config)))

    @property
    def mean_dice(self) -> float | None:
        """Mean of the Dice values; None where there are none."""
        return sum(self.dice.values()) / len(self.dice) if self.dice else None

    def to_json(self) -> str:
        """The card as JSON."""
        record = asdict(self) | {"task": json.loads(self.task.to_json())}
        return json.dumps(record, indent=1)

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """The card that ``to_json`` wrote.

        Raises:
            WeightsError: The text is no JSON, or lacks a field, or has one that is not known.
        """
        try:
            record = json.loads(text)
            unknown = sorted(set(record) - {field.name for field in fields(cls)})
            if unknown:
                raise ValueError(f"unknown fields {', '.join(unknown)}")
            return cls(**(record | {"task": Task.from_json(json.dumps(record["task"]))}))
        except (TypeError, ValueError, KeyError, InputError) as error:
            raise WeightsError(
                f"The model card of these weights can't be read ({error}); they may be made by a newer version."
            ) from error

    def to_markdown(self) -> str:
        """The card for people, as a Markdown page."""
        modalities = ", ".join(modality.title for modality in self.task.modalities)
        classes = ", ".join(f"{item.title} ({item.label})" for item in self.task.classes)
        rows = [
            ("Name", self.name),
            ("Task", f"{self.task.title}: {self.task.description}"),
            ("Input", f"{self.task.kind}: {modalities}"),
            ("Classes", classes),
            ("Variant", self.variant),
            ("Network", ", ".join(f"{key} {value}" for key, value in self.network_config.items())),
            ("Training data", self.training_data),
            ("Dice", ", ".join(f"{key} {value:.4f}" for key, value in (self.dice or {}).items())),
            ("Licence", self.licence),
            ("Citation", self.citation),
            ("Created", self.created),
        ]
        table = "\n".join(f"| {key} | {value or 'not stated'} |" for key, value in rows)
        notes = f"\n\n{self.notes}" if self.notes else ""
        return f"# {self.title}\n\n| | |\n| --- | --- |\n{table}{notes}\n"


def read_card(path: str | Path) -> ModelCard:
    """The card of a .safetensors file, without its tensors.

    Raises:
        WeightsError: There is no such file, it is damaged, of another kind, or has no card.
    """
    head = read_safetensors_head(Path(path))
    text = head.get("__metadata__", {}).get(METADATA_KEY)
    if text is None:
        raise WeightsError(f"{path} has no model card; it is no file of ours: import it with `ossnet weights import`.")
    return ModelCard.from_json(text)


def read_safetensors_head(path: Path) -> dict[str, Any]:
    """The head of a .safetensors file: tensors by name, and ``__metadata__``; the file's length is checked.

    Raises:
        WeightsError: There is no such file, or it is truncated, or of another kind.
    """
    try:
        with path.open("rb") as file:
            head = _parse_head(path, file.read(8), file)
        size = path.stat().st_size
    except OSError as error:
        raise WeightsError(f"Can't read the weights {path} ({error.strerror}); check the path.") from error
    length, content = head
    ends = [entry["data_offsets"][1] for name, entry in content.items() if name != "__metadata__"]
    expected = 8 + length + max(ends, default=0)
    if size != expected:
        raise WeightsError(
            f"{path} has {size} bytes, expected {expected}: it is damaged or not downloaded to the end; get it anew."
        )
    return content


def _parse_head(path: Path, first: bytes, file: Any) -> tuple[int, dict[str, Any]]:
    length = struct.unpack("<Q", first)[0] if len(first) == 8 else 0
    text = file.read(length) if 2 <= length <= _LONGEST_HEAD else b""
    try:
        content = json.loads(text)
        entries = [entry["data_offsets"][1] for name, entry in content.items() if name != "__metadata__"]
        if not all(isinstance(end, int) for end in entries):
            raise TypeError
    except (ValueError, TypeError, KeyError, AttributeError):
        raise WeightsError(
            f"{path} is no .safetensors file, or only the beginning of one; get it anew, or give another file."
        ) from None
    return length, content
