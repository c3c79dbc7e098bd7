"""The words of the worker's protocol: events, results and catalogue entries as plain JSON values.

Arrays are written to the exchange folder and stand in the JSON as file names. World positions are RAS millimetres.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from napari_ossnet.engine.catalogue import CatalogueEntry, find_weights, local_path
from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.events import Message, Progress, Snapshot
from napari_ossnet.engine.exchange import Exchange
from napari_ossnet.engine.model_card import read_card
from napari_ossnet.engine.results.segmentation import Segmentation
from napari_ossnet.engine.scans.assignment import stack_volumes
from napari_ossnet.engine.session import SegmentRequest
from napari_ossnet.engine.shapes import LabelMap
from napari_ossnet.engine.surfaces.surface import extract_surface
from napari_ossnet.engine.task_definition import Task
from napari_ossnet.engine.tasks import TASKS, get_task
from napari_ossnet.engine.volume import Volume

Words = dict[str, Any]


def volume_from_words(words: Words, exchange: Exchange) -> Volume:
    """The scan that a command hands over: ``data`` (a file of float32 (channels, i, j, k)), ``affine``, ``channels``.

    Raises:
        InputError: A part is missing or has the wrong shape.
    """
    try:
        data, affine, names = words["data"], words["affine"], tuple(words["channels"])
    except (KeyError, TypeError) as error:
        raise InputError(f"A volume needs data, affine and channels; {error} is missing.") from error
    codes = words.get("affine_codes", (1, 1))
    return Volume(
        data=np.asarray(exchange.get(data), dtype=np.float32),
        affine=np.asarray(affine, dtype=np.float64),
        channel_names=names,
        affine_codes=(int(codes[0]), int(codes[1])),
    )


def volume_to_words(volume: Volume, exchange: Exchange) -> Words:
    """A volume for the parent, in the words in which it hands over its own."""
    data = exchange.put("scan", volume.data)
    return {"data": data, "affine": volume.affine.tolist(), "channels": list(volume.channel_names)}


@dataclass(frozen=True, slots=True)
class HandedScan:
    """A scan that a command has handed over, the words that named it, and what there was to say about its images."""

    words: Words
    volume: Volume
    messages: list[Message]

    @property
    def image_names(self) -> dict[str, str]:
        """The name of the image of each modality, as the parent calls it."""
        return {modality: ", ".join(image["channels"]) for modality, image in self.words["images"].items()}

    def is_of(self, words: Words) -> bool:
        """Whether a command names the same files for the same task; a name is used once, so they hold the same."""
        return self.words == _scan_words(words)


def scan_from_words(words: Words, exchange: Exchange) -> HandedScan:
    """The scan of a ``segment`` command, whose ``images`` map each modality of the task to a volume.

    Raises:
        InputError: ``task`` or ``images`` is missing, or the images don't make a scan of the task.
    """
    missing = [name for name in ("task", "images") if name not in words]
    if missing:
        raise InputError(f"A segment command needs task and images; {', '.join(missing)} is missing.")
    images = {name: volume_from_words(image, exchange) for name, image in words["images"].items()}
    return HandedScan(_scan_words(words), *stack_volumes(_task_of(words), images))


def _task_of(words: Words) -> Task:
    """The task that a command names: one of ours, or the one that its weights bring along."""
    if words["task"] not in TASKS and words.get("weights"):
        task = read_card(find_weights(words["task"], weights=words["weights"])).task
        if task.name == words["task"]:
            return task
    return get_task(words["task"])


def _scan_words(words: Words) -> Words:
    return {name: words.get(name) for name in ("task", "images")}


def request_from_words(words: Words, scan: HandedScan) -> SegmentRequest:
    """The request of a ``segment`` command; what the command does not name keeps the request's default.

    Args:
        words: The command.
        scan: Its scan, from ``scan_from_words``.

    Raises:
        InputError: A setting is unknown.
    """
    settings = ("variant", "weights", "device", "memory_bytes", "step", "schedule", "threshold", "mirrored")
    unknown = sorted(set(words) - {*settings, "task", "images", "command", "id", "is_live"})
    if unknown:
        raise InputError(f"A segment command may have {', '.join(settings)}, not {', '.join(unknown)}.")
    chosen = {name: words[name] for name in settings if words.get(name) is not None}
    messages = tuple(message.text for message in scan.messages)
    return SegmentRequest(volume=scan.volume, task=words["task"], messages=messages, **chosen)


def progress_to_words(progress: Progress) -> Words:
    """A ``progress`` event."""
    return {"event": "progress", **asdict(progress)}


def message_to_words(message: Message) -> Words:
    """A ``message`` event."""
    return {"event": "message", "text": message.text, "level": message.level}


def snapshot_to_words(snapshot: Snapshot, shape: tuple[int, int, int], exchange: Exchange) -> Words:
    """A ``snapshot`` event: labels on the voxels of the mask to come (their file), and the surfaces.

    Args:
        snapshot: As the session yields it.
        shape: Voxels of the mask to come along i, j, k.
        exchange: Where the arrays go.
    """
    return {
        "event": "snapshot",
        "step": snapshot.step,
        "evaluated_locations": snapshot.evaluated_locations,
        "elapsed_s": snapshot.elapsed_s,
        "is_final": snapshot.is_final,
        "labels": exchange.put("labels", labels_on_voxels(snapshot, shape)),
        "surfaces": surfaces_to_words(snapshot, exchange),
    }


def surfaces_to_words(source: Snapshot | Segmentation, exchange: Exchange) -> list[Words]:
    """The surface of every class: label, file of vertices (v, 3) in RAS mm, file of faces (f, 3)."""
    snapshot = source if isinstance(source, Snapshot) else source.snapshot
    surfaces = []
    for label in snapshot.class_labels:
        mesh = extract_surface(source, label)
        surfaces.append(
            {
                "label": label,
                "vertices": exchange.put("vertices", mesh.vertices_world.astype(np.float32)),
                "faces": exchange.put("faces", mesh.faces.astype(np.int64)),
            }
        )
    return surfaces


def result_to_words(result: Segmentation, exchange: Exchange) -> Words:
    """The ``result`` event: the mask, its place, its surfaces, and the report."""
    return {
        "event": "result",
        "labels": exchange.put("labels", result.labels),
        "affine": result.affine.tolist(),
        "is_empty": result.is_empty,
        "surfaces": surfaces_to_words(result, exchange),
        "report": result.report(),
    }


def entry_to_words(entry: CatalogueEntry) -> Words:
    """Weights as the catalogue knows them, and whether their file is at hand."""
    return {**asdict(entry), "is_local": local_path(entry) is not None}


def labels_on_voxels(snapshot: Snapshot, shape: tuple[int, int, int]) -> LabelMap:
    """A snapshot's labels on every voxel of the scan: each voxel takes the nearest sample, so nothing is shifted."""
    labels = snapshot.labels
    for axis, (size, first, step) in enumerate(zip(shape, snapshot.first_voxel, snapshot.steps, strict=True)):
        nearest = np.rint((np.arange(size) - first) / step).astype(np.intp)
        inside = (nearest >= 0) & (nearest < labels.shape[axis])
        # The sample before a coarse lattice's first and after its last stands for what lies beyond by under a step.
        beyond = np.abs(nearest - nearest.clip(0, labels.shape[axis] - 1)) <= 1
        labels = np.take(labels, nearest.clip(0, labels.shape[axis] - 1), axis=axis)
        labels = np.where(_along(inside | beyond if step > 1 else inside, axis), labels, np.uint8(0))
    return np.ascontiguousarray(labels)


def _along(mask: np.ndarray, axis: int) -> np.ndarray:
    shape = [1, 1, 1]
    shape[axis] = -1
    return mask.reshape(shape)
