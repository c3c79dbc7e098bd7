"""One case on the command line, from image files to a segmentation: what segment, batch and demo have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_ossnet.cli.region import RegionChoice, box_around, parse_region
from napari_ossnet.cli.reporters import Reporter, drive
from napari_ossnet.engine.catalogue import find_weights, list_entries
from napari_ossnet.engine.errors import WeightsError
from napari_ossnet.engine.model_card import ModelCard, read_card
from napari_ossnet.engine.results.measurement import Measurement
from napari_ossnet.engine.results.segmentation import Segmentation
from napari_ossnet.engine.scans.assignment import assign_images, load_scan
from napari_ossnet.engine.session import Schedule, SegmentationSession, SegmentRequest
from napari_ossnet.engine.tasks import Task, get_task
from napari_ossnet.engine.volume import Volume

DEFAULT_TASK = "brats"


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """The weights that were chosen, and the task that they are for."""

    card: ModelCard
    weights: Path
    #: As it was asked for; None accepts that of the weights.
    variant: str | None

    @property
    def task(self) -> Task:
        """What the weights segment."""
        return self.card.task


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How to segment, the same for every case of a batch."""

    device: str = "auto"
    memory_bytes: int | None = None
    step: int = 1
    schedule: Schedule = "octree"
    threshold: float = 0.5
    mirrored: bool = False
    region: RegionChoice | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A segmented case: what went in and what came out."""

    assignment: dict[str, Path]
    volume: Volume
    segmentation: Segmentation


def choose_network(task: str | None, variant: str | None, weights: str | None) -> Network:
    """The weights and the task for the options of the same names.

    Raises:
        InputError: There is no such task.
        WeightsError: There are no such weights, or they are for another task.
    """
    if task is None and weights is None:
        task = DEFAULT_TASK
    elif task is not None and weights is None:
        _check_task(task)
    path = find_weights(task, variant, weights)
    card = _card_of_weights(path)
    if task is not None and card.task.name != task:
        _check_task(task)
        raise WeightsError(f"The weights {path} are made for the task {card.task.name}, not for {task}.")
    return Network(card=card, weights=path, variant=variant)


def show_weights(network: Network, reporter: Reporter) -> None:
    """States which weights are used, whoever chose them."""
    name, variant = network.card.name, network.card.variant
    text = f"Weights: {name} ({variant})"
    reporter.fact("weights", text, name=name, variant=variant, path=str(network.weights))


def run_case(
    session: SegmentationSession, network: Network, images: Sequence[str], options: RunOptions, reporter: Reporter
) -> Case:
    """Reads the images of a case and segments them.

    Raises:
        EngineError: The images can't be used, or the run failed.
    """
    assignment = assign_images(network.task, images)
    shown = ", ".join(f"{name} = {path.name}" for name, path in assignment.items())
    reporter.fact("assignment", f"Images: {shown}", **{name: str(path) for name, path in assignment.items()})
    # Its first message says once more which file is which.
    volume, (_, *messages) = load_scan(network.task, assignment)
    for message in messages:
        reporter.event(message)
    return Case(
        assignment=assignment,
        volume=volume,
        segmentation=segment_volume(
            session, network, volume, options, reporter, tuple(message.text for message in messages)
        ),
    )


def segment_volume(
    session: SegmentationSession,
    network: Network,
    volume: Volume,
    options: RunOptions,
    reporter: Reporter,
    messages: tuple[str, ...] = (),
) -> Segmentation:
    """Segments a scan that is already read, and refines the region that is asked for, if there is anything in it.

    Args:
        session: Does it.
        network: The weights.
        volume: The scan.
        options: How.
        reporter: Is told of every event.
        messages: What the user was told when the scan was read; it goes into the report.

    Raises:
        EngineError: The scan can't be used, or the run failed.
    """
    request = SegmentRequest(
        volume=volume,
        task=network.task.name,
        variant=network.variant,
        weights=network.weights,
        device=options.device,
        memory_bytes=options.memory_bytes,
        step=options.step,
        schedule=options.schedule,
        threshold=options.threshold,
        mirrored=options.mirrored,
        messages=messages,
    )
    start, stop = (None, None) if options.region is None else parse_region(options.region, volume.shape)
    segmentation = drive(session.segment(request), reporter)
    if options.region is None:
        return segmentation
    if start is None or stop is None:
        if segmentation.is_empty:
            reporter.fact("not-refined", "Nothing was found, so there is no object to refine: this is the whole scan.")
            return segmentation
        start, stop = box_around(segmentation.labels)
    return drive(session.refine_region(start, stop, options.region.factor), reporter)


def show_summary(segmentation: Segmentation, reporter: Reporter) -> None:
    """States the result in a few lines."""
    report = segmentation.report()
    keys = ("volume_ml", "surface_area_cm2", "max_diameter_mm", "evaluated_locations", "first_snapshot_s", "elapsed_s")
    values = {key: report[key] for key in keys} | {"device": report["device"]}
    times = segmentation.timings
    if segmentation.is_empty:
        lines = [f"Nothing was found at threshold {segmentation.threshold:g}: the mask is empty."]
    else:
        region = segmentation.region
        place = "" if region is None else f" in the box {region.box_text}"
        lines = [_measured(part, place) for part in segmentation.measurements]
    lines.append(
        f"Time: {times.elapsed_s:.1f} s on {report['device']}, first picture after {times.first_snapshot_s:.1f} s, "
        f"{segmentation.evaluated_locations:,} locations"
    )
    reporter.fact("result", "\n".join(lines), **values)


def _measured(part: Measurement, place: str) -> str:
    surface, diameter = f"surface {part.surface_area_cm2:.1f} cm2", f"diameter {part.max_diameter_mm:.1f} mm"
    return f"{part.title}{place}: {part.volume_ml:.2f} mL, {surface}, {diameter}"


def _check_task(name: str) -> None:
    """Lets tasks pass that the program knows, or that some weights at hand bring with them."""
    if not list_entries(name):
        get_task(name)


def _card_of_weights(path: Path) -> ModelCard:
    try:
        return read_card(path)
    except WeightsError:
        # No file with a card. What a published file is shows in its tensors, and looking at those takes torch.
        from napari_ossnet.engine.checkpoints import read_card as recognise

        return recognise(path)
