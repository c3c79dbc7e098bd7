"""The tests that run inside Slicer: volume nodes in, a tiny network, segmentation, surface and table nodes out."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import slicer

from OSSNetLib import nodes
from OSSNetLib.engine_import import import_engine
from OSSNetLib.installation import Installation
from OSSNetLib.logic import OSSNetSegmentationLogic
from OSSNetLib.scripting import segment_and_wait

TIMEOUT_S = 300
SHAPE = (36, 50, 34)


class SelfTest:
    """What must hold in this Slicer.

    Args:
        requirements_file: What the engine needs; without it only the nodes are tested.
    """

    def __init__(self, requirements_file: str | Path) -> None:
        self._missing = Installation(requirements_file).missing()

    def run(self) -> str:
        """Raise AssertionError if anything is not as it should be; gives what was tested, in words."""
        self._test_nodes()
        if self._missing:
            # Slicer's test machines install nothing; a user is offered the installation by the panel.
            return f"nodes only: {', '.join(self._missing)} are not installed"
        with tempfile.TemporaryDirectory() as folder:
            weights = Path(folder) / "tiny.safetensors"
            _save_tiny_network(weights)
            self._test_segmentation(weights)
        return "nodes, and a segmentation from volume to segments"

    def _test_nodes(self) -> None:
        affine = np.array([[0, -0.9, 0, 12], [0.8, 0, 0, -20], [0, 0, 1.3, 31], [0, 0, 0, 1]])
        data = np.zeros(SHAPE, np.float32)
        data[10:20, 15:30, 8:20] = 1
        volume = nodes.array_to_volume("tiny_mr", data, affine)
        assert np.array_equal(nodes.volume_to_array(volume)[0], data), "voxels come back in their order"
        assert np.allclose(nodes.volume_to_affine(volume), affine), "the place comes back"
        slicer.mrmlScene.RemoveNode(volume)

    def _test_segmentation(self, weights: Path) -> None:
        data = np.random.default_rng(0).normal(100, 20, SHAPE).astype(np.float32)
        volume = nodes.array_to_volume("tiny_mr", data, np.diag([-1.0, -1.0, 1.0, 1.0]))
        steps: list[float] = []
        logic = OSSNetSegmentationLogic()
        logic.snapshot_shown.connect(steps.append)
        try:
            result = segment_and_wait(
                {"mr": volume},
                "hippocampus",
                logic=logic,
                timeout_s=TIMEOUT_S,
                weights=os.fspath(weights),
                device="cpu",
            )
        finally:
            logic.close()
        assert len(steps) > 1, "there is something to see before the end"
        assert steps == sorted(steps, reverse=True), "coarse steps come before fine ones"
        labels = nodes.read_labels(result.segmentation_node, result.task.classes, volume)
        assert labels.shape == data.shape, "the segments lie on the scan's voxels"
        assert result.segmentation_node.GetSegmentation().GetNumberOfSegments() == len(result.task.classes)
        assert result.table_node.GetNumberOfRows() == 1 + len(result.task.classes), "there are numbers of each"


def _save_tiny_network(path: Path) -> None:
    """A network with random weights, as a file."""
    variants, card = import_engine("networks.variants"), import_engine("model_card")
    task = import_engine("tasks").get_task("hippocampus")
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
