"""Owns the choice of task, images and weights: keeps it in step with the viewer's layers and with the catalogue."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_ossnet.engine.catalogue import download, get_entry, import_weights
from napari_ossnet.engine.task_definition import Task
from napari_ossnet.engine.tasks import TASKS
from napari_ossnet.widget.images import (
    Assignment,
    assign,
    image_choices,
    image_problems,
    modality_rows,
    sources_of,
)
from napari_ossnet.widget.job_runner import JobRunner
from napari_ossnet.widget.jobs import ScanFindings, ScanMemory, ScanOrder, call_steps, check_steps
from napari_ossnet.widget.state import ImageChoice, Job, TaskOption
from napari_ossnet.widget.store import Store
from napari_ossnet.widget.torch_loading import torch_problem
from napari_ossnet.widget.weights_choice import (
    choose,
    known_tasks,
    variant_options,
    weights_options,
    weights_problems,
)

if TYPE_CHECKING:
    from napari.viewer import Viewer


class Inputs:
    """What the next run will be made of."""

    def __init__(self, viewer: Viewer, store: Store, jobs: JobRunner, memory: ScanMemory) -> None:
        self._viewer = viewer
        self._store = store
        self._jobs = jobs
        self._memory = memory
        self._tasks: dict[str, Task] = dict(TASKS)
        #: Task name to what was picked by hand, by modality.
        self._picked: dict[str, Assignment] = {}
        self._checked: ScanOrder | None = None

    @property
    def task(self) -> Task:
        """The chosen task."""
        return self._tasks[self._store.settings.task]

    def refresh(self) -> None:
        """Reads the catalogue and the layers anew."""
        self._tasks = known_tasks()
        if self._store.settings.task not in self._tasks:
            self._store.update_settings(task=next(iter(self._tasks)))
        problem = torch_problem()
        self._store.update(
            tasks=tuple(
                TaskOption(name=task.name, title=task.title, description=task.description)
                for task in self._tasks.values()
            ),
            torch_problems=() if problem is None else (problem,),
        )
        self.refresh_weights()
        self.refresh_images()

    def choose_task(self, name: str) -> None:
        """Takes up another task; images and weights follow."""
        if name in self._tasks and name != self._store.settings.task:
            self._store.update_settings(task=name)
            self.refresh_weights()
            self.refresh_images()

    def choose_image(self, modality: str, choice: ImageChoice | None) -> None:
        """Picks an image for a modality, or none."""
        self._picked.setdefault(self.task.name, {})[modality] = choice
        self.refresh_images()

    def choose_variant(self, variant: str) -> None:
        """Takes the best weights of a variant."""
        self._take_weights(None, variant)

    def choose_weights(self, name: str) -> None:
        """Takes weights by their name in the catalogue."""
        self._take_weights(name, None)

    def refresh_images(self) -> None:
        """Fits the form to the layers that there are now, and has the scan looked at."""
        layers = list(self._viewer.layers)
        choices = image_choices(layers)
        assigned = assign(self.task, choices, self._picked.get(self.task.name, {}))
        rows = modality_rows(self.task, assigned, sources_of(assigned, layers))
        problems = image_problems(self.task, rows, has_images=bool(choices))
        self._store.update(images=choices, rows=rows, image_problems=problems)
        self.check_scan()

    def refresh_weights(self) -> None:
        """Fits the form to the catalogue as it is now."""
        self._take_weights(self._store.settings.weights.get(self.task.name), None)

    def order(self) -> ScanOrder | None:
        """The scan that is chosen; None as long as an image is missing."""
        rows = self._store.state.rows
        sources = sources_of({row.name: row.choice for row in rows}, self._viewer.layers)
        if len(sources) != self.task.channels:
            return None
        return ScanOrder(task=self.task, sources=tuple((name, sources[name]) for name in self.task.modality_names))

    def check_scan(self) -> None:
        """Has the chosen scan looked at in the worker, unless that was done or something runs."""
        order = self.order() if not self._store.state.image_problems else None
        if order is None:
            self._checked = None
            self._store.update(scan_problems=(), scan_warnings=())
        elif not order.is_same(self._checked):
            self._store.update(scan_problems=(), scan_warnings=())
            is_started = self._jobs.start(
                Job.CHECK, lambda: check_steps(self._memory, order), on_result=self._on_scan_checked
            )
            self._checked = order if is_started else None

    def download(self) -> None:
        """Downloads the chosen weights."""
        chosen = self._store.state.chosen_weights
        if chosen is not None and chosen.can_download:
            entry = get_entry(chosen.name)
            self._jobs.start(Job.DOWNLOAD, lambda: download(entry), on_result=self._on_weights_arrived)

    def import_file(self, path: str) -> None:
        """Takes a weights file into the catalogue and chooses it."""
        self._jobs.start(
            Job.IMPORT, lambda: call_steps(import_weights, path), on_result=lambda entry: self._on_imported(entry.name)
        )

    def _take_weights(self, wanted: str | None, variant: str | None) -> None:
        options = weights_options(self.task)
        chosen = choose(options, wanted, variant)
        shown_variant = variant or (chosen.variant if chosen else "")
        self._store.update(
            variants=variant_options(self.task),
            variant=shown_variant,
            weights=tuple(option for option in options if option.variant == shown_variant),
            chosen_weights=chosen,
            weights_problems=weights_problems(self.task, chosen, shown_variant),
        )
        if chosen is not None and (wanted or variant):
            self._store.update_settings(weights={**self._store.settings.weights, self.task.name: chosen.name})

    def _on_scan_checked(self, findings: ScanFindings) -> None:
        self._store.update(scan_problems=findings.problems, scan_warnings=findings.warnings)

    def _on_weights_arrived(self, path: Path) -> None:
        self._store.update(status=f"Downloaded {path.name}.")
        self.refresh_weights()

    def _on_imported(self, name: str) -> None:
        entry = get_entry(name)
        self._tasks = known_tasks()
        self._store.update_settings(task=entry.task)
        self.refresh()
        self.choose_weights(name)
        self._store.update(status=f"Imported {entry.title}.")
