"""Results as files: the suffix says what is written."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
import trimesh

from napari_ossnet.engine.errors import OutputError
from napari_ossnet.engine.files.export import export_result


@pytest.fixture
def a_result(a_session, a_volume, toy):
    return toy.run(a_session.segment(toy.request(a_volume)))[1]


def test_the_mask_is_written_in_the_scans_place(a_result, a_volume, tmp_path):
    export_result(a_result, tmp_path / "mask.nii.gz")

    image = nibabel.load(tmp_path / "mask.nii.gz")
    assert np.allclose(image.affine, a_volume.affine)
    assert np.array_equal(np.asarray(image.dataobj), a_result.labels)
    assert image.get_data_dtype() == np.uint8


def test_the_surface_lies_in_the_same_place_as_the_mask(a_result, toy, tmp_path):
    export_result(a_result, tmp_path / "surface.ply")

    body = trimesh.load(tmp_path / "surface.ply")
    assert np.allclose(body.vertices.mean(axis=0), toy.centre, atol=0.1)
    assert body.is_watertight


def test_the_report_is_written_as_json(a_result, tmp_path):
    export_result(a_result, tmp_path / "report.json")

    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8")) == json.loads(
        json.dumps(a_result.report())
    )


def test_segments_are_written_for_slicer(a_result, tmp_path):
    export_result(a_result, tmp_path / "mask.seg.nrrd")

    assert b"Segment0_LabelValue:=2" in (tmp_path / "mask.seg.nrrd").read_bytes()


def test_an_unknown_suffix_is_refused(a_result, tmp_path):
    with pytest.raises(OutputError, match="must end in"):
        export_result(a_result, tmp_path / "result.docx")

    assert not list(tmp_path.glob("result*"))
