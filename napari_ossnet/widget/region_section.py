"""Owns the section in which a box of the result is refined beyond the scan's resolution."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QFormLayout, QSpinBox, QVBoxLayout, QWidget

from napari_ossnet.widget.forms import Choice, Note, button, leave_wheel_to_form
from napari_ossnet.widget.regions import CURRENT_VIEW
from napari_ossnet.widget.state import State

FACTORS = (2, 4, 8)


class RegionSection(QWidget):
    """Region refinement."""

    factor_picked = Signal(int)
    depth_picked = Signal(int)
    #: Where the box comes from.
    refine_wanted = Signal(str)
    #: Whether what is on the screen is to be refined from now on.
    view_switched = Signal(bool)

    def __init__(self) -> None:
        super().__init__()
        self.source = Choice("Where to refine: what the 2D view shows, or shapes that you have drawn")
        self._source = CURRENT_VIEW
        self.source.on_picked(self._pick_source)
        self.factor = Choice("How many times smaller the voxels of the result are")
        self.factor.on_picked(self.factor_picked.emit)
        self.depth = QSpinBox()
        self.depth.setRange(4, 256)
        self.depth.setSuffix(" voxels")
        self.depth.setToolTip("How deep the box is where it was pointed out on one slice only")
        leave_wheel_to_form(self.depth)
        self.depth.editingFinished.connect(lambda: self.depth_picked.emit(self.depth.value()))
        self.refine = button(
            "Refine region", "Asks the network between the voxels, only along the surface in the box",
            lambda: self.refine_wanted.emit(self._source),
        )  # fmt: skip
        self.note = Note("muted")
        self.follow_view = QCheckBox("Refine what is on the screen")
        self.follow_view.setToolTip(
            "As you zoom in on a slice, its outline is refined as finely as the screen shows; it stops when you move on"
        )
        self.follow_view.clicked.connect(self.view_switched.emit)
        self.view_note = Note("muted")
        self._build_layout()

    def show_state(self, state: State) -> None:
        """Shows the boxes that there are."""
        names = (CURRENT_VIEW, *state.box_layers)
        if self._source not in names:
            self._source = CURRENT_VIEW
        self.source.offer(((name, name, "") for name in names), self._source)
        self.factor.offer(((factor, f"{factor}× finer", "") for factor in FACTORS), state.settings.region_factor)
        if not self.depth.hasFocus():
            self.depth.setValue(state.settings.region_depth)
        can_refine = state.has_result and not state.is_busy
        self.refine.setEnabled(can_refine)
        self.note.say(
            "Interpolated beyond the scan's resolution; shown in layers of its own."
            if state.has_result
            else "Segment first; then a part of the result can be refined."
        )
        self.follow_view.setChecked(state.settings.refine_view)
        self.view_note.say(state.view_note)

    def _build_layout(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Box", self.source)
        form.addRow("Depth", self.depth)
        form.addRow("Detail", self.factor)
        layout.addLayout(form)
        layout.addWidget(self.refine)
        layout.addWidget(self.note)
        layout.addWidget(self.follow_view)
        layout.addWidget(self.view_note)

    def _pick_source(self, name: str) -> None:
        self._source = name
