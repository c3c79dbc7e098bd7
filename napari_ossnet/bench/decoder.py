"""The decoder's throughput beside the machine's rate of matrix products, and beside the plain decoder."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import Any

import torch

from napari_ossnet.bench.networks import Contender
from napari_ossnet.bench.published_form import published_field
from napari_ossnet.bench.timing import drain, interleaved, pairwise_ratio
from napari_ossnet.engine.checkpoints import load_checkpoint
from napari_ossnet.engine.fields.build import build_field
from napari_ossnet.engine.fields.protocol import OccupancyField
from napari_ossnet.engine.networks.oss_net import OSSNet
from napari_ossnet.engine.tasks import PreparedVolume

#: Multiply-adds a location of OSS-Net C for the tumour task (spec section 6), each two operations.
MULTIPLY_ADDS = 3.2e6
#: Shapes (rows, inner, columns) of the products whose best rate counts as the machine's.
MATRIX_SHAPES = ((2048, 2048, 2048), (4096, 512, 512))


def random_voxels(prepared: PreparedVolume, count: int) -> torch.Tensor:
    """Voxel centres (n, 3) float32, grid frame, drawn evenly from the box that the scan fills."""
    generator = torch.Generator().manual_seed(1)
    start, stop = torch.tensor(prepared.box_start), torch.tensor(prepared.box_stop)
    share = torch.rand(count, 3, generator=generator)
    return (start + (share * (stop - start)).floor()).float()


def measure_decoder(contender: Contender, prepared: PreparedVolume, device: str, count: int, repeats: int) -> Any:
    """Figures of an OSS-Net A to D, as JSON values."""
    target = torch.device(device)
    network = load_checkpoint(contender.path).network
    assert isinstance(network, OSSNet)
    ours = drain(build_field(network, prepared, device=target))
    plain = published_field(network, prepared, target)
    locations = random_voxels(prepared, count).to(target)
    fewer = locations[: max(1, count // 4)]
    difference = float((ours.query(fewer) - _in_chunks(plain, fewer, 512)).abs().max())
    works: dict[str, Callable[[], object]] = {
        "ours": lambda: _finished(_in_chunks(ours, locations, 4096)),
        "published": lambda: _finished(_in_chunks(plain, fewer, 512)),
        **{_name(shape): _product(shape, target) for shape in MATRIX_SHAPES},
    }
    rounds = interleaved(works, repeats)
    own = [taken / count for taken in rounds.wall["ours"]]
    published = [taken / len(fewer) for taken in rounds.wall["published"]]
    own_cpu = [taken / count for taken in rounds.cpu["ours"]]
    published_cpu = [taken / len(fewer) for taken in rounds.cpu["published"]]
    return {
        "matmul_fraction": matmul_fraction(own, rounds.wall),
        "matmul_fraction_cpu": matmul_fraction(own_cpu, rounds.cpu),
        "matmul_gflops": median(_rates(rounds.wall)) / 1e9,
        "location_us": median(own) * 1e6,
        "published_location_us": median(published) * 1e6,
        "location_cpu_us": median(own_cpu) * 1e6,
        "published_location_cpu_us": median(published_cpu) * 1e6,
        "ratio": pairwise_ratio(published, own),
        "cpu_ratio": pairwise_ratio(published_cpu, own_cpu),
        "largest_logit_difference": difference,
        "weights": contender.name,
        "is_trained": contender.is_trained,
        "repeats": repeats,
    }


def matmul_fraction(location_s: list[float], seconds: dict[str, list[float]]) -> float:
    """The decoder's operations a second as a share of the best product's in the same round; the median of the rounds.

    Args:
        location_s: Seconds a location, round by round.
        seconds: Of ``interleaved``; the products are among them.
    """
    rates = _rates(seconds)
    return median(2 * MULTIPLY_ADDS / taken / rate for taken, rate in zip(location_s, rates, strict=True))


def _rates(seconds: dict[str, list[float]]) -> list[float]:
    """Operations a second of the best product of each round."""
    operations = {_name((i, j, k)): 2.0 * i * j * k for i, j, k in MATRIX_SHAPES}
    by_shape = [[count / taken for taken in seconds[name]] for name, count in operations.items()]
    return [max(rates) for rates in zip(*by_shape, strict=True)]


def location_seconds(field: OccupancyField, prepared: PreparedVolume, count: int, repeats: int) -> float:
    """Median seconds for a location of any field."""
    locations = random_voxels(prepared, count).to(field.device)
    rounds = interleaved({"field": lambda: _finished(_in_chunks(field, locations, 4096))}, repeats)
    return median(rounds.wall["field"]) / count


def _in_chunks(field: OccupancyField, locations: torch.Tensor, size: int) -> torch.Tensor:
    return torch.cat([field.query(some) for some in torch.split(locations, size)])


def _finished(answer: torch.Tensor) -> None:
    """Waits for a GPU."""
    if answer.device.type == "cuda":
        torch.cuda.synchronize(answer.device)


def _name(shape: tuple[int, int, int]) -> str:
    return "product " + " x ".join(map(str, shape))


def _product(shape: tuple[int, int, int], device: torch.device) -> Callable[[], object]:
    i, j, k = shape
    left, right = torch.randn(i, j, device=device), torch.randn(j, k, device=device)
    result = torch.empty(i, k, device=device)
    return lambda: _finished(torch.mm(left, right, out=result))
