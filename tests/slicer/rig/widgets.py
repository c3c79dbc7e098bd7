"""Stand-ins for the ctk and qMRML widgets that the form uses, with the same names, properties and signals."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets
from PySide6.QtCore import Property, QBuffer, Signal

CONNECTION = ("sender", "signal", "receiver", "slot")


class qMRMLNodeComboBox(QtWidgets.QWidget):
    """Holds one node of the scene, of the types that the form allows, and shows its name."""

    currentNodeChanged = Signal(object)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._types: list[str] = []
        self._scene: Any = None
        self._node: Any = None
        self._flags: dict[str, bool] = {}
        self._box = QtWidgets.QComboBox(self)
        _fill(self, self._box)
        self._show()

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
        if node is not self.currentNode():
            self._node = node
            self._show()
            self.currentNodeChanged.emit(node)

    def _show(self) -> None:
        self._box.clear()
        self._box.addItem("None" if self._node is None else self._node.GetName())


class qMRMLWidget(QtWidgets.QWidget):
    """Hands the scene to the widgets that the form connects to it."""

    mrmlSceneChanged = Signal(object)

    def setMRMLScene(self, scene: Any) -> None:
        self.mrmlSceneChanged.emit(scene)


class qMRMLSegmentationShow3DButton(QtWidgets.QPushButton):
    def __init__(self, parent: Any = None) -> None:
        super().__init__("Show 3D", parent)

    def setSegmentationNode(self, node: Any) -> None:
        if not node.IsA("vtkMRMLSegmentationNode"):
            raise TypeError(node.GetClassName())
        self.node = node


class ctkCollapsibleButton(QtWidgets.QWidget):
    """A section with a title; collapsed, only the title is left."""

    TITLE_PIXELS = 26

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._text, self._collapsed = "", False
        self.setContentsMargins(0, self.TITLE_PIXELS, 0, 0)

    def _collapse(self, on: bool) -> None:
        self._collapsed = on
        self.setMaximumHeight(self.TITLE_PIXELS if on else 16_777_215)

    text = Property(str, lambda self: self._text, lambda self, text: setattr(self, "_text", text))
    collapsed = Property(bool, lambda self: self._collapsed, _collapse)

    def paintEvent(self, event: Any) -> None:
        painter = QtGui.QPainter(self)
        bar = QtCore.QRect(0, 0, self.width(), self.TITLE_PIXELS - 4)
        painter.fillRect(bar, self.palette().midlight())
        sign = (
            "\N{BLACK RIGHT-POINTING SMALL TRIANGLE}" if self._collapsed else "\N{BLACK DOWN-POINTING SMALL TRIANGLE}"
        )
        painter.drawText(bar.adjusted(6, 0, 0, 0), QtCore.Qt.AlignmentFlag.AlignVCenter, f"{sign} {self._text}")


class ctkSliderWidget(QtWidgets.QWidget):
    valueChanged = Signal(float)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._low, self._high = 0.0, 99.0
        self._bar = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal)
        self._box = QtWidgets.QDoubleSpinBox()
        _fill(self, self._bar, self._box)
        self._box.valueChanged.connect(self._on_value)

    def _on_value(self, value: float) -> None:
        self._bar.setValue(round(100 * (value - self._low) / (self._high - self._low)))
        self.valueChanged.emit(value)

    def _set_low(self, low: float) -> None:
        self._low = low
        self._box.setMinimum(low)

    def _set_high(self, high: float) -> None:
        self._high = high
        self._box.setMaximum(high)

    value = Property(float, lambda self: self._box.value(), lambda self, value: self._box.setValue(value))
    minimum = Property(float, lambda self: self._low, _set_low)
    maximum = Property(float, lambda self: self._high, _set_high)
    singleStep = Property(float, lambda self: self._box.singleStep(), lambda self, step: self._box.setSingleStep(step))
    decimals = Property(int, lambda self: self._box.decimals(), lambda self, count: self._box.setDecimals(count))


def _fill(widget: Any, *parts: Any) -> None:
    """Put widgets side by side into another one, without a frame."""
    layout = QtWidgets.QHBoxLayout(widget)
    layout.setContentsMargins(0, 0, 0, 0)
    for part in parts:
        layout.addWidget(part)


CUSTOM = {
    kind.__name__: kind
    for kind in (qMRMLWidget, qMRMLNodeComboBox, qMRMLSegmentationShow3DButton, ctkCollapsibleButton, ctkSliderWidget)
}


class FormLoader(QtUiTools.QUiLoader):
    """Loads a form with the stand-ins; a custom widget that nobody stands in for is an error, as in Slicer."""

    def load_form(self, path: str) -> Any:
        """The form, its connections made by name: PySide knows no signals of VTK's types."""
        tree = ET.parse(path)
        root = tree.getroot()
        connections = root.find("connections")
        root.remove(connections)
        buffer = QBuffer()
        buffer.setData(ET.tostring(root))
        buffer.open(QBuffer.OpenModeFlag.ReadOnly)
        form = self.load(buffer)
        widgets = {widget.objectName(): widget for widget in [form, *form.findChildren(QtWidgets.QWidget)]}
        for connection in connections:
            sender, signal, receiver, slot = (connection.findtext(part) for part in CONNECTION)
            target = getattr(widgets[receiver], slot.split("(")[0])
            getattr(widgets[sender], signal.split("(")[0]).connect(target)
        return form

    def createWidget(self, name: str, parent: Any = None, object_name: str = "") -> Any:
        if name in CUSTOM:
            widget = CUSTOM[name](parent)
            widget.setObjectName(object_name)
            return widget
        if name.startswith(("ctk", "qMRML", "qSlicer")):
            raise ValueError(f"unknown custom widget {name}")
        return super().createWidget(name, parent, object_name)
