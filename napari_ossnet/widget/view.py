"""Owns the layout: the sections in their order, what stays in sight, and nothing else."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFrame, QScrollArea, QVBoxLayout, QWidget
from superqt import QCollapsible

from napari_ossnet.engine.segmentation import RESEARCH_NOTICE
from napari_ossnet.widget.batch_section import BatchSection
from napari_ossnet.widget.forms import Note
from napari_ossnet.widget.images_section import ImagesSection
from napari_ossnet.widget.region_section import RegionSection
from napari_ossnet.widget.result_section import ResultSection
from napari_ossnet.widget.run_section import RunSection
from napari_ossnet.widget.state import State
from napari_ossnet.widget.weights_section import WeightsSection

#: What the dock needs at least; more is used.
WIDTH = 340


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
        self.notice = Note("muted")
        self._build_layout()

    def show_state(self, state: State) -> None:
        """Shows a state in every section."""
        for section in (self.images, self.weights, self.run, self.result, self.region, self.batch):
            section.show_state(state)

    def show_folds(self, folded: tuple[str, ...]) -> None:
        """Folds sections away, or open, as the settings remember them."""
        for name, section in self.sections.items():
            section.blockSignals(True)
            (section.collapse if name in folded else section.expand)(animate=False)
            section.blockSignals(False)

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
        scroll = QScrollArea()
        scroll.setWidget(inner)
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.notice.say(RESEARCH_NOTICE)
        self.notice.setContentsMargins(8, 2, 8, 4)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(scroll, 1)
        layout.addWidget(self.notice)
        self.setMinimumWidth(WIDTH)

    def _section(self, name: str, title: str, content: QWidget) -> QCollapsible:
        section = QCollapsible(title)
        section.setDuration(0)
        section.layout().setContentsMargins(0, 0, 0, 0)
        section.addWidget(content)
        section.toggled.connect(lambda is_open: self.folded.emit(name, not is_open))
        self.sections[name] = section
        return section
