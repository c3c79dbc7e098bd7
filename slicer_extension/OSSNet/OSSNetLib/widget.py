"""The module's widget: loads the form, binds the parameter node, follows the scene, cleans up."""

from __future__ import annotations

from typing import Any

import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin

from OSSNetLib.installation import Installation
from OSSNetLib.logic import OSSNetSegmentationLogic
from OSSNetLib.panel import Panel
from OSSNetLib.parameters import OSSNetParameterNode


class OSSNetFormWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """What Slicer shows when the module is selected."""

    #: Made by ``setup``; tests put in their own before.
    segmentation_logic: OSSNetSegmentationLogic | None = None

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self._parameter_node: OSSNetParameterNode | None = None
        self._gui_tag: Any = None

    def setup(self) -> None:
        """Build the form."""
        ScriptedLoadableModuleWidget.setup(self)
        form = slicer.util.loadUI(self.resourcePath("UI/OSSNet.ui"))
        self.layout.addWidget(form)
        self.ui = slicer.util.childWidgetVariables(form)
        form.setMRMLScene(slicer.mrmlScene)
        self.segmentation_logic = self.segmentation_logic or OSSNetSegmentationLogic()
        installation = Installation(self.resourcePath("requirements.txt"))
        self.panel = Panel(self.ui, self.segmentation_logic, installation)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self._on_scene_closing)
        self.addObserver(scene, scene.EndCloseEvent, self._on_scene_closed)
        slicer.app.aboutToQuit.connect(self.segmentation_logic.close)
        self._bind()

    def cleanup(self) -> None:
        """The module is unloaded: no process, no observer stays behind."""
        self.segmentation_logic.close()
        self._unbind()
        self.removeObservers()

    def enter(self) -> None:
        """The module is shown."""
        self._bind()
        self.panel.images.assign_by_name()

    def exit(self) -> None:
        """Another module is shown; a run goes on."""
        self._unbind()

    def _bind(self) -> None:
        if self._parameter_node is not None:
            return
        logic = self.logic_of_parameters()
        self._parameter_node = OSSNetParameterNode(logic.getParameterNode())
        self._gui_tag = self._parameter_node.connectGui(self.ui)
        self.panel.choose_task(self._parameter_node.task)
        self.panel.images.changed.connect(self._store_task)
        self.panel.update()

    def logic_of_parameters(self) -> Any:
        """The module's scripted logic, which owns the parameter node."""
        from OSSNet import OSSNetLogic

        self.logic = getattr(self, "logic", None) or OSSNetLogic()
        return self.logic

    def _store_task(self) -> None:
        if self._parameter_node is not None and self.panel.images.task is not None:
            self._parameter_node.task = self.panel.images.task.name

    def _unbind(self) -> None:
        if self._parameter_node is not None:
            self._parameter_node.disconnectGui(self._gui_tag)
            self._parameter_node = None

    def _on_scene_closing(self, *_: Any) -> None:
        self._unbind()
        self.panel.on_scene_closed()

    def _on_scene_closed(self, *_: Any) -> None:
        if self.parent.isEntered:
            self._bind()
