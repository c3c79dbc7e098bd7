"""The part of the form that shows what was found: numbers, threshold, export, and a region refined further."""

from __future__ import annotations

from typing import Any

import qt
import slicer

from OSSNetLib import nodes
from OSSNetLib.logic import OSSNetSegmentationLogic
from OSSNetLib.results import COLUMNS, table_rows


class ResultSection:
    """Results table, threshold slider, export, region refinement.

    Args:
        ui: The form's widgets.
        logic: Runs what the buttons ask for.
    """

    def __init__(self, ui: Any, logic: OSSNetSegmentationLogic) -> None:
        self._ui = ui
        self._logic = logic
        self._has_result = False
        ui.thresholdButton.connect("clicked(bool)", self._on_threshold)
        ui.exportButton.connect("clicked(bool)", self._on_export)
        ui.refineButton.connect("clicked(bool)", self._on_refine)
        ui.regionSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.update)
        logic.finished.connect(self._on_finished)

    def update(self, *_: Any) -> None:
        """Enable what can be pressed now."""
        is_ready = self._has_result and not self._logic.is_busy and self._logic.result is not None
        self._ui.thresholdButton.setEnabled(is_ready)
        self._ui.exportButton.setEnabled(is_ready)
        self._ui.refineButton.setEnabled(is_ready and self._ui.regionSelector.currentNode() is not None)

    def clear(self) -> None:
        """Nothing was found yet."""
        self._has_result = False
        self._ui.resultsTable.setRowCount(0)
        self.update()

    def _on_finished(self, report: dict[str, Any]) -> None:
        self._has_result = True
        rows = table_rows(report, self._logic.result.task)
        table = self._ui.resultsTable
        table.setColumnCount(1 + len(COLUMNS))
        table.setHorizontalHeaderLabels(["Object", *(title for _, title in COLUMNS)])
        table.setRowCount(len(rows))
        for row, values in enumerate(rows):
            for column, value in enumerate(values):
                table.setItem(row, column, qt.QTableWidgetItem(value))
        table.resizeColumnsToContents()
        self.update()

    def _on_threshold(self, *_: Any) -> None:
        self._logic.rethreshold(self._ui.thresholdSlider.value)

    def _on_export(self, *_: Any) -> None:
        filters = "Mask (*.nii.gz *.nrrd);;Surface (*.stl *.obj *.ply);;Report (*.json)"
        path = qt.QFileDialog.getSaveFileName(None, "Export the result", "", filters)
        path = path[0] if isinstance(path, tuple) else path
        if path:
            self._logic.ask("export", path=path)

    def _on_refine(self, *_: Any) -> None:
        box = nodes.region_to_box(self._ui.regionSelector.currentNode(), self._logic.result.volume_node)
        if box is None:
            slicer.util.warningDisplay("The region does not touch the scan; move it onto the object.")
            return
        factor = float(self._ui.factorComboBox.currentText.rstrip("x"))
        self._logic.refine_region(*box, factor)
