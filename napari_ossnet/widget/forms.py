"""Owns the small pieces that the sections are built of: lists, notes and buttons that all look and behave alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtGui import QPaintEvent
from qtpy.QtWidgets import (
    QComboBox,
    QLabel,
    QPushButton,
    QSizePolicy,
    QStyle,
    QStyleOptionComboBox,
    QStylePainter,
    QWidget,
)

#: Readable on napari's dark and on its light background.
COLORS = {"info": "", "muted": "color: #8a929c;", "warning": "color: #d18a16;", "problem": "color: #e2604f;"}
#: What styles leave free on either side of a list's text, in pixels.
_TEXT_MARGIN = 3


class Note(QLabel):
    """A line or two of wrapped text that takes no room while it is empty; its text can be selected and copied."""

    def __init__(self, kind: str = "info", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWordWrap(True)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        # Long words (file names) may break anywhere rather than widen the dock.
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self.kind = ""
        self.say("", kind)

    def say(self, text: str, kind: str | None = None) -> None:
        """Shows a text, or hides the note if there is none."""
        if kind is not None and kind != self.kind:
            self.kind = kind
            self.setStyleSheet(COLORS[kind])
        if text != self.text():
            self.setText(text)
        self.setVisible(bool(text))


class Choice(QComboBox):
    """A list that shows options and tells only of what the *user* picks; never wider than its place."""

    def __init__(self, tooltip: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setToolTip(tooltip)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(10)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        # The wheel scrolls the form; it must not change a choice on the way.
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self._options: tuple[tuple[Any, str, str], ...] = ()
        self.before_popup: Callable[[], None] = lambda: None

    def offer(self, options: Iterable[tuple[Any, str, str]], chosen: Any) -> None:
        """Shows options (value, title, tooltip), one of them chosen; an unknown value shows none."""
        options = tuple(options)
        if options != self._options:
            self._options = options
            self.clear()
            for index, (_, title, tooltip) in enumerate(options):
                self.addItem(title)
                self.setItemData(index, tooltip or title, Qt.ItemDataRole.ToolTipRole)
        values = [value for value, _, _ in options]
        index = values.index(chosen) if chosen in values else -1
        if index != self.currentIndex():
            self.setCurrentIndex(index)

    @property
    def value(self) -> Any:
        """The chosen option's value; None where there is none."""
        index = self.currentIndex()
        return self._options[index][0] if 0 <= index < len(self._options) else None

    def on_picked(self, receive: Callable[[Any], None]) -> None:
        """Calls ``receive`` with the value that the user picks."""
        self.activated.connect(lambda index: receive(self._options[index][0]))

    def showPopup(self) -> None:  # noqa: N802 (Qt's name)
        """Lets the owner bring the options up to date first."""
        self.before_popup()
        super().showPopup()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 (Qt's name)
        """Ends a title that is longer than its place in an ellipsis; Qt only cuts it off."""
        option = QStyleOptionComboBox()
        self.initStyleOption(option)
        place = self.style().subControlRect(
            QStyle.ComplexControl.CC_ComboBox, option, QStyle.SubControl.SC_ComboBoxEditField, self
        )
        width = place.width() - 2 * _TEXT_MARGIN
        option.currentText = self.fontMetrics().elidedText(option.currentText, Qt.TextElideMode.ElideRight, width)
        painter = QStylePainter(self)
        painter.drawComplexControl(QStyle.ComplexControl.CC_ComboBox, option)
        painter.drawControl(QStyle.ControlElement.CE_ComboBoxLabel, option)

    def wheelEvent(self, event: Any) -> None:  # noqa: N802 (Qt's name)
        """Leaves the wheel to the form."""
        event.ignore()


class _WheelToForm(QObject):
    """Takes the wheel from whatever it filters, so that the form is scrolled and no value changed on the way."""

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802 (Qt's name)
        """Ignores the wheel; Qt hands an ignored event on to the parent."""
        if event is not None and event.type() == QEvent.Type.Wheel:
            event.ignore()
            return True
        return False


def leave_wheel_to_form(widget: QWidget) -> None:
    """Has the wheel over a widget scroll the form, instead of changing what the widget says."""
    wheel = _WheelToForm(widget)
    for part in (widget, *widget.findChildren(QWidget)):
        part.installEventFilter(wheel)


def button(text: str, tooltip: str, clicked: Callable[[], None]) -> QPushButton:
    """A button."""
    made = QPushButton(text)
    made.setToolTip(tooltip)
    # A wrapper, for Qt would pass "checked" to whatever takes an argument.
    made.clicked.connect(lambda _=False: clicked())
    return made
