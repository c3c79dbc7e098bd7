"""What Slicer's own 3D view shows of a result: it is there, in its colours, on the right side of the patient."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
MODULE = TESTS.parents[1] / "slicer_extension" / "OSSNet"


def test_segments_show_in_slicers_3d_view_where_the_patient_has_them(tmp_path: Path) -> None:
    from PySide6.QtGui import QImage

    picture = tmp_path / "view.png"
    environment = dict(os.environ, VTK_DEFAULT_OPENGL_WINDOW="vtkEGLRenderWindow", PYTHONPATH=str(TESTS))
    command = [sys.executable, "-m", "rig.view", str(tmp_path), str(picture), str(MODULE)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, encoding="utf-8", check=False)
    if run.returncode < 0:
        pytest.skip(f"VTK can't render here without a screen (signal {-run.returncode}); install libegl1 and Mesa")
    assert run.returncode == 0, run.stderr
    image = QImage(str(picture))
    reds, blues = [], []
    for row in range(0, image.height(), 4):
        for column in range(0, image.width(), 4):
            color = image.pixelColor(column, row)
            if color.red() > 90 and color.blue() < 60:
                reds.append(column)
            elif color.blue() > 90 and color.red() < 60:
                blues.append(column)
    # Seen from the front, the patient's right is on the left.
    assert len(reds) > 100
    assert len(blues) > 30
    assert sum(reds) / len(reds) < image.width() / 2 < sum(blues) / len(blues)
