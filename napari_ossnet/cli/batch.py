"""``ossnet segment --batch IN OUT``: a cohort, one case after the other, restartable, shared among processes.

Every case leaves ``OUT/<case>.nii.gz`` and, written after it, ``OUT/<case>.json``; a case with both is finished and is
skipped when the command is run again. A case that fails leaves ``OUT/<case>.error.json`` and doesn't stop the others.
Under torchrun each process takes the cases of its rank; ``OUT/results.csv`` is put together from the files of all.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

from napari_ossnet.cli.case import Network, RunOptions, run_case
from napari_ossnet.cli.reporters import Reporter
from napari_ossnet.cli.results import ResultFiles, write_report, write_results
from napari_ossnet.engine.cohort import ERROR_SUFFIX, BatchCase, find_cases, write_table
from napari_ossnet.engine.errors import EngineError, InputError
from napari_ossnet.engine.files.atomic import atomic_path
from napari_ossnet.engine.session import SegmentationSession


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What is done with a cohort, and where its results go."""

    session: SegmentationSession
    network: Network
    #: Holds a folder a case, or a file a case.
    source: Path
    #: Gets masks, reports and the table.
    target: Path
    options: RunOptions
    reporter: Reporter

    def run(self) -> int:
        """Segments the cases that this process is to do, and returns 1 where some of them failed.

        Raises:
            InputError: There is no case in the folder.
            OutputError: The target can't be written.
        """
        if self.target.resolve() == self.source.resolve():
            raise InputError(f"--batch needs two folders, got {self.source} twice; masks would become cases.")
        rank, count = _rank()
        mine = find_cases(self.network.task, self.source)[rank::count]
        options = replace(self.options, device=_device_of_rank(self.options.device))
        failed = 0
        for position, case in enumerate(mine, start=1):
            place = f"[{position}/{len(mine)}] {case.name}"
            if self._is_finished(case.name):
                self.reporter.fact("skipped", f"{place}: finished before", case=case.name)
                continue
            self.reporter.fact("case", place, case=case.name, rank=rank)
            failed += not self._run_case(case, options)
            write_table(self.target)
        write_table(self.target)
        table, done = self.target / "results.csv", len(mine) - failed
        text = f"{done} of {len(mine)} cases are done, {failed} failed; table: {table}"
        self.reporter.fact("batch", text, done=done, failed=failed, table=str(table))
        return int(failed > 0)

    def _run_case(self, case: BatchCase, options: RunOptions) -> bool:
        """Whether the case went well; if not, its sentence is kept beside where its mask would be."""
        failure = self.target / (case.name + ERROR_SUFFIX)
        try:
            result = run_case(self.session, self.network, case.images, options, self.reporter)
        except EngineError as error:
            self.reporter.fact("failed", f"{case.name} failed: {error}", case=case.name, error=str(error))
            with atomic_path(failure) as temporary:
                temporary.write_text(json.dumps({"error": str(error)}) + "\n", encoding="utf-8")
            return False
        write_results(result, ResultFiles(mask=self._mask(case.name)), self.session, self.reporter)
        # The report comes last: it is what marks the case as finished.
        write_report(self._report(case.name), result)
        failure.unlink(missing_ok=True)
        return True

    def _is_finished(self, name: str) -> bool:
        return self._mask(name).is_file() and self._report(name).is_file()

    def _mask(self, name: str) -> Path:
        return self.target / f"{name}.nii.gz"

    def _report(self, name: str) -> Path:
        return self.target / f"{name}.json"


def _rank() -> tuple[int, int]:
    """This process's rank and the number of processes, as torchrun (or SLURM's srun) sets them."""
    for rank, count in (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS")):
        if rank in os.environ and count in os.environ:
            return int(os.environ[rank]), int(os.environ[count])
    return 0, 1


def _device_of_rank(device: str) -> str:
    """Several processes on one machine share its GPUs out among them."""
    local = os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID"))
    if local is None or device not in ("auto", "cuda"):
        return device
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return f"cuda:{int(local) % gpus}" if gpus else device
