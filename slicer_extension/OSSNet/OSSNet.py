"""OSS-Net: segmentation of 3D scans, coarse at once, then sharper, then finer than the scan.

Only the classes that Slicer demands; what they do is in ``OSSNetLib``.
"""

from __future__ import annotations

import sys
from typing import Any

import slicer
from OSSNetLib.samples import register_sample_data
from OSSNetLib.widget import OSSNetFormWidget
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
)

DOCUMENTATION = "https://github.com/napari-ossnet/napari-ossnet/blob/main/docs/slicer.md"


class OSSNet(ScriptedLoadableModule):
    """What Slicer's module list shows."""

    def __init__(self, parent) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = "OSS-Net"
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = []
        parent.contributors = ["The napari-ossnet developers"]
        parent.helpText = _(
            "Segments a 3D scan with OSS-Net: choose a task, a volume for each modality and a network, press Segment, "
            "and watch a coarse result sharpen. For research use only; not a medical device. "
            '<a href="{url}">Documentation</a>.'
        ).format(url=DOCUMENTATION)
        parent.acknowledgementText = _(
            "Reich et al., Memory Efficient High Resolution Semantic Segmentation of 3D Medical Data, BMVC 2021."
        )
        slicer.app.connect("startupCompleted()", register_sample_data)


class OSSNetWidget(OSSNetFormWidget):
    """The module's panel."""

    def onReload(self) -> None:
        """Reload the library with the module: Slicer reloads only this file."""
        for name in [name for name in sys.modules if name.split(".")[0] == "OSSNetLib"]:
            del sys.modules[name]
        super().onReload()


class OSSNetLogic(ScriptedLoadableModuleLogic):
    """Owns the parameter node, and segments from scripts; what the panel does is in ``OSSNetLib.logic``."""

    def segment(self, images: dict[str, Any], task: str, segmentation_node: Any = None, **settings: Any) -> Any:
        """Segment, wait for the result and give its segmentation node; see ``OSSNetLib.scripting``.

        Example:
            ``OSSNet.OSSNetLogic().segment({"mr": getNode("hippocampus_001")}, "hippocampus")``
        """
        from OSSNetLib.scripting import segment_and_wait

        return segment_and_wait(images, task, segmentation_node, **settings).segmentation_node


class OSSNetTest(ScriptedLoadableModuleTest):
    """The whole path inside Slicer with a tiny network; run it with *Reload and Test*."""

    def setUp(self) -> None:
        """An empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        """Every test of the module."""
        self.setUp()
        self.test_whole_path()

    def test_whole_path(self) -> None:
        """From volume nodes to segments, surfaces and numbers."""
        from pathlib import Path

        from OSSNetLib.self_test import SelfTest

        tested = SelfTest(Path(__file__).parent / "Resources" / "requirements.txt").run()
        self.delayDisplay(f"OSS-Net: the tests passed ({tested}).")
