"""Fields with a formula instead of a network, so that every answer is known."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_ossnet.engine.events import Message, Progress
from napari_ossnet.engine.geometry import Lattice
from napari_ossnet.engine.refining.decision import Decision
from napari_ossnet.engine.refining.lattice_snapshot import LatticeSnapshot


class FormulaField:
    """Logits by a formula of the location; it counts what it is asked for."""

    device = torch.device("cpu")
    bytes_per_location = 64

    def __init__(
        self, formula: Callable[[Tensor], Tensor], class_count: int = 1, prior: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        self.formula = formula
        self.class_count = class_count
        self.asked = 0
        self.chunks: list[int] = []
        self._prior = prior

    def query(self, locations: Tensor) -> Tensor:
        self.asked += len(locations)
        self.chunks.append(len(locations))
        return self.formula(locations).reshape(len(locations), self.class_count)

    def prior(self, locations: Tensor) -> Tensor | None:
        return None if self._prior is None else self._prior(locations)


def sphere(centre: tuple[float, float, float], radius: float, slope: float = 1.0) -> Callable[[Tensor], Tensor]:
    middle = torch.tensor(centre)
    return lambda locations: slope * (radius - (locations - middle).norm(dim=1))


def torus(centre: tuple[float, float, float], ring: float, tube: float) -> Callable[[Tensor], Tensor]:
    middle = torch.tensor(centre)

    def formula(locations: Tensor) -> Tensor:
        x, y, z = (locations - middle).unbind(1)
        return tube - torch.hypot(torch.hypot(x, y) - ring, z)

    return formula


def ellipsoid(centre: tuple[float, float, float], axes: tuple[float, float, float]) -> Callable[[Tensor], Tensor]:
    middle, half = torch.tensor(centre), torch.tensor(axes)
    return lambda locations: 4 * (1 - ((locations - middle) / half).norm(dim=1))


def sheet(normal: tuple[float, float, float], offset: float, thickness: float) -> Callable[[Tensor], Tensor]:
    direction = torch.tensor(normal) / torch.tensor(normal).norm()
    return lambda locations: thickness / 2 - (locations @ direction - offset).abs()


def two_balls(first: tuple[float, float, float], second: tuple[float, float, float], radius: float):
    """Three classes: background, a ball, and another one that touches it."""

    def formula(locations: Tensor) -> Tensor:
        a, b = sphere(first, radius)(locations), sphere(second, radius)(locations)
        return torch.stack([torch.zeros_like(a), a, b], dim=1)

    return formula


def plain_lattice(*shape: int) -> Lattice:
    return Lattice(shape=(shape[0], shape[1], shape[2]), to_grid=np.eye(4), affine=np.eye(4))


def exhaustive(field: FormulaField, lattice: Lattice, threshold: float = 0.5) -> np.ndarray:
    """The label of every lattice point, asked one by one from a formula."""
    indices = torch.cartesian_prod(*[torch.arange(size) for size in lattice.shape])
    logits = field.formula(lattice.locations(indices)).reshape(len(indices), field.class_count)
    return Decision(threshold).labels(logits).reshape(lattice.shape).numpy()


def run(steps):
    """All events of a generator, and its result."""
    events = []
    while True:
        try:
            events.append(next(steps))
        except StopIteration as stop:
            return events, stop.value


def snapshots_of(events: list[Progress | Message | LatticeSnapshot]) -> list[LatticeSnapshot]:
    return [event for event in events if isinstance(event, LatticeSnapshot)]


SHAPES = {
    "sphere": FormulaField(sphere((33.3, 28.1, 25.7), 17.4)),
    "small sphere": FormulaField(sphere((30.2, 31.1, 25.7), 4.1)),
    "torus": FormulaField(torus((35.0, 30.2, 26.4), 18.3, 5.2)),
    "ellipsoid": FormulaField(ellipsoid((33.0, 31.0, 26.0), (25.0, 9.0, 14.0))),
    "sheet": FormulaField(sheet((1.0, 2.0, 3.0), 45.0, 2.3)),
    "plane along the axes": FormulaField(sheet((0.0, 0.0, 1.0), 24.4, 1.1)),
    "cut by the border": FormulaField(sphere((2.0, 58.0, 50.0), 15.0)),
    "everything": FormulaField(lambda locations: torch.ones(len(locations))),
    "nothing": FormulaField(lambda locations: -torch.ones(len(locations))),
    "two classes": FormulaField(two_balls((25.0, 30.0, 26.0), (40.0, 30.0, 26.0), 11.5), class_count=3),
}


@pytest.fixture(params=list(SHAPES))
def a_shape(request: pytest.FixtureRequest) -> FormulaField:
    """An analytic field that fits into 70 x 61 x 53 points."""
    return SHAPES[request.param]


@pytest.fixture
def a_lattice() -> Lattice:
    return plain_lattice(70, 61, 53)


@pytest.fixture
def formulas() -> SimpleNamespace:
    """What tests build fields and lattices from, and the oracle."""
    return SimpleNamespace(
        field=FormulaField,
        sphere=sphere,
        torus=torus,
        ellipsoid=ellipsoid,
        sheet=sheet,
        two_balls=two_balls,
        lattice=plain_lattice,
        exhaustive=exhaustive,
        run=run,
        snapshots_of=snapshots_of,
    )
