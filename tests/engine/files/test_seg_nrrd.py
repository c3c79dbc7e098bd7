"""Slicer's segmentation files, as read back by a plain parser and by SimpleITK."""

from __future__ import annotations

import gzip
from types import SimpleNamespace

import numpy as np
import pytest

from napari_ossnet.engine.files.seg_nrrd import write_seg_nrrd
from napari_ossnet.engine.tasks import get_task


@pytest.fixture
def a_result():
    labels = np.zeros((20, 18, 14), dtype=np.uint8)
    labels[2:6, 3:9, 4:10] = 1
    labels[6:9, 3:9, 4:10] = 2
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([1.0, 2.0, 3.0])
    affine[:3, 3] = [5.0, -7.0, 9.0]
    return SimpleNamespace(labels=labels, affine=affine, task=get_task("hippocampus"))


def test_header_and_voxels_are_what_slicer_expects(a_result, tmp_path):
    write_seg_nrrd(tmp_path / "mask.seg.nrrd", a_result)

    head, _, body = (tmp_path / "mask.seg.nrrd").read_bytes().partition(b"\n\n")
    fields = dict(line.split(":=" if ":=" in line else ": ", 1) for line in head.decode().splitlines()[1:])
    assert fields["space"] == "right-anterior-superior"
    assert fields["Segment0_LabelValue"] == "1"
    assert fields["Segment1_Name"] == a_result.task.classes[1].title
    assert "TerminologyEntry:Segmentation category and type" in fields["Segment0_Tags"]
    voxels = np.frombuffer(gzip.decompress(body), dtype=np.uint8).reshape(20, 18, 14, order="F")
    assert np.array_equal(voxels, a_result.labels)


def test_simpleitk_reads_it_in_the_same_place(a_result, tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    write_seg_nrrd(tmp_path / "mask.seg.nrrd", a_result)

    image = sitk.ReadImage(str(tmp_path / "mask.seg.nrrd"))

    point_lps = np.array(image.TransformIndexToPhysicalPoint((3, 5, 7)))
    assert np.allclose(point_lps * [-1, -1, 1], (a_result.affine @ [3, 5, 7, 1])[:3])
    assert np.array_equal(sitk.GetArrayFromImage(image).T, a_result.labels)
