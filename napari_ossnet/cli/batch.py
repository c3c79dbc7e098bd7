"""``ossnet segment --batch IN OUT``: a cohort, one case after the other, restartable, shared among processes.

Every case leaves ``OUT/<case>.nii.gz`` and, written after it, ``OUT/<case>.json``; a case with both is finished and is
skipped when the command is run again, unless its report says that it was made with other weights or options. A case
that fails leaves ``OUT/<case>.error.json`` and doesn't stop the others. Under torchrun or srun each process takes the
cases of its rank; ``OUT/results.csv`` is put together from the files of all.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from napari_ossnet.cli.case import Network, RunOptions, run_case
from napari_ossnet.cli.reporters import Reporter
from napari_ossnet.cli.results import ResultFiles, write_report, write_results
from napari_ossnet.engine.case_files import CaseFiles, Making
from napari_ossnet.engine.checksums import sha256_of
from napari_ossnet.engine.cohort import BatchCase, cases_of_batch, folders_left_out, write_table
from napari_ossnet.engine.errors import EngineError
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
            InputError: The folders can't be used, or hold no case.
            OutputError: The target can't be written.
        """
        mine, rank = self._share()
        # A target that can't be written is found out before the work.
        write_table(self.target)
        making = self._making()
        options = replace(self.options, device=_device_of_rank(self.options.device))
        failed = 0
        for position, case in enumerate(mine, start=1):
            place = f"[{position}/{len(mine)}] {case.name}"
            if self._is_finished(CaseFiles(self.target, case.name), place, making):
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

    def _share(self) -> tuple[list[BatchCase], int]:
        """The cases that this process is to do, and its rank."""
        cases = cases_of_batch(self.network.task, self.source, self.target)
        left_out = folders_left_out(self.source, cases)
        if left_out:
            self.reporter.fact("left-out", f"No image of a case in: {', '.join(left_out)}", folders=left_out)
        rank, count = _rank()
        mine = cases[rank::count]
        if count > 1:
            text = f"Rank {rank} of {count}: {len(mine)} of {len(cases)} cases"
            self.reporter.fact("share", text, rank=rank, count=count, mine=len(mine), cases=len(cases))
        return mine, rank

    def _making(self) -> Making:
        options = self.options
        return Making(
            weights=sha256_of(self.network.weights),
            threshold=options.threshold,
            schedule=options.schedule,
            step=options.step,
            mirrored=options.mirrored,
        )

    def _run_case(self, case: BatchCase, options: RunOptions) -> bool:
        """Whether the case went well; if not, its sentence is kept beside where its mask would be."""
        files = CaseFiles(self.target, case.name)
        try:
            result = run_case(self.session, self.network, case.images, options, self.reporter)
        except EngineError as error:
            self.reporter.fact("failed", f"{case.name} failed: {error}", case=case.name, error=str(error))
            files.fail(error)
            return False
        files.reopen()
        write_results(result, ResultFiles(mask=files.mask), self.session, self.reporter)
        write_report(files.report, result)
        files.close()
        return True

    def _is_finished(self, files: CaseFiles, place: str, making: Making) -> bool:
        """Whether the case was made before, as it would be made now; says so where it was made otherwise."""
        before = files.making()
        if before is None:
            return False
        differences = before.differences(making)
        if differences:
            self.reporter.fact(
                "again", f"{place}: made before with {differences}, so it is done again", case=files.name
            )
        else:
            # Of a try with other options in between.
            files.close()
        return not differences


def _rank() -> tuple[int, int]:
    """This process's rank and the number of processes, as torchrun or SLURM's srun sets them.

    A script under sbatch has ``SLURM_PROCID`` and ``SLURM_NTASKS`` too, but runs once; only a job step has
    ``SLURM_STEP_NUM_TASKS`` (https://slurm.schedmd.com/srun.html, output environment variables).
    """
    for rank, count in (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS")):
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
