"""Training throughput of `fit`'s step beside a plain reimplementation of the published loop.

The published loop slices every location's window out of the volume in worker processes and ships the windows to the
training process, where the network runs in its published form (windows convolved one by one, Pade units written
out). Both sides train OSSNet C of the same task, batch and locations with the same optimiser, each in a process of its
own, so that peak memories don't mix.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from napari_ossnet.engine.networks.oss_net import use_published_form
from napari_ossnet.engine.networks.variants import build_network
from napari_ossnet.engine.tasks import Task, get_task
from ossnet_training.config import OptimiserSettings, SamplingSettings
from ossnet_training.forward import training_logits
from ossnet_training.losses import auxiliary_loss, classes_at, occupancy_loss
from ossnet_training.optimisers import build_optimiser
from ossnet_training.sampling import case_generator, draw_locations, uniform_locations

_EDGE = 7
_REACH = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What both sides do."""

    task: str
    locations: int
    batch: int
    steps: int
    workers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Locations a second over the measured steps, and the largest resident memory of process and workers."""

    locations_per_s: float
    peak_bytes: int


def compare_throughput(*, task: str, locations: int, batch: int, steps: int, workers: int) -> Iterator[str]:
    """Lines of a report, each as soon as it is known."""
    load = Load(task=task, locations=locations, batch=batch, steps=steps, workers=workers)
    yield f"OSSNet C, {task}, batch {batch}, {locations} locations a volume, {torch.get_num_threads()} threads"
    published = _measure_apart(published_steps, load)
    yield f"published loop: {published.locations_per_s:,.0f} locations/s, peak {published.peak_bytes / 2**30:.2f} GiB"
    ours = _measure_apart(fit_steps, load)
    yield f"fit:            {ours.locations_per_s:,.0f} locations/s, peak {ours.peak_bytes / 2**30:.2f} GiB"
    ratio = ours.locations_per_s / published.locations_per_s
    yield f"ratio {ratio:.1f}"


def fit_steps(load: Load) -> Iterator[None]:
    """Steps as `fit` does them: windows gathered from the volume where the network is, its fast forms."""
    task, network, optimiser = _start(load.task)
    cases = [_case(task, number) for number in range(load.batch)]
    sampling = SamplingSettings(locations=load.locations)
    for step in range(load.steps + 1):
        grids = torch.stack([image for image, _ in cases])
        generators = [case_generator(0, step, number) for number in range(load.batch)]
        draws = [draw_locations(*case, sampling, g, load.locations) for case, g in zip(cases, generators, strict=True)]
        answer = training_logits(network, grids, draws, [None] * load.batch, sampling.box_voxels)
        classes = torch.stack([classes_at(label, draw.indices) for (_, label), draw in zip(cases, draws, strict=True)])
        labels = torch.stack([label for _, label in cases])
        loss = occupancy_loss(answer.logits, classes) + 0.1 * auxiliary_loss(answer.auxiliary[0][0], labels)
        _step(optimiser, loss)
        yield


def published_steps(load: Load) -> Iterator[None]:
    """Steps as the published loop does them."""
    task, network, optimiser = _start(load.task)
    use_published_form(network)
    dataset = _WindowDataset(task, load)
    loader = DataLoader(dataset, batch_size=load.batch, num_workers=load.workers)
    for volume, coordinates, windows, classes, label in loader:
        logits, encoding = network(functional.avg_pool3d(volume, 2), coordinates, windows)
        loss = occupancy_loss(logits, classes) + 0.1 * auxiliary_loss(encoding.auxiliary, label)
        _step(optimiser, loss)
        yield


class _WindowDataset(Dataset[tuple[Tensor, ...]]):
    """One volume an item, its windows sliced location by location."""

    def __init__(self, task: Task, load: Load) -> None:
        self.load = load
        self.cases = [_case(task, number) for number in range(load.batch)]

    def __len__(self) -> int:
        return self.load.batch * (self.load.steps + 1)

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        step, number = divmod(index, self.load.batch)
        image, label = self.cases[number]
        coordinates = uniform_locations(label.shape, self.load.locations, case_generator(0, step, number))
        padded = functional.pad(image, (_REACH,) * 6)
        windows = [padded[:, i : i + _EDGE, j : j + _EDGE, k : k + _EDGE] for i, j, k in coordinates.tolist()]
        return image, coordinates.float(), torch.stack(windows), classes_at(label, coordinates), label


def _start(task_name: str) -> tuple[Task, nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    task = get_task(task_name)
    network = build_network("c", task)
    return task, network, build_optimiser(network, OptimiserSettings())


def _case(task: Task, number: int) -> tuple[Tensor, Tensor]:
    """A volume of noise and a box for a label: the content changes no timing."""
    generator = case_generator(1, 0, number)
    label = torch.zeros(task.grid_shape, dtype=torch.uint8)
    i, j, k = (size // 3 for size in task.grid_shape)
    label[i : 2 * i, j : 2 * j, k : 2 * k] = 1
    return torch.randn((task.channels, *task.grid_shape), generator=generator), label


def _step(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def _measure_apart(steps: Callable[[Load], Iterator[None]], load: Load) -> Measured:
    """Measure in a fresh process, whose peak memory is nobody else's."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(steps, load, torch.get_num_threads(), sender))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    finally:
        process.join()


def _measure(steps: Callable[[Load], Iterator[None]], load: Load, threads: int, sender: Any) -> None:
    torch.set_num_threads(threads)
    passed = steps(load)
    next(passed)  # the first step starts workers and sets up kernels
    started_at = time.perf_counter()
    for _ in range(load.steps):
        next(passed)
    elapsed_s = time.perf_counter() - started_at
    passed.close()  # type: ignore[attr-defined]
    sender.send(
        Measured(
            locations_per_s=load.steps * load.batch * load.locations / elapsed_s,
            peak_bytes=_peak_bytes(resource.RUSAGE_SELF) + _peak_bytes(resource.RUSAGE_CHILDREN),
        )
    )


def _peak_bytes(who: int) -> int:
    # Kilobytes on Linux, bytes on macOS (getrusage(2)).
    return resource.getrusage(who).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
