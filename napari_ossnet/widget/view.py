"""Owns the layout: the sections in their order, what stays in sight, and nothing else."""

from __future__ import annotations

from dataclasses import replace

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QIcon
from qtpy.QtWidgets import QFrame, QScrollArea, QVBoxLayout, QWidget
from superqt import QCollapsible

from napari_ossnet.widget.batch_section import BatchSection
from napari_ossnet.widget.images_section import ImagesSection
from napari_ossnet.widget.region_section import RegionSection
from napari_ossnet.widget.result_section import ResultSection
from napari_ossnet.widget.run_bar import RunBar
from napari_ossnet.widget.run_section import RunSection
from napari_ossnet.widget.state import State
from napari_ossnet.widget.weights_section import WeightsSection

#: What the dock needs at least; more is used.
WIDTH = 340
_HEADER_STYLE = "QPushButton { text-align: left; border: none; background: transparent; font-weight: bold; }"


class View(QWidget):
    """The form: sections out of which signals come and to which states are shown."""

    #: Name of a section and whether the user has folded it away.
    folded = Signal(str, bool)

    def __init__(self) -> None:
        super().__init__()
        self.images = ImagesSection()
        self.weights = WeightsSection()
        self.run = RunSection()
        self.result = ResultSection()
        self.region = RegionSection()
        self.batch = BatchSection()
        self.sections: dict[str, QCollapsible] = {}
        self._titles: dict[str, str] = {}
        self._shown: State | None = None
        self.bar = RunBar()
        self._build_layout()

    def show_state(self, state: State) -> None:
        """Shows a state in every section; where it tells no more than progress, only that."""
        before, self._shown = self._shown, state
        if before is not None and replace(before, progress=state.progress) == state:
            self.bar.show_progress(state)
            return
        for section in (self.images, self.weights, self.run, self.result, self.region, self.batch, self.bar):
            section.show_state(state)

    def show_result(self) -> None:
        """Scrolls to the result."""
        self.scroll.ensureWidgetVisible(self.sections["result"])

    def show_folds(self, folded: tuple[str, ...]) -> None:
        """Folds sections away, or open, as the settings remember them."""
        for name, section in self.sections.items():
            section.blockSignals(True)
            (section.collapse if name in folded else section.expand)(animate=False)
            section.blockSignals(False)
            self._show_arrow(name, self._titles[name], is_open=name not in folded)

    def _build_layout(self) -> None:
        inner = QWidget()
        column = QVBoxLayout(inner)
        column.setContentsMargins(6, 4, 6, 4)
        column.setSpacing(4)
        for name, title, content in (
            ("images", "Task and images", self.images),
            ("weights", "Variant and weights", self.weights),
            ("run", "Run", self.run),
            ("result", "Result", self.result),
            ("region", "Region, finer than the scan", self.region),
            ("batch", "Batch", self.batch),
        ):
            column.addWidget(self._section(name, title, content))
        column.addStretch(1)
        self.scroll = scroll = QScrollArea()
        scroll.setWidget(inner)
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(scroll, 1)
        layout.addWidget(self.bar)
        self.setMinimumWidth(WIDTH)

    def _on_toggled(self, name: str, title: str, *, is_open: bool) -> None:
        self._show_arrow(name, title, is_open=is_open)
        self.folded.emit(name, not is_open)

    def _show_arrow(self, name: str, title: str, *, is_open: bool) -> None:
        """The arrow is text: superqt's icon takes its colour from the palette, which napari's themes leave black."""
        self.sections[name].setText(f"{'▾' if is_open else '▸'}  {title}")

    def _section(self, name: str, title: str, content: QWidget) -> QCollapsible:
        section = QCollapsible(title, expandedIcon=QIcon(), collapsedIcon=QIcon())
        self._titles[name] = title
        section.setDuration(0)
        # The theme paints checked buttons in its accent colour; six such bars would shout.
        section.toggleButton().setStyleSheet(_HEADER_STYLE)
        section.layout().setContentsMargins(0, 0, 0, 0)
        section.addWidget(content)
        section.toggled.connect(lambda is_open: self._on_toggled(name, title, is_open=is_open))
        self.sections[name] = section
        return section
