"""As much of the Slicer application as a scripted module needs, around a real MRML scene of slicer-core."""

from __future__ import annotations

import sys
import types
import unittest
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args, get_origin, get_type_hints

import slicer
import slicer.util
import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from rig.pythonqt import PythonQtView, real, shown
from rig.widgets import CUSTOM, FormLoader

MODULE_LOGICS = {
    "segmentations": slicer.vtkSlicerSegmentationsModuleLogic,
    "volumes": slicer.vtkSlicerVolumesLogic,
    "subjecthierarchy": slicer.vtkSlicerSubjectHierarchyModuleLogic,
    "models": slicer.vtkSlicerModelsLogic,
    "markups": slicer.vtkSlicerMarkupsLogic,
}


class Application:
    """A scene with its module logics, installed as ``slicer.mrmlScene``, ``slicer.modules``, ``slicer.app``."""

    def __init__(self, temporary: Path) -> None:
        self.scene = slicer.vtkMRMLScene()
        self.logic = slicer.vtkSlicerApplicationLogic()
        self.logic.SetMRMLScene(self.scene)
        self.logic.SetTemporaryPath(str(temporary))
        colors = self.logic.GetColorLogic()
        colors.SetMRMLScene(self.scene)
        colors.AddDefaultColorNodes()
        self.logic.SetModuleLogic("Colors", colors)
        self._give_input_and_output(temporary)
        self.logics = {}
        for name, kind in MODULE_LOGICS.items():
            logic = kind()
            logic.SetMRMLScene(self.scene)
            logic.SetMRMLApplicationLogic(self.logic)
            self.logic.SetModuleLogic(name.capitalize(), logic)
            self.logics[name] = logic
        self.errors: list[str] = []
        self.questions: list[str] = []
        self.started: list[Any] = []
        self.is_confirming = True
        self.module_widgets: dict[str, Any] = {}
        self.about_to_quit = _AboutToQuit()
        self.settings = QtCore.QSettings(str(temporary / "Slicer.ini"), QtCore.QSettings.Format.IniFormat)

    def _give_input_and_output(self, temporary: Path) -> None:
        """What saving and loading scenes and nodes needs; kept here so that it lives as long as the scene."""
        self.remote = slicer.vtkMRMLRemoteIOLogic()
        self.remote.SetMRMLScene(self.scene)
        self.remote.SetMRMLApplicationLogic(self.logic)
        self.remote.GetCacheManager().SetRemoteCacheDirectory(str(temporary))
        self.files = slicer.vtkDataIOManagerLogic()
        self.files.SetMRMLScene(self.scene)
        self.files.SetMRMLApplicationLogic(self.logic)
        self.files.SetAndObserveDataIOManager(self.remote.GetDataIOManager())
        self.remote.AddDataIOToScene()

    def install(self) -> None:
        """From now on this is Slicer."""
        slicer.mrmlScene = self.scene
        slicer.modules = SimpleNamespace(
            **{name: SimpleNamespace(logic=lambda logic=logic: logic) for name, logic in self.logics.items()}
        )
        slicer.app = SimpleNamespace(
            applicationLogic=lambda: self.logic,
            temporaryPath=self.logic.GetTemporaryPath(),
            processEvents=QtWidgets.QApplication.processEvents,
            mrmlScene=lambda: self.scene,
            connect=lambda signature, receiver: self.started.append((signature, receiver)),
            aboutToQuit=self.about_to_quit,
            userSettings=lambda: self.settings,
            setOverrideCursor=lambda cursor: None,
            restoreOverrideCursor=lambda: None,
            testingEnabled=lambda: True,
        )
        slicer.util.mainWindow = lambda: None
        slicer.util.errorDisplay = self.errors.append
        slicer.util.warningDisplay = self.errors.append
        slicer.util.confirmOkCancelDisplay = self._confirm
        slicer.util.getModuleWidget = lambda name: self.module_widgets[name]
        slicer.util.childWidgetVariables = children_by_name
        slicer.util.loadUI = lambda path: shown(FormLoader().load_form(str(path)))

    def _confirm(self, question: str, **_: Any) -> bool:
        self.questions.append(question)
        return self.is_confirming


class _AboutToQuit:
    """Slicer's signal at its end."""

    def __init__(self) -> None:
        self.receivers: list[Any] = []

    def connect(self, receiver: Any) -> None:
        self.receivers.append(receiver)

    def disconnect(self, receiver: Any) -> None:
        self.receivers.remove(receiver)


def children_by_name(form: Any) -> SimpleNamespace:
    """Every named widget of a form as an attribute, as ``slicer.util.childWidgetVariables`` gives them."""
    children = real(form).findChildren(QtCore.QObject)
    return SimpleNamespace(**{child.objectName(): PythonQtView(child) for child in children if child.objectName()})


def install_python_side() -> None:
    """The modules ``qt`` and ``ctk``, and those of ``slicer`` that slicer-core has not."""
    qt = types.ModuleType("qt")
    for module in (QtCore, QtGui, QtWidgets):
        names = [name for name in dir(module) if name.startswith("Q")]
        vars(qt).update({name: getattr(module, name) for name in names})
    ctk = types.ModuleType("ctk")
    vars(ctk).update({name: kind for name, kind in CUSTOM.items() if name.startswith("ctk")})
    scripted = types.ModuleType("slicer.ScriptedLoadableModule")
    for kind in (_Module, _Widget, _Logic, _Test):
        setattr(scripted, f"ScriptedLoadableModule{kind.__name__.lstrip('_').replace('Module', '')}", kind)
    wrapper = types.ModuleType("slicer.parameterNodeWrapper")
    wrapper.parameterNodeWrapper, wrapper.WithinRange = parameter_node_wrapper, WithinRange
    words = types.ModuleType("slicer.i18n")
    words.tr = lambda text: text
    words.translate = lambda context, text: text
    sys.modules.update(
        {
            "qt": qt,
            "ctk": ctk,
            "slicer.ScriptedLoadableModule": scripted,
            "slicer.parameterNodeWrapper": wrapper,
            "slicer.i18n": words,
        }
    )


class _Module:
    def __init__(self, parent: Any) -> None:
        self.parent = parent


class _Widget:
    def __init__(self, parent: Any = None) -> None:
        self.parent = parent
        self.layout = shown(real(parent.widget).layout())

    def resourcePath(self, name: str) -> str:
        return str(Path(sys.modules[type(self).__module__].__file__).parent / "Resources" / name)

    def setup(self) -> None:
        """Slicer adds its reload section here."""

    def onReload(self) -> None:
        self.is_reloaded = True


class _Logic:
    def __init__(self, parent: Any = None) -> None:
        self._node: Any = None

    def getParameterNode(self) -> Any:
        if self._node is None or not slicer.mrmlScene.IsNodePresent(self._node):
            self._node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "OSSNet parameters")
        return self._node


class _Test(unittest.TestCase):
    def delayDisplay(self, text: str) -> None:
        """Slicer shows the text for a moment."""


class WithinRange:
    """The bounds of a number."""

    def __init__(self, minimum: float, maximum: float) -> None:
        self.minimum, self.maximum = minimum, maximum


def parameter_node_wrapper(kind: type) -> type:
    """Keeps values in the MRML node; a name that the class does not declare is an error, as with Slicer's.

    Any change of the node writes all values into their widgets, again as with Slicer's.
    """
    hints = get_type_hints(kind, include_extras=True)

    class Wrapped:
        declared = hints

        def __init__(self, node: Any) -> None:
            vars(self).update(parameterNode=node, is_showing=False)

        def __getattr__(self, name: str) -> Any:
            if name not in hints:
                raise AttributeError(name)
            return _read(self.parameterNode, name, hints[name], getattr(kind, name, None))

        def __setattr__(self, name: str, value: Any) -> None:
            if name not in hints:
                raise AttributeError(name)
            _write(self.parameterNode, name, value)

        def connectGui(self, ui: Any) -> int:
            named = {real(widget): real(widget).property("SlicerParameterName") for widget in vars(ui).values()}
            bound = [_bind(self, hints, name, widget) for widget, name in named.items() if name is not None]
            tag = self.parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, self._show)
            vars(self).update(bound=bound, observer=tag)
            return 1

        def _show(self, *unused: Any) -> None:
            if not self.is_showing:
                vars(self).update(is_showing=True)
                for show, _, _ in self.bound:
                    show()
                vars(self).update(is_showing=False)

        def disconnectGui(self, tag: int) -> None:
            if tag != 1:
                raise ValueError("not connected")
            self.parameterNode.RemoveObserver(self.observer)
            for _, signal, receiver in self.bound:
                signal.disconnect(receiver)

    return Wrapped


def _is_node(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, slicer.vtkMRMLNode)


def _read(node: Any, name: str, hint: Any, default: Any) -> Any:
    if _is_node(hint):
        return node.GetNodeReference(name)
    text = node.GetParameter(name)
    if not text:
        return default
    kind = get_args(hint)[0] if get_origin(hint) is not None else hint
    return text == "True" if kind is bool else kind(text)


def _write(node: Any, name: str, value: Any) -> None:
    if value is None or hasattr(value, "GetID"):
        node.SetNodeReferenceID(name, value.GetID() if value is not None else None)
    else:
        node.SetParameter(name, str(value))


def _bind(parameters: Any, hints: dict[str, Any], name: str, widget: Any) -> tuple[Any, Any, Any]:
    """Shows a parameter in its widget and follows the widget; gives what shows it, the signal and its receiver."""
    if name not in hints:
        raise ValueError(f"{widget.objectName()} names the unknown parameter {name!r}")
    if hasattr(widget, "currentNodeChanged"):
        read, write, signal = widget.currentNode, widget.setCurrentNode, widget.currentNodeChanged
    elif hasattr(widget, "toggled"):
        read, write, signal = widget.isChecked, widget.setChecked, widget.toggled
    else:
        read, write = partial(widget.property, "value"), partial(widget.setProperty, "value")
        signal = widget.valueChanged

    def show() -> None:
        write(getattr(parameters, name))

    def keep(*unused: Any) -> None:
        # As Slicer's, by what the widget shows now: an earlier receiver may have changed that since the signal.
        if not parameters.is_showing:
            setattr(parameters, name, read())

    show()
    signal.connect(keep)
    return show, signal, keep
