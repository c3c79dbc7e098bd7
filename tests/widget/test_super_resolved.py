"""PFSeg's restored image in napari: offered after its runs alone, and put where the scan lies, below the labels."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
import pytest

from napari_ossnet.engine.volume import Volume

pytestmark = pytest.mark.qt

NAME = "super-resolved by PFSeg"


def restoring_session(sphere: Any) -> Any:
    """A session whose network has restored an image: voxels half as wide, of the scan's middle, one of them bright."""

    class RestoringSession(sphere.FormulaSession):
        has_super_resolved_image = True

        def super_resolved_image(self) -> Generator[Any, None, Volume]:
            yield from ()
            scan = self.requests[-1].volume
            finer = scan.affine @ np.diag([0.5, 0.5, 0.5, 1.0])
            data = np.zeros((1, 20, 16, 12), dtype=np.float32)
            data[0, 7, 3, 5] = 1.0
            return Volume(data=data, affine=finer, channel_names=(NAME,))

    return RestoringSession()


@pytest.mark.parametrize("axes", ["RAS", "LPS"])
def test_the_image_lies_in_the_scan_s_world_below_the_labels(dock: Any, sphere: Any, axes: str) -> None:
    docked = dock(restoring_session(sphere))
    scan = sphere.make_scan(sphere.affines.get(axes, np.diag([-1.0, -1.0, 1.0, 1.0])))
    docked.open(scan)
    button = docked.widget.view.result.image
    assert button.isHidden()
    docked.run()
    assert not button.isHidden()
    button.click()
    docked.wait_idle()
    layer = docked.viewer.layers[NAME]
    assert docked.viewer.layers.index(layer) < docked.viewer.layers.index(docked.labels)
    (bright,) = np.argwhere(layer.data == 1.0)
    ras = (scan.affine @ np.diag([0.5, 0.5, 0.5, 1.0]) @ [7, 3, 5, 1])[:3]
    # napari's world is (S, -A, -R).
    assert np.allclose(layer.data_to_world(bright), [ras[2], -ras[1], -ras[0]])
    # It is a network's work: never offered as a scan.
    assert all(NAME not in choice.title for choice in docked.state.images)


def test_other_networks_offer_no_image(a_ready_widget: Any) -> None:
    a_ready_widget.run()
    assert a_ready_widget.state.has_result
    assert a_ready_widget.widget.view.result.image.isHidden()
