"""Owns the batch: every case of a folder segmented as the command line does it, with the same files left behind."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

from napari_ossnet.engine.case_files import CaseFiles, Making
from napari_ossnet.engine.catalogue import find_weights
from napari_ossnet.engine.checksums import sha256_of
from napari_ossnet.engine.cohort import BatchCase, cases_of_batch, folders_left_out, write_table
from napari_ossnet.engine.device import parse_memory
from napari_ossnet.engine.errors import EngineError
from napari_ossnet.engine.events import Progress
from napari_ossnet.engine.files.atomic import atomic_path
from napari_ossnet.engine.scans.assignment import assign_images, load_scan
from napari_ossnet.engine.session import DEFAULT_SCHEDULE, SegmentationSession, SegmentRequest
from napari_ossnet.engine.task_definition import Task
from napari_ossnet.engine.volume import write_mask
from napari_ossnet.widget.jobs import progress_only
from napari_ossnet.widget.state import BatchRow, Settings
from napari_ossnet.widget.torch_loading import import_torch


def batch_steps(
    session: SegmentationSession, task: Task, weights: str, settings: Settings
) -> Generator[Any, None, str]:
    """Segments the cases one after the other; yields progress and a row whenever a case begins or ends.

    Cases that were made before as they would be made now are skipped; a case that fails leaves its sentence and does
    not stop the others.

    Returns:
        What to tell the user.

    Raises:
        InputError: The folders can't be used, or hold no case.
        WeightsError: The weights are not on this machine any more.
    """
    source, target = Path(settings.batch_input).expanduser(), Path(settings.batch_output).expanduser()
    cases = cases_of_batch(task, source, target)
    yield Progress(stage="preparing")
    import_torch()
    making = Making(
        weights=sha256_of(find_weights(task.name, weights=weights)),
        threshold=settings.threshold,
        schedule=DEFAULT_SCHEDULE,
        step=settings.step,
        mirrored=settings.mirrored,
    )
    failed = 0
    for case in cases:
        files = CaseFiles(target, case.name)
        if files.making() == making:
            files.close()
            yield BatchRow(case=case.name, outcome="done before", volume_ml=files.volume_ml())
            continue
        yield BatchRow(case=case.name, outcome="running …")
        row = yield from _case_steps(session, task, weights, settings, case, files)
        failed += row.volume_ml is None
        yield row
        write_table(target)
    write_table(target)
    left_out = folders_left_out(source, cases)
    note = f"; no image of a case in {', '.join(left_out)}" if left_out else ""
    return f"{len(cases) - failed} of {len(cases)} cases done, {failed} failed; table: {target / 'results.csv'}{note}"


def _case_steps(
    session: SegmentationSession, task: Task, weights: str, settings: Settings, case: BatchCase, files: CaseFiles
) -> Generator[Any, None, BatchRow]:
    try:
        assignment = assign_images(task, case.images)
        yield Progress(stage="preparing")
        # The first message says which file is which, as the report does.
        volume, (_, *messages) = load_scan(task, assignment)
        request = SegmentRequest(
            volume=volume,
            task=task.name,
            weights=weights,
            device=settings.device,
            memory_bytes=parse_memory(settings.memory) if settings.memory else None,
            step=settings.step,
            threshold=settings.threshold,
            mirrored=settings.mirrored,
            messages=tuple(message.text for message in messages),
        )
        result = yield from progress_only(session.segment(request))
    except EngineError as error:
        files.fail(error)
        return BatchRow(case=case.name, outcome=f"failed: {error}")
    files.reopen()
    write_mask(files.mask, result.labels, result)
    images = {name: str(path) for name, path in assignment.items()}
    with atomic_path(files.report) as temporary:
        temporary.write_text(json.dumps({**result.report(), "images": images}, indent=2) + "\n", encoding="utf-8")
    files.close()
    outcome = f"done in {result.timings.elapsed_s:.0f} s"
    return BatchRow(case=case.name, outcome=outcome, volume_ml=result.whole.volume_ml)
