"""Sessions on scans whose segmentation is known: the network is a formula in the world's millimetres."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_ossnet.engine.encoded_scan import EncodedScan, NetworkInUse
from napari_ossnet.engine.events import Event, Progress, Snapshot
from napari_ossnet.engine.geometry import voxel_to_world
from napari_ossnet.engine.model_card import ModelCard
from napari_ossnet.engine.session import SegmentationSession, SegmentRequest
from napari_ossnet.engine.task_definition import Modality, SegmentClass, Task
from napari_ossnet.engine.tasks import prepare
from napari_ossnet.engine.volume import Volume

CENTRE = np.array([3.2, -5.1, 7.4])
RADIUS = 11.3

Formula = Callable[[np.ndarray], np.ndarray]


def a_task(class_count: int = 1, axes: str = "LPS") -> Task:
    return Task(
        name="toy",
        title="Toy",
        description="A ball.",
        kind="MR",
        modalities=(Modality(name="t1", title="T1"),),
        axes=axes,
        grid_shape=(64, 64, 64),
        spacing_mm=(1.0, 1.0, 1.0),
        scan_shape=None,
        placement="centre",
        classes=tuple(
            SegmentClass(name=f"part{index}", title=f"Part {index}", label=index + 2, color=(200, 0, 0))
            for index in range(class_count)
        ),
        latent_grid=(2, 2, 2),
    )


def ball_in_world(points: np.ndarray) -> np.ndarray:
    return RADIUS - np.linalg.norm(points - CENTRE, axis=1)


def two_parts_in_world(points: np.ndarray) -> np.ndarray:
    """Background, and the halves of the ball to the left and to the right of its centre."""
    inside = ball_in_world(points)
    side = points[:, 0] - CENTRE[0]
    return np.stack([np.zeros(len(points)), inside + side, inside - side], axis=1)


class WorldField:
    """A field that answers by a formula of the world position."""

    device = torch.device("cpu")
    bytes_per_location = 64

    def __init__(self, formula: Formula, grid_affine: np.ndarray) -> None:
        self.formula, self.grid_affine = formula, grid_affine
        self.class_count = np.atleast_2d(formula(np.zeros((1, 3))).T).T.shape[1]
        self.asked = 0
        self.failure: Exception | None = None

    def query(self, locations: Tensor) -> Tensor:
        if self.failure is not None:
            raise self.failure
        self.asked += len(locations)
        points = voxel_to_world(self.grid_affine, locations.numpy().astype(np.float64))
        logits = self.formula(points).reshape(len(points), self.class_count)
        return torch.as_tensor(logits, dtype=torch.float32)

    def prior(self, locations: Tensor) -> Tensor | None:
        return None


@dataclass
class FakeEncoder:
    """Stands in for weights and network; counts the encodings."""

    formula: Formula = ball_in_world
    task: Task = field(default_factory=a_task)
    fields: list[WorldField] = field(default_factory=list)

    def __call__(self, request: SegmentRequest, earlier: NetworkInUse | None) -> Generator[Event, None, EncodedScan]:
        yield Progress(stage="encoding")
        prepared = prepare(self.task, request.volume)
        self.fields.append(WorldField(self.formula, prepared.grid_affine))
        return EncodedScan(
            request=request,
            prepared=prepared,
            field=self.fields[-1],
            card=ModelCard(name="toy-weights", title="Toy", task=self.task, variant="c", network_config={}),
            sha256="0" * 64,
            device=torch.device("cpu"),
        )


def make_volume(
    shape: tuple[int, int, int], axes: tuple[int, int, int], signs: tuple[int, int, int], spacing_mm: float = 1.0
) -> Volume:
    """A scan around the ball whose voxel axes are the given world axes, in that order and direction."""
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for axis in range(3):
        affine[axes[axis], axis] = signs[axis] * spacing_mm
    affine[:3, 3] = CENTRE + np.array([0.3, -1.7, 2.2]) - affine[:3, :3] @ (np.array(shape) - 1) / 2
    data = np.random.default_rng(0).normal(100, 20, (1, *shape)).astype(np.float32)
    return Volume(data=data, affine=affine, channel_names=("t1",), affine_codes=(1, 1))


def make_request(volume: Volume, **options: object) -> SegmentRequest:
    return SegmentRequest(volume=volume, task="toy", device="cpu", **options)


def run(steps):
    events = []
    while True:
        try:
            events.append(next(steps))
        except StopIteration as stop:
            return events, stop.value


def is_in_ball(snapshot_or_result: object) -> np.ndarray:
    """Whether each sample's world position lies in the ball, in the shape of the labels."""
    labels = snapshot_or_result.labels
    indices = np.stack(np.meshgrid(*[np.arange(size) for size in labels.shape], indexing="ij"), axis=-1)
    points = voxel_to_world(snapshot_or_result.affine, indices.reshape(-1, 3))
    # float32 locations in a grid of 64 are exact to a few micrometres; nothing is that near in these scans.
    return (ball_in_world(points) > 0).reshape(labels.shape)


ORIENTATIONS = [
    (axes, signs)
    for axes, signs in zip(
        [*itertools.permutations(range(3)), (0, 1, 2), (2, 0, 1)],
        [(1, 1, 1), (-1, 1, -1), (-1, -1, 1), (1, -1, -1), (-1, -1, -1), (1, 1, -1), (-1, -1, 1), (1, -1, 1)],
        strict=True,
    )
]


@pytest.fixture
def a_volume() -> Volume:
    return make_volume((41, 38, 35), (0, 1, 2), (-1, -1, 1))


@pytest.fixture(params=ORIENTATIONS, ids=str)
def a_turned_volume(request: pytest.FixtureRequest) -> Volume:
    axes, signs = request.param
    return make_volume((41, 38, 35), axes, signs)


@pytest.fixture
def an_encoder() -> FakeEncoder:
    return FakeEncoder()


@pytest.fixture
def a_session(an_encoder: FakeEncoder) -> SegmentationSession:
    return SegmentationSession(encode=an_encoder)


@pytest.fixture
def toy() -> SimpleNamespace:
    return SimpleNamespace(
        run=run,
        request=make_request,
        volume=make_volume,
        encoder=FakeEncoder,
        task=a_task,
        two_parts=two_parts_in_world,
        is_in_ball=is_in_ball,
        snapshots=lambda events: [event for event in events if isinstance(event, Snapshot)],
        centre=CENTRE,
        radius=RADIUS,
    )
