"""The test that runs inside Slicer: a volume node in, a tiny network, a segmentation node out."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import numpy as np
import slicer

from OSSNetLib import nodes
from OSSNetLib.logic import OSSNetSegmentationLogic, import_engine

TIMEOUT_S = 180


class SelfTest:
    """Segments a small volume by a network with random weights, streams, and looks at what lies in the scene."""

    def run(self) -> None:
        """Raise AssertionError if anything is not as it should be."""
        with tempfile.TemporaryDirectory() as folder:
            weights = Path(folder) / "tiny.safetensors"
            self._save_tiny_network(weights)
            self._segment(weights)

    def _save_tiny_network(self, path: Path) -> None:
        variants = import_engine("networks.variants")
        task = import_engine("tasks").get_task("hippocampus")
        card = import_engine("model_card")
        network = variants.build_network("x", task)
        import_engine("checkpoints").save_weights(
            path,
            network,
            card.ModelCard(
                name="tiny",
                title="Tiny",
                task=task,
                variant="x",
                network_config=network.config.to_dict(),
                training_data="none",
                licence="MIT",
                citation="",
            ),
        )

    def _segment(self, weights: Path) -> None:
        data = np.random.default_rng(0).normal(100, 20, (36, 50, 34)).astype(np.float32)
        volume = nodes.array_to_volume("tiny_mr", data, np.diag([1.0, 1.0, 1.0, 1.0]))
        logic = OSSNetSegmentationLogic()
        steps: list[float] = []
        reports: list[dict] = []
        failures: list[str] = []
        logic.snapshot_shown.connect(steps.append)
        logic.finished.connect(reports.append)
        logic.failed.connect(failures.append)
        try:
            logic.segment("hippocampus", {"mr": volume}, weights=os.fspath(weights), device="cpu")
            deadline = time.monotonic() + TIMEOUT_S
            while logic.is_busy and time.monotonic() < deadline:
                slicer.app.processEvents()
                time.sleep(0.01)
            assert not failures, failures
            assert reports, f"no result within {TIMEOUT_S} s"
            assert steps == sorted(steps, reverse=True), "coarse steps come before fine ones"
            labels = nodes.read_labels(logic.result.segmentation_node, logic.result.task.classes, volume)
            assert labels.shape == data.shape
        finally:
            logic.close()
