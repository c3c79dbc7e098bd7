"""The part of the form where a task and a volume for each of its modalities are chosen."""

from __future__ import annotations

from functools import partial
from typing import Any

import slicer
from slicer.i18n import tr as _

from OSSNetLib.engine_import import import_engine, known_tasks
from OSSNetLib.signals import Signal

#: Selectors in the form: no task of ours has more modalities.
SELECTORS = 4


class ImagesSection:
    """Task, volume selectors, and what is wrong with the choice.

    Signals:
        chosen: The index of a selector and its volume node, or None; before anything follows from it.
        changed: The task or an image is another one.

    Args:
        ui: The form's widgets.
    """

    def __init__(self, ui: Any) -> None:
        self.chosen, self.changed = Signal(), Signal()
        self._ui = ui
        self._tasks: list[Any] = []
        self._is_filling = False
        ui.taskComboBox.connect("currentIndexChanged(int)", self._on_task_changed)
        for index in range(SELECTORS):
            self._selector(index).connect("currentNodeChanged(vtkMRMLNode*)", partial(self._on_image_changed, index))
        ui.assignButton.connect("clicked(bool)", self._on_assign)

    def fill(self) -> None:
        """The engine's tasks, and those of weights on this machine; needs the engine's packages."""
        chosen = self.task.name if self.task is not None else ""
        self._tasks = [task for task in known_tasks().values() if task.channels <= SELECTORS]
        self._is_filling = True
        self._ui.taskComboBox.clear()
        for task in self._tasks:
            self._ui.taskComboBox.addItem(task.title)
        self._is_filling = False
        self.choose_task(chosen)
        self._on_task_changed()

    @property
    def task(self) -> Any:
        """The chosen task; None before ``fill``."""
        index = self._ui.taskComboBox.currentIndex
        return self._tasks[index] if 0 <= index < len(self._tasks) else None

    def choose_task(self, name: str) -> None:
        """Show the task of this name, if there is one."""
        names = [task.name for task in self._tasks]
        if name in names:
            self._ui.taskComboBox.setCurrentIndex(names.index(name))

    def images(self) -> dict[str, Any]:
        """Volume node by modality, of those that are chosen."""
        if self.task is None:
            return {}
        nodes = ((part.name, self._selector(index).currentNode()) for index, part in enumerate(self.task.modalities))
        return {name: node for name, node in nodes if node is not None}

    def problems(self) -> list[str]:
        """What keeps the scan from being segmented, a sentence each."""
        if self.task is None:
            return [_("The engine's packages are not installed yet; press Install.")]
        chosen = self.images()
        missing = [part.title for part in self.task.modalities if part.name not in chosen]
        problems = [_("Choose a volume for {modalities}.").format(modalities=", ".join(missing))] if missing else []
        ids = [node.GetID() for node in chosen.values()]
        if len(set(ids)) < len(ids):
            problems.append(_("Two modalities have the same volume; choose another one for each."))
        empty = [node.GetName() for node in chosen.values() if node.GetImageData() is None]
        problems += [_("{name} holds no image; choose another volume.").format(name=name) for name in empty]
        return problems

    def note(self) -> str:
        """Shape and spacing of the first volume."""
        for node in self.images().values():
            if node.GetImageData() is not None:
                shape = " x ".join(str(size) for size in node.GetImageData().GetDimensions())
                spacing = " x ".join(f"{size:.2f}" for size in node.GetSpacing())
                return _("{shape} voxels of {spacing} mm").format(shape=shape, spacing=spacing)
        return ""

    def assign_by_name(self) -> None:
        """Fill empty selectors with volumes whose names speak of their modality; an only volume is the only choice."""
        if self.task is None:
            return
        guess = import_engine("scans.assignment").guess_modality
        volumes = [node for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if _is_plain(node)]
        taken = {node.GetID() for node in self.images().values()}
        for index, modality in enumerate(self.task.modalities):
            free = [node for node in volumes if node.GetID() not in taken]
            fitting = [node for node in free if guess(self.task, node.GetName() or "") == modality.name]
            if self.task.channels == 1 and len(volumes) == 1:
                fitting = free
            if self._selector(index).currentNode() is None and fitting:
                taken.add(fitting[0].GetID())
                self._selector(index).setCurrentNode(fitting[0])

    def _selector(self, index: int) -> Any:
        return getattr(self._ui, f"image{index + 1}Selector")

    def _on_task_changed(self, *unused: Any) -> None:
        if self._is_filling or self.task is None:
            return
        for index in range(SELECTORS):
            is_used = index < len(self.task.modalities)
            label = getattr(self._ui, f"image{index + 1}Label")
            label.setVisible(is_used)
            self._selector(index).setVisible(is_used)
            if is_used:
                label.setText(f"{self.task.modalities[index].title}:")
        self._ui.taskNote.setText(self.task.description)
        self.assign_by_name()
        self.changed.emit()

    def _on_image_changed(self, index: int, *unused: Any) -> None:
        self.chosen.emit(index, self._selector(index).currentNode())
        self.changed.emit()

    def _on_assign(self, *unused: Any) -> None:
        self.assign_by_name()
        self.changed.emit()


def _is_plain(node: Any) -> bool:
    """Whether a volume is an image of one value a voxel, as the selectors show them (no label map, no colours)."""
    return node.GetClassName() == "vtkMRMLScalarVolumeNode" and not node.GetHideFromEditors()
