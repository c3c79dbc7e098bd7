"""Stand-ins for the ctk and qMRML widgets that the form uses, with the same names, properties and signals."""

from __future__ import annotations

from typing import Any

from PySide6 import QtUiTools, QtWidgets
from PySide6.QtCore import Property, Signal


class qMRMLNodeComboBox(QtWidgets.QWidget):
    """Holds one node of the scene, of the types that the form allows."""

    currentNodeChanged = Signal(object)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._types: list[str] = []
        self._scene: Any = None
        self._node: Any = None
        self._flags: dict[str, bool] = {}

    def _flag(name: str) -> Any:  # noqa: N805 - makes a property, is no method
        return Property(bool, lambda self: self._flags.get(name, True), lambda self, on: self._flags.update({name: on}))

    addEnabled = _flag("add")
    removeEnabled = _flag("remove")
    renameEnabled = _flag("rename")
    noneEnabled = _flag("none")
    showChildNodeTypes = _flag("children")
    nodeTypes = Property(
        "QStringList", lambda self: self._types, lambda self, types: setattr(self, "_types", list(types))
    )

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene

    def currentNode(self) -> Any:
        # The real one forgets a node that is removed from the scene.
        if self._node is not None and not self._scene.IsNodePresent(self._node):
            self._node = None
        return self._node

    def setCurrentNode(self, node: Any) -> None:
        if self._scene is None:
            raise RuntimeError("the selector has no scene")
        if node is not None and not any(node.IsA(name) for name in self._types):
            raise TypeError(f"{node.GetClassName()} is none of {self._types}")
        self._node = node
        self.currentNodeChanged.emit(node)


class qMRMLWidget(QtWidgets.QWidget):
    """Hands the scene to the widgets that the form connects to it."""

    mrmlSceneChanged = Signal(object)

    def setMRMLScene(self, scene: Any) -> None:
        for selector in self.findChildren(qMRMLNodeComboBox):
            selector.setMRMLScene(scene)
        self.mrmlSceneChanged.emit(scene)


class qMRMLSegmentationShow3DButton(QtWidgets.QPushButton):
    def setSegmentationNode(self, node: Any) -> None:
        if not node.IsA("vtkMRMLSegmentationNode"):
            raise TypeError(node.GetClassName())
        self.node = node


class ctkCollapsibleButton(QtWidgets.QWidget):
    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._text, self._collapsed = "", False

    text = Property(str, lambda self: self._text, lambda self, text: setattr(self, "_text", text))
    collapsed = Property(bool, lambda self: self._collapsed, lambda self, on: setattr(self, "_collapsed", on))


class ctkSliderWidget(QtWidgets.QWidget):
    valueChanged = Signal(float)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._value, self._low, self._high, self._step, self._decimals = 0.0, 0.0, 99.0, 1.0, 2

    def _set_value(self, value: float) -> None:
        self._value = min(max(value, self._low), self._high)
        self.valueChanged.emit(self._value)

    value = Property(float, lambda self: self._value, _set_value)
    minimum = Property(float, lambda self: self._low, lambda self, low: setattr(self, "_low", low))
    maximum = Property(float, lambda self: self._high, lambda self, high: setattr(self, "_high", high))
    singleStep = Property(float, lambda self: self._step, lambda self, step: setattr(self, "_step", step))
    decimals = Property(int, lambda self: self._decimals, lambda self, count: setattr(self, "_decimals", count))


CUSTOM = {
    kind.__name__: kind
    for kind in (qMRMLWidget, qMRMLNodeComboBox, qMRMLSegmentationShow3DButton, ctkCollapsibleButton, ctkSliderWidget)
}


class FormLoader(QtUiTools.QUiLoader):
    """Loads a form with the stand-ins; a custom widget that nobody stands in for is an error, as in Slicer."""

    def createWidget(self, name: str, parent: Any = None, object_name: str = "") -> Any:
        if name in CUSTOM:
            widget = CUSTOM[name](parent)
            widget.setObjectName(object_name)
            return widget
        if name.startswith(("ctk", "qMRML", "qSlicer")):
            raise ValueError(f"unknown custom widget {name}")
        return super().createWidget(name, parent, object_name)
