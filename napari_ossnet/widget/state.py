"""Owns what the widget knows at one moment, as frozen values: the view shows a state, the controller makes the next."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class Job(Enum):
    """What the one worker thread is doing; the value is how it is told to the user."""

    NONE = "Ready"
    SEGMENT = "Segmenting"
    RETHRESHOLD = "Moving the threshold"
    REFINE = "Refining a region"
    VIEW = "Refining what is on the screen"
    MEASURE = "Measuring"
    CHECK = "Looking at the scan"
    DEVICES = "Looking for devices"
    DOWNLOAD = "Downloading weights"
    IMPORT = "Importing weights"
    IMAGE = "Making the super-resolved image"
    EXPORT = "Saving"
    DEMO = "Making the demo scan"
    BATCH = "Segmenting a folder"


#: Done on the side; they give way to any other job and need no *Cancel*.
BACKGROUND_JOBS = (Job.CHECK, Job.DEVICES, Job.MEASURE, Job.VIEW)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageChoice:
    """One channel of one layer, as a user picks it for a modality."""

    #: napari's ``unique_id`` of the layer, as text.
    layer_id: str
    #: Index along a fourth, leading axis; 0 where the layer has three.
    channel: int
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModalityRow:
    """One line of the image form: what is wanted, what was picked, and whether it fits."""

    name: str
    title: str
    choice: ImageChoice | None = None
    #: Shape and spacing of the choice and how it fits, or what is missing.
    note: str = ""
    is_problem: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOption:
    """A task in the list."""

    name: str
    title: str
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsOption:
    """One entry of the catalogue, or a user's own file, as it is shown."""

    #: The catalogue's name, or the path of the file.
    name: str
    title: str
    variant: str
    #: Size, licence, published Dice, one line each.
    details: tuple[str, ...]
    #: What it was trained on.
    tooltip: str
    is_here: bool
    can_download: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantOption:
    """A network variant."""

    name: str
    title: str
    tooltip: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceOption:
    """A device in the list; ``name`` is what the engine calls it."""

    name: str
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is remembered from one start to the next."""

    task: str = "brats"
    #: Task name to the weights chosen last for it.
    weights: dict[str, str] = field(default_factory=dict)
    device: str = "auto"
    #: Empty: half of what is free; else an amount such as ``2GiB``.
    memory: str = ""
    step: int = 1
    threshold: float = 0.5
    #: Whether the scan's mirror image is asked too.
    mirrored: bool = False
    region_factor: int = 4
    region_depth: int = 24
    #: Whether what is on the screen is refined as the user zooms in.
    refine_view: bool = False
    batch_input: str = ""
    batch_output: str = ""
    last_folder: str = ""
    #: Names of the sections that are folded away.
    folded: tuple[str, ...] = ("region", "batch")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressNote:
    """How far the work is, ready to be shown; ``fraction`` is None where it can't be told."""

    text: str = ""
    fraction: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasurementRow:
    """One row of the table: a class and its numbers, in the order of the columns."""

    title: str
    volume_ml: float
    surface_area_cm2: float
    max_diameter_mm: float
    #: Scan voxels of the box that the numbers are of; empty where they are of the whole scan.
    box: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRow:
    """One scan of a batch and how it went."""

    case: str
    outcome: str
    volume_ml: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Everything that the view shows."""

    settings: Settings = field(default_factory=Settings)
    job: Job = Job.NONE
    is_cancelling: bool = False
    tasks: tuple[TaskOption, ...] = ()
    rows: tuple[ModalityRow, ...] = ()
    images: tuple[ImageChoice, ...] = ()
    variants: tuple[VariantOption, ...] = ()
    variant: str = ""
    weights: tuple[WeightsOption, ...] = ()
    chosen_weights: WeightsOption | None = None
    devices: tuple[DeviceOption, ...] = (DeviceOption(name="auto", title="Automatic"),)
    #: Shown for as long as runs go to the CPU.
    cpu_warning: str = ""
    #: Why *Segment* can't be pressed, by who found out.
    torch_problems: tuple[str, ...] = ()
    image_problems: tuple[str, ...] = ()
    scan_problems: tuple[str, ...] = ()
    weights_problems: tuple[str, ...] = ()
    #: What looks wrong about the scan, and what the last run had to say.
    scan_warnings: tuple[str, ...] = ()
    run_messages: tuple[str, ...] = ()
    progress: ProgressNote = field(default_factory=ProgressNote)
    status: str = ""
    error: str = ""
    #: Whether the last run failed on a device so that the CPU is worth a try.
    is_cpu_offered: bool = False
    measurements: tuple[MeasurementRow, ...] = ()
    #: What there are numbers and files of, the whole scan first, and which of these is shown and saved.
    result_titles: tuple[str, ...] = ()
    result_index: int = 0
    #: Whether the numbers are of labels that somebody has edited by hand.
    is_edited: bool = False
    has_result: bool = False
    #: Whether the network has restored an image beside the mask.
    has_super_resolved_image: bool = False
    can_restore: bool = False
    box_layers: tuple[str, ...] = ()
    #: What there is to say about refining what is on the screen.
    view_note: str = ""
    batch: tuple[BatchRow, ...] = ()

    @property
    def problems(self) -> tuple[str, ...]:
        """Why *Segment* can't be pressed, one sentence each."""
        return self.torch_problems + self.image_problems + self.scan_problems + self.weights_problems

    @property
    def is_busy(self) -> bool:
        """Whether the worker is at something that *Cancel* stops."""
        return self.job not in (Job.NONE, *BACKGROUND_JOBS)

    @property
    def can_segment(self) -> bool:
        """Whether *Segment* may be pressed."""
        return not self.is_busy and not self.problems
