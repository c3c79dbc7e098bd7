"""Asks a field for lattice points in chunks: progress between them, fewer points a chunk where memory runs out."""

from __future__ import annotations

import time
from collections.abc import Generator

import torch
from torch import Tensor

from napari_ossnet.engine.device import release_memory
from napari_ossnet.engine.errors import EngineError
from napari_ossnet.engine.events import Message, Progress
from napari_ossnet.engine.fields.protocol import OccupancyField
from napari_ossnet.engine.geometry import Lattice
from napari_ossnet.engine.refining.known_points import KnownPoints
from napari_ossnet.engine.tensors import Logits
from napari_ossnet.engine.torch_errors import is_out_of_memory, out_of_memory

#: A chunk on the CPU aims at this long, so that progress and cancelling come at least every 0.2 s.
CHUNK_SECONDS = 0.1
#: The first and the smallest chunk on the CPU: 0.12 s at the 230 microseconds of the published form. Smaller ones
#: would only pay a call's fixed costs more often, and the slow first call would be taken for the rate.
CPU_CHUNK = 512
#: Where this many locations don't fit, none will.
SMALLEST_CHUNK = 64


class PointEvaluator:
    """Evaluates lattice points, looks up the known ones, and counts what it asked for.

    Attributes:
        evaluated: Locations that the field was asked for so far.
        later: How many points the steps after the present one are expected to ask for; the traversal sets it.
        expected: The same for the present step, until it is known.
    """

    def __init__(self, field: OccupancyField, lattice: Lattice, *, chunk_size: int, known: KnownPoints | None) -> None:
        self.field = field
        #: Where points and logits are kept: the field's device, but the CPU for an Apple GPU, which lacks some of the
        #: integer operations that the octree is made of.
        self.device = torch.device("cpu") if field.device.type == "mps" else field.device
        self.lattice = lattice
        self.known = known
        self.evaluated = 0
        self.later = 0
        self.expected = 0
        self.started_at = time.perf_counter()
        self._chunk_limit = max(SMALLEST_CHUNK, chunk_size)
        if known is not None:
            known.merge()
        self._cpu_chunk = CPU_CHUNK

    @property
    def elapsed_s(self) -> float:
        """Seconds since this evaluator was made."""
        return time.perf_counter() - self.started_at

    def evaluate(self, points: Tensor, step: float) -> Generator[Progress | Message, None, Logits]:
        """The logits (n, classes) of lattice points (n, 3), int64, on ``device``, as the points are.

        Raises:
            OutOfMemoryError: Not even the smallest chunk fits.
            EngineError: The field returned values that are not numbers.
        """
        _, j, k = self.lattice.shape
        keys = (points[:, 0] * j + points[:, 1]) * k + points[:, 2]
        logits = torch.empty((len(points), self.field.class_count), dtype=torch.float32, device=points.device)
        is_missing = torch.ones(len(points), dtype=torch.bool, device=points.device)
        if self.known is not None:
            is_known, found = self.known.look_up(keys)
            if found is not None:
                logits[is_known] = found
                is_missing = ~is_known
        logits[is_missing] = yield from self._ask(points[is_missing], keys[is_missing], step)
        return logits

    def _ask(self, points: Tensor, keys: Tensor, step: float) -> Generator[Progress | Message, None, Logits]:
        answers = torch.empty((len(points), self.field.class_count), dtype=torch.float32, device=points.device)
        self.expected = 0
        start = 0
        while start < len(points):
            stop = min(start + self._chunk_size(), len(points))
            began_at = time.perf_counter()
            if self._query_into(answers, points, start, stop):
                self._adapt(stop - start, time.perf_counter() - began_at)
                self._refuse_non_numbers(answers[start:stop])
                if self.known is not None:
                    # Chunk by chunk: a run that is cancelled in the middle of a step leaves what it has found.
                    self.known.add(keys[start:stop], answers[start:stop])
                self.evaluated += stop - start
                start = stop
                yield self.progress(step, len(points) - start)
            else:
                yield self._halve(stop - start)
        return answers

    def _query_into(self, answers: Logits, points: Tensor, start: int, stop: int) -> bool:
        """Writes one chunk's logits into ``answers``; False where memory ran out."""
        try:
            answers[start:stop] = self.field.query(self.lattice.locations(points[start:stop].to(self.field.device)))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return False
        return True

    def _halve(self, failed: int) -> Message:
        # After the except block: until then the exception's frames hold the chunk's tensors.
        release_memory()
        # A small rest that fails among large chunks is tried once more: what a field keeps may have taken the room.
        if self._chunk_limit <= SMALLEST_CHUNK:
            raise out_of_memory(f" on {self.field.device} even for {failed} locations at a time")
        self._chunk_limit = max(SMALLEST_CHUNK, failed // 2)
        text = f"Memory ran out on {self.field.device}; going on with {self._chunk_limit} locations at a time."
        return Message(text=text, level="warning")

    def _chunk_size(self) -> int:
        return min(self._cpu_chunk, self._chunk_limit) if self.field.device.type == "cpu" else self._chunk_limit

    def _adapt(self, count: int, took_s: float) -> None:
        """The next chunk on the CPU by the time that a full one took, at most twice as large or half."""
        if count == self._cpu_chunk:
            by_rate = int(count * CHUNK_SECONDS / max(took_s, 1e-6))
            self._cpu_chunk = max(CPU_CHUNK, count // 2, min(by_rate, 2 * count))

    def progress(self, step: float, left: int | None = None) -> Progress:
        """How far the run is.

        Args:
            step: The one under way.
            left: Points that it still asks for; None takes what was expected.
        """
        to_come = (self.expected if left is None else left) + self.later
        # Wall time, not only the field's: what the traversal itself takes is part of what is left.
        rate = self.evaluated / max(self.elapsed_s, 1e-6)
        return Progress(
            stage="refining",
            step=step,
            points_done=self.evaluated,
            points_total=self.evaluated + to_come,
            elapsed_s=self.elapsed_s,
            remaining_s=to_come / rate if self.evaluated else None,
        )

    def _refuse_non_numbers(self, answers: Logits) -> None:
        wrong = len(answers) - int(torch.isfinite(answers).all(dim=1).sum())
        if wrong:
            raise EngineError(
                f"The network gave values that are not numbers at {wrong} of {len(answers)} locations; "
                "the weights may be damaged, or the device's half precision too coarse: try --device cpu."
            )
