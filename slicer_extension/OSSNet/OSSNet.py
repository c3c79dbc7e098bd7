"""OSS-Net: segmentation of 3D scans, coarse at once, then sharper, then finer than the scan.

Only the classes that Slicer demands; what they do is in ``OSSNetLib``.
"""

from __future__ import annotations

import sys

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
            "and watch a coarse result sharpen. For research use only; not a medical device."
        )
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
    """Owns the parameter node; the work is done by ``OSSNetLib.logic``."""


class OSSNetTest(ScriptedLoadableModuleTest):
    """The whole path inside Slicer with a tiny network; run it with *Reload and Test*."""

    def runTest(self) -> None:
        """Every test of the module."""
        from OSSNetLib.self_test import SelfTest

        slicer.mrmlScene.Clear()
        SelfTest().run()
        self.delayDisplay("OSS-Net: the tests passed.")
