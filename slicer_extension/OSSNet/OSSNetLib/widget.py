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
from OSSNetLib.settings import Settings

#: Parameters that a new scene takes from the settings; of these the first four are kept up to date by the panel.
CHOICES = ("task", "variant", "weights", "device")
REMEMBERED = (*CHOICES, "memory_gib", "is_live")


class OSSNetFormWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """What Slicer shows when the module is selected."""

    #: Made by ``setup``; tests put in their own before.
    segmentation_logic: OSSNetSegmentationLogic | None = None

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: Any = None
        self._parameter_node: OSSNetParameterNode | None = None
        self._gui_tag: Any = None

    def setup(self) -> None:
        """Build the form."""
        ScriptedLoadableModuleWidget.setup(self)
        form = slicer.util.loadUI(self.resourcePath("UI/OSSNet.ui"))
        self.layout.addWidget(form)
        self.ui = slicer.util.childWidgetVariables(form)
        form.setMRMLScene(slicer.mrmlScene)
        self.settings = Settings()
        self.segmentation_logic = self.segmentation_logic or OSSNetSegmentationLogic()
        installation = Installation(self.resourcePath("requirements.txt"))
        self.panel = Panel(self.ui, self.segmentation_logic, installation, self.settings)
        self.panel.images.chosen.connect(self._store_image)
        self.panel.changed.connect(self._store_choices)
        self.segmentation_logic.finished.connect(self._store_output)
        self._follow_scene()
        slicer.app.aboutToQuit.connect(self.segmentation_logic.close)
        self._bind()

    def cleanup(self) -> None:
        """The module is unloaded or reloaded: no process, no observer stays behind."""
        slicer.app.aboutToQuit.disconnect(self.segmentation_logic.close)
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

    def _follow_scene(self) -> None:
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self._on_scene_closing)
        self.addObserver(scene, scene.EndCloseEvent, self._on_scene_replaced)
        self.addObserver(scene, scene.EndImportEvent, self._on_scene_replaced)
        self.addObserver(scene, scene.NodeRemovedEvent, self._on_node_removed)

    def _bind(self) -> None:
        if self._parameter_node is not None:
            return
        node = self._scripted_logic().getParameterNode()
        is_new = not node.GetParameter("task")
        parameters = OSSNetParameterNode(node)
        if is_new:
            for name in REMEMBERED:
                setattr(parameters, name, self.settings.get(name))
        self.panel.restore({name: getattr(parameters, name) for name in CHOICES})
        self._gui_tag = parameters.connectGui(self.ui)
        self._parameter_node = parameters
        self.panel.update()
        self._store_choices()

    def _unbind(self) -> None:
        if self._parameter_node is not None:
            self._parameter_node.disconnectGui(self._gui_tag)
            self._parameter_node = None

    def _scripted_logic(self) -> Any:
        """The module's scripted logic, which owns the parameter node."""
        from OSSNet import OSSNetLogic

        self.logic = self.logic or OSSNetLogic()
        return self.logic

    def _store_choices(self) -> None:
        # Before the engine's packages are there, nothing can be chosen.
        if self._parameter_node is not None and self.panel.images.task is not None:
            for name, value in self.panel.choices().items():
                setattr(self._parameter_node, name, value)

    def _store_image(self, index: int, volume_node: Any) -> None:
        """The selector's own connection comes later; a change in between would bring the old volume back."""
        if self._parameter_node is not None:
            setattr(self._parameter_node, f"image{index + 1}", volume_node)

    def _store_output(self, report: dict[str, Any]) -> None:
        """A run may end while another module is shown, when the form is not bound."""
        if self.panel.is_result_of_chosen_scan():
            parameters = self._parameter_node or OSSNetParameterNode(self._scripted_logic().getParameterNode())
            parameters.segmentation = self.segmentation_logic.result.segmentation_node

    def _on_scene_closing(self, *unused: Any) -> None:
        self._unbind()
        self.panel.on_scene_closed()

    def _on_scene_replaced(self, *unused: Any) -> None:
        self._unbind()
        if self.parent.isEntered:
            self._bind()

    def _on_node_removed(self, *unused: Any) -> None:
        self.segmentation_logic.check_nodes()
