"""The part of the form that shows what was found: numbers, threshold, export, and a region refined further."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from OSSNetLib import dialogs, nodes
from OSSNetLib.logic import OSSNetSegmentationLogic
from OSSNetLib.results import COLUMNS, table_rows
from OSSNetLib.settings import Settings

FILTERS = (
    "NIfTI mask (*.nii.gz *.nii);;NRRD mask (*.nrrd);;Slicer segmentation (*.seg.nrrd);;STL surface (*.stl);;"
    "OBJ surface (*.obj);;PLY surface (*.ply);;JSON report (*.json);;Table (*.csv)"
)


class ResultSection:
    """Results table, threshold slider, export, report, region refinement.

    Args:
        ui: The form's widgets.
        logic: Runs what the buttons ask for.
        settings: Knows the folder that was used last.
    """

    def __init__(self, ui: Any, logic: OSSNetSegmentationLogic, settings: Settings) -> None:
        self._ui, self._logic, self._settings = ui, logic, settings
        ui.thresholdButton.connect("clicked(bool)", self._on_threshold)
        ui.exportButton.connect("clicked(bool)", self._on_export)
        ui.reportButton.connect("clicked(bool)", self._on_report)
        ui.superResolvedButton.connect("clicked(bool)", self._on_super_resolved)
        ui.fitRegionButton.connect("clicked(bool)", self._on_fit_region)
        ui.refineButton.connect("clicked(bool)", self._on_refine)
        ui.regionSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._on_region_chosen)
        logic.finished.connect(self._on_finished)
        logic.answered.connect(self._on_answered)

    def update(self, *unused: Any) -> None:
        """Enable what can be pressed now; numbers go with the result that they are of."""
        is_ready = self._logic.has_result and not self._logic.is_busy
        for button in (self._ui.thresholdButton, self._ui.exportButton, self._ui.reportButton):
            button.setEnabled(is_ready)
        has_image = self._logic.has_result and self._logic.has_super_resolved_image
        self._ui.superResolvedButton.setVisible(has_image)
        self._ui.superResolvedButton.setEnabled(is_ready and has_image)
        has_region = self._ui.regionSelector.currentNode() is not None
        self._ui.fitRegionButton.setEnabled(is_ready and has_region)
        self._ui.refineButton.setEnabled(is_ready and has_region)
        if not self._logic.has_result:
            self._ui.resultsTable.setRowCount(0)

    def _on_finished(self, report: dict[str, Any]) -> None:
        rows = table_rows(report, self._logic.result.task)
        table = self._ui.resultsTable
        table.setColumnCount(1 + len(COLUMNS))
        table.setHorizontalHeaderLabels([_("Object"), *(title for key, title in COLUMNS)])
        table.setRowCount(len(rows))
        for row, values in enumerate(rows):
            for column, value in enumerate(values):
                table.setItem(row, column, qt.QTableWidgetItem(value))
        table.resizeColumnsToContents()
        self.update()

    def _on_threshold(self, *unused: Any) -> None:
        self._logic.rethreshold(self._ui.thresholdSlider.value)

    def _on_export(self, *unused: Any) -> None:
        path = dialogs.save_file(_("Export the result"), FILTERS, self._settings, f"{self._name()}.nii.gz")
        if path:
            self._logic.ask("export", path=path)

    def _on_report(self, *unused: Any) -> None:
        name = f"{self._name()}.html"
        path = dialogs.save_file(_("Write a report"), _("Report with pictures (*.html)"), self._settings, name)
        if path:
            self._logic.ask("export", path=path)

    def _on_super_resolved(self, *unused: Any) -> None:
        self._logic.ask("super_resolved")

    def _name(self) -> str:
        """A file name for the result: what no file system minds."""
        name = self._logic.result.segmentation_node.GetName() or "result"
        return "".join(sign if sign.isalnum() or sign in "-_" else "_" for sign in name)

    def _on_answered(self, command: str, words: dict[str, Any]) -> None:
        if command == "export" and words["path"].lower().endswith(".html"):
            dialogs.show_page(words["path"])

    def _on_region_chosen(self, *unused: Any) -> None:
        region = self._ui.regionSelector.currentNode()
        # One that the selector has just made lies nowhere; the object is what one would draw it around.
        if region is not None and self._logic.has_result and nodes.is_empty_region(region):
            self._fit(region)
        self.update()

    def _on_fit_region(self, *unused: Any) -> None:
        self._fit(self._ui.regionSelector.currentNode())

    def _fit(self, region: Any) -> None:
        nodes.fit_region(region, self._logic.result.segmentation_node, self._logic.result.volume_node)

    def _on_refine(self, *unused: Any) -> None:
        region = self._ui.regionSelector.currentNode()
        if nodes.is_empty_region(region):
            self._fit(region)
        box = nodes.region_to_box(region, self._logic.result.volume_node)
        if box is None:
            slicer.util.warningDisplay(
                _(
                    "The region {name} does not touch the scan; move it onto the object, or press Around the object."
                ).format(name=region.GetName())
            )
            return
        self._logic.refine_region(*box, float(self._ui.factorComboBox.currentText.rstrip("x")))
