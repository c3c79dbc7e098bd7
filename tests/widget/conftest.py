"""A viewer with the widget docked, scans whose geometry is known, and an engine whose network is a formula."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from napari_ossnet.engine.catalogue import find_weights
from napari_ossnet.engine.checksums import sha256_of
from napari_ossnet.engine.events import Progress, Snapshot
from napari_ossnet.engine.model_card import ModelCard
from napari_ossnet.engine.session import SegmentationSession, SegmentRequest
from napari_ossnet.engine.tasks import get_task
from napari_ossnet.engine.volume import Volume

#: The tasks that the formula knows: one of two classes, and one of a single class.
TASKS = {
    "hippocampus": get_task("hippocampus"),
    "ball": replace(get_task("hippocampus"), name="ball", title="Ball", classes=get_task("hippocampus").classes[:1]),
}
#: Affines of scans of 40 x 44 x 36 voxels or so: plain, flipped and permuted, thick slices, oblique.
AFFINES: dict[str, np.ndarray] = {}


def _affine(linear: list[list[float]], offset: tuple[float, float, float]) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = linear, offset
    return affine


def _turned(degrees: float, spacing: tuple[float, float, float]) -> list[list[float]]:
    angle = np.deg2rad(degrees)
    about_x = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    about_z = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    return (about_x @ about_z @ np.diag(spacing)).tolist()


AFFINES["RAS"] = _affine([[1, 0, 0], [0, 1, 0], [0, 0, 1]], (-20.0, -22.0, -18.0))
AFFINES["LPS"] = _affine([[-1, 0, 0], [0, -1, 0], [0, 0, 1]], (20.0, 22.0, -18.0))
AFFINES["PIR, thick slices"] = _affine([[0, 0, 1.5], [-1, 0, 0], [0, -1.2, 0]], (-26.0, 21.0, 25.0))
AFFINES["SAL"] = _affine([[0, 0, -1], [0, 1, 0], [1, 0, 0]], (17.0, -22.0, -20.0))
AFFINES["oblique"] = _affine(_turned(17.0, (1.0, 1.1, 1.3)), (-18.0, -25.0, -24.0))


def middle_of(volume: Volume) -> np.ndarray:
    """World position of the middle of a scan, RAS mm."""
    return (volume.affine @ [*((np.array(volume.shape) - 1) / 2), 1.0])[:3]


def make_scan(affine: np.ndarray, shape: tuple[int, int, int] = (40, 44, 36), name: str = "scan") -> Volume:
    """A scan whose grey values grow in one corner, so that no flip goes unnoticed."""
    i, j, k = np.indices(shape)
    data = (100 + 3 * i + 2 * j + k + 40 * ((i < 8) & (j < 6) & (k < 5))).astype(np.float32)
    return Volume(data=data[np.newaxis], affine=affine, channel_names=(name,))


def make_fine_scan(affine: np.ndarray, name: str = "scan") -> Volume:
    """The same body at half the voxel size: enough voxels for all steps from 8 to 1."""
    finer = affine.copy()
    finer[:3, :3] /= 2
    return make_scan(finer, (80, 88, 72), name)


class SphereField:
    """Logits of a ball in the world, asked in the network's grid."""

    def __init__(self, grid_affine: np.ndarray, centre_world: np.ndarray, radius_mm: float, class_count: int) -> None:
        import torch

        self.device = torch.device("cpu")
        self.class_count = class_count
        self.bytes_per_location = 64
        self._affine = torch.as_tensor(grid_affine, dtype=torch.float64)
        self._centre = torch.as_tensor(np.asarray(centre_world), dtype=torch.float64)
        self._radius_mm = radius_mm

    def query(self, locations: Any) -> Any:
        import torch

        offset = locations.double() @ self._affine[:3, :3].T + self._affine[:3, 3] - self._centre
        height = (self._radius_mm - offset.norm(dim=1)).float()
        if self.class_count == 1:
            return height[:, None]
        # Two classes: the ball's front half is the first, its back half the second.
        front = offset[:, 1].float() / 2
        return torch.stack([torch.zeros_like(height), height - (-front).relu(), height - front.relu()], dim=1)

    def prior(self, locations: Any) -> None:
        return None


@dataclass
class Gate:
    """Holds a run after each of its snapshots, while it is closed, until it is told to go on."""

    is_closed: bool = False
    _permits: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def go_on(self) -> None:
        self._permits.release()

    def open(self) -> None:
        self.is_closed = False
        self._permits.release()

    def wait(self) -> Generator[Progress, None, None]:
        while self.is_closed and not self._permits.acquire(timeout=0.01):
            yield Progress(stage="refining", step=1, points_done=10, points_total=100, remaining_s=3.0)


class FormulaSession(SegmentationSession):
    """The real session with a formula in place of the network, and a gate after each snapshot.

    ``failures`` are raised, the first of them instead of the first encoding, and so on; None raises nothing.
    """

    def __init__(self, radius_mm: float = 11.3, offset_mm: tuple[float, float, float] = (1.7, -2.3, 0.9)) -> None:
        super().__init__(encode=self._encode_formula)
        self.gate = Gate()
        self.failures: list[Exception | None] = []
        self.requests: list[SegmentRequest] = []
        self.radius_mm = radius_mm
        self.offset_mm = np.array(offset_mm)

    def centre_world(self, volume: Volume) -> np.ndarray:
        return middle_of(volume) + self.offset_mm

    def segment(self, request: SegmentRequest) -> Generator[Any, None, Any]:
        self.requests.append(request)
        steps = super().segment(request)
        while True:
            try:
                event = next(steps)
            except StopIteration as stop:
                return stop.value
            yield event
            if isinstance(event, Snapshot):
                yield from self.gate.wait()

    def _encode_formula(self, request: SegmentRequest, earlier: Any) -> Generator[Any, None, Any]:
        import torch

        from napari_ossnet.engine.encoded_scan import EncodedScan
        from napari_ossnet.engine.tasks import prepare

        yield Progress(stage="encoding")
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            raise failure
        task = TASKS[request.task]
        prepared = prepare(task, request.volume)
        return EncodedScan(
            request=request,
            prepared=prepared,
            field=SphereField(
                prepared.grid_affine, self.centre_world(request.volume), self.radius_mm, task.output_classes
            ),
            card=ModelCard(name="formula", title="A formula", task=task, variant="a", network_config={}),
            sha256=sha256_of(find_weights(None, weights=request.weights)),
            device=torch.device("cpu"),
        )


@pytest.fixture
def a_session() -> FormulaSession:
    return FormulaSession()


@pytest.fixture
def some_weights(a_home: Path) -> Path:
    """Weights for the hippocampus task that are on this machine: a card is all that the form reads of them."""
    make_weights(a_home, "ball", "tiny-ball")
    return make_weights(a_home, "hippocampus", "tiny-hippocampus")


def make_weights(home: Path, task: str, name: str, variant: str = "a", value: float = 0.0) -> Path:
    from safetensors.numpy import save_file

    card = ModelCard(
        name=name,
        title=f"Tiny {task}",
        task=TASKS.get(task) or get_task(task),
        variant=variant,
        network_config={},
        licence="MIT",
        dice={"whole": 0.5},
        training_data="nothing",
    )
    path = home / "weights" / f"{name}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"a": np.full(3, value, np.float32)}, path, metadata={"ossnet_card": card.to_json()})
    return path


@dataclass
class Docked:
    """A viewer, the widget in it, and the session behind it."""

    viewer: Any
    widget: Any
    session: FormulaSession
    qtbot: Any

    @property
    def state(self) -> Any:
        return self.widget.controller.store.state

    @property
    def labels(self) -> Any:
        return self.widget.controller.runs.last.labels

    @property
    def surface(self) -> Any:
        return self.widget.controller.runs.last.surface

    def open(self, volume: Volume) -> Any:
        """Adds a scan as our reader does and waits until it has been looked at."""
        from napari_ossnet.widget.opening import add_layers, image_layers

        add_layers(self.viewer, image_layers(volume))
        self.wait_idle()
        return self.viewer.layers[-1]

    def choose_task(self, name: str) -> None:
        self.widget.controller.inputs.choose_task(name)
        self.wait_idle()

    def click_segment(self) -> None:
        from qtpy.QtCore import Qt

        self.qtbot.mouseClick(self.widget.view.bar.segment, Qt.MouseButton.LeftButton)

    def wait_idle(self, timeout_ms: int = 120_000) -> None:
        worker = self.widget.controller.worker
        self.qtbot.waitUntil(lambda: not worker.is_running and self.state.job.name == "NONE", timeout=timeout_ms)
        # One more turn, so that layers that were to be added later are there.
        self.qtbot.wait(1)

    def wait_for_step(self, step: float, timeout_ms: int = 120_000) -> None:
        self.qtbot.waitUntil(lambda: self.shown_step() == step or bool(self.state.error), timeout=timeout_ms)
        assert not self.state.error
        self.qtbot.wait(1)

    def shown_step(self) -> float | None:
        runs = self.widget.controller.runs
        return None if runs.last is None else runs.last.shown_step

    def run(self) -> None:
        """Presses *Segment* and waits for the end."""
        self.click_segment()
        self.wait_idle()


@pytest.fixture
def dock(make_napari_viewer: Callable[..., Any], qtbot: Any, some_weights: Path) -> Iterator[Callable[..., Docked]]:
    """Opens a viewer with the widget docked; further arguments go to the viewer."""
    docked: list[Docked] = []

    def make(session: FormulaSession | None = None, **viewer_arguments: Any) -> Docked:
        from napari_ossnet.widget.widget import OSSNetWidget

        viewer = make_napari_viewer(**viewer_arguments)
        session = session or FormulaSession()
        widget = OSSNetWidget(viewer, session=session)
        viewer.window.add_dock_widget(widget, name="Segment", area="right")
        docked.append(Docked(viewer=viewer, widget=widget, session=session, qtbot=qtbot))
        docked[-1].choose_task("hippocampus")
        return docked[-1]

    yield make
    for item in docked:
        item.session.gate.open()
        item.widget.controller.close()


@pytest.fixture
def a_docked_widget(dock: Callable[..., Docked]) -> Docked:
    return dock()


@pytest.fixture
def a_ready_widget(a_docked_widget: Docked) -> Docked:
    """A widget with a scan open: *Segment* may be pressed."""
    a_docked_widget.open(make_scan(AFFINES["RAS"]))
    assert a_docked_widget.state.can_segment, a_docked_widget.state.problems
    return a_docked_widget


@pytest.fixture
def a_ready_fine_widget(a_docked_widget: Docked) -> Docked:
    """The same with a scan of more voxels, whose run goes through all steps."""
    a_docked_widget.open(make_fine_scan(AFFINES["RAS"]))
    assert a_docked_widget.state.can_segment, a_docked_widget.state.problems
    return a_docked_widget


@pytest.fixture
def sphere() -> SimpleNamespace:
    """The helpers above for tests, which can't import this file."""
    return SimpleNamespace(
        affines=AFFINES,
        make_scan=make_scan,
        make_fine_scan=make_fine_scan,
        make_weights=make_weights,
        middle_of=middle_of,
        FormulaSession=FormulaSession,
        now=time.perf_counter,
    )
