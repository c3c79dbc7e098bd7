"""PySide6 objects as PythonQt shows them: properties are attributes, ``connect`` takes a signature."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QObject


class PythonQtView:
    """A Qt object seen through PythonQt's eyes; an attribute that the real widget lacks is an AttributeError."""

    __slots__ = ("target",)

    def __init__(self, target: QObject) -> None:
        object.__setattr__(self, "target", target)

    def __getattr__(self, name: str) -> Any:
        if has_property(self.target, name):
            return self.target.property(name)
        member = getattr(self.target, name)
        if hasattr(member, "connect"):
            return member
        if callable(member):
            return lambda *values: shown(member(*[real(value) for value in values]))
        return member

    def __setattr__(self, name: str, value: Any) -> None:
        if not has_property(self.target, name):
            raise AttributeError(f"{type(self.target).__name__} has no property {name!r}")
        self.target.setProperty(name, value)

    def connect(self, signature: str, receiver: Any) -> bool:
        """As PythonQt's: a signal's C++ signature, and what to call."""
        signal = getattr(self.target, signature.split("(")[0], None)
        if signal is None or not hasattr(signal, "connect"):
            raise ValueError(f"{type(self.target).__name__} has no signal {signature!r}")
        signal.connect(receiver)
        return True


def has_property(target: QObject, name: str) -> bool:
    """Whether PythonQt would show ``name`` as a property."""
    return target.metaObject().indexOfProperty(name) >= 0


def shown(value: Any) -> Any:
    """What a call gives, as PythonQt shows it."""
    if isinstance(value, (list, tuple)):
        return [shown(item) for item in value]
    return PythonQtView(value) if isinstance(value, QObject) else value


def real(value: Any) -> Any:
    """The object behind a view."""
    return value.target if isinstance(value, PythonQtView) else value
