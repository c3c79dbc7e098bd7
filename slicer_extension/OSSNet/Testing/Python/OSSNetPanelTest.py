"""What a user sees of the module inside Slicer, without a network: it opens and says what it needs."""

from __future__ import annotations

import unittest

import slicer


class OSSNetPanelTest(unittest.TestCase):
    """The panel of the running application."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()
        self.widget = slicer.util.getModuleWidget("OSSNet")

    def test_it_says_what_it_is_for(self) -> None:
        assert "Research use only" in self.widget.ui.noticeLabel.text

    def test_without_a_volume_nothing_can_be_segmented_and_it_says_why(self) -> None:
        self.widget.panel.update()
        assert not self.widget.ui.applyButton.enabled
        assert self.widget.ui.problemsLabel.text

    def test_without_a_result_nothing_can_be_exported_or_refined(self) -> None:
        for name in ("thresholdButton", "exportButton", "reportButton", "refineButton"):
            assert not getattr(self.widget.ui, name).enabled, name

    def test_a_closed_scene_leaves_a_bound_panel(self) -> None:
        self.widget.enter()
        slicer.mrmlScene.Clear()
        self.widget.enter()
        self.widget.ui.liveCheckBox.checked = False
        node = self.widget.logic.getParameterNode()
        assert node.GetParameter("is_live").lower() in ("false", "0")
