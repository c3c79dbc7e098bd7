"""Opening files as layers and saving layers as files: what went in comes out, in its place."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from napari.layers import Image, Labels, Layer, Surface

from napari_ossnet.engine.errors import InputError, OutputError
from napari_ossnet.engine.geometry import voxel_to_world
from napari_ossnet.engine.volume import read_volume, write_mask, write_volume
from napari_ossnet.widget import sample_data
from napari_ossnet.widget.layers import METADATA_KEY, mesh_to_layer, placement_of_scan
from napari_ossnet.widget.readers import get_reader
from napari_ossnet.widget.writers import write_labels, write_surface


def open_file(path):
    reader = get_reader(str(path))
    assert reader is not None
    return [Layer.create(*layer) for layer in reader(str(path))]


def napari_of_world(points_world):
    return np.stack([points_world[:, 2], -points_world[:, 1], -points_world[:, 0]], axis=1)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".mgz", ".nrrd", ".mha"])
@pytest.mark.parametrize("orientation", ["RAS", "PIR, thick slices", "oblique"])
def test_a_scan_file_becomes_a_layer_in_its_place(tmp_path, sphere, suffix, orientation):
    volume = sphere.make_scan(sphere.affines[orientation], (12, 13, 14))
    write_volume(tmp_path / f"scan{suffix}", volume.data[0], volume)
    (layer,) = open_file(tmp_path / f"scan{suffix}")
    assert isinstance(layer, Image)
    assert layer.name == "scan"
    index = np.array([[3, 7, 11]])
    found = layer.world_to_data(napari_of_world(voxel_to_world(volume.affine, index))[0])
    np.testing.assert_allclose(found, np.round(found), atol=1e-3)
    assert layer.data[tuple(np.round(found).astype(int))] == volume.data[0, 3, 7, 11]


def test_a_mask_file_becomes_a_labels_layer(tmp_path, sphere):
    volume = sphere.make_scan(sphere.affines["SAL"], (12, 13, 14))
    mask = (volume.data[0] > 150).astype(np.uint8)
    write_mask(tmp_path / "x.nii.gz", mask, volume)
    (layer,) = open_file(tmp_path / "x.nii.gz")
    assert isinstance(layer, Labels)
    assert layer.data.sum() == mask.sum()


def test_a_label_map_of_many_labels_is_told_by_its_name(tmp_path, sphere):
    volume = sphere.make_scan(sphere.affines["RAS"], (12, 13, 14))
    for name, kind in (("case_seg.nii.gz", Labels), ("case_t1.nii.gz", Image)):
        write_volume(tmp_path / name, np.round(volume.data[0]), volume)
        (layer,) = open_file(tmp_path / name)
        assert isinstance(layer, kind)


def test_a_few_channels_become_a_layer_each_with_the_first_shown(tmp_path, sphere):
    volume = sphere.make_scan(sphere.affines["LPS"], (12, 13, 14))
    write_volume(tmp_path / "case.nii.gz", np.concatenate([volume.data, volume.data + 1]), volume)
    first, second = open_file(tmp_path / "case.nii.gz")
    assert (first.visible, second.visible) == (True, False)
    np.testing.assert_array_equal(second.data, first.data + 1)


def test_a_long_series_stays_one_layer(tmp_path, sphere):
    volume = sphere.make_scan(sphere.affines["LPS"], (6, 7, 8))
    write_volume(tmp_path / "series.nii.gz", np.repeat(volume.data, 20, axis=0), volume)
    (layer,) = open_file(tmp_path / "series.nii.gz")
    assert layer.data.shape == (20, 8, 7, 6)
    assert layer.axis_labels == ("channel", "z", "y", "x")


def test_real_files_of_every_kind_open(a_data_folder):
    paths = [
        a_data_folder / "odd" / "test.mgz",
        a_data_folder / "odd" / "FLAIR.nrrd",
        a_data_folder / "dicom_head",
        a_data_folder / "ct_liver" / "ct.nii.gz",
    ]
    for path in paths:
        (layer, *_) = open_file(path)
        volume = read_volume(path)
        index = np.array([size // 2 for size in volume.shape])
        world = napari_of_world(voxel_to_world(volume.affine, index[np.newaxis]))[0]
        at = np.round(layer.world_to_data(world)[-3:]).astype(int)
        assert layer.data[tuple(at)] == pytest.approx(volume.data[0][tuple(index)])


def test_a_ct_is_shown_in_a_ct_window(a_data_folder):
    (layer,) = open_file(a_data_folder / "ct_liver" / "ct.nii.gz")
    assert tuple(layer.contrast_limits) == (-160.0, 240.0)


def test_other_peoples_files_and_folders_are_left_alone(tmp_path):
    (tmp_path / "folder.zarr").mkdir()
    (tmp_path / "folder.zarr" / "data").write_text("x", encoding="utf-8")
    assert get_reader(str(tmp_path / "folder.zarr")) is None
    assert get_reader(str(tmp_path / "picture.tif")) is None
    assert get_reader([]) is None


@pytest.mark.parametrize("orientation", ["RAS", "PIR, thick slices", "oblique"])
def test_labels_are_saved_in_the_axis_order_of_the_scan(tmp_path, sphere, orientation):
    volume = sphere.make_scan(sphere.affines[orientation], (12, 13, 14))
    mask = (volume.data[0] > 150).astype(np.uint8)
    write_mask(tmp_path / "mask.nii.gz", mask, volume)
    (layer,) = open_file(tmp_path / "mask.nii.gz")
    data, attributes, kind = layer.as_layer_data_tuple()
    assert kind == "labels"
    assert write_labels(str(tmp_path / "again.nii.gz"), data, attributes) == [str(tmp_path / "again.nii.gz")]
    first, again = (nibabel.load(tmp_path / name) for name in ("mask.nii.gz", "again.nii.gz"))
    np.testing.assert_array_equal(np.asarray(again.dataobj), np.asarray(first.dataobj))
    np.testing.assert_allclose(again.affine, first.affine, atol=1e-6)


def test_labels_that_fit_no_mask_are_refused_in_words(tmp_path):
    flat = Labels(np.zeros((4, 5), int)).as_layer_data_tuple()
    many = Labels(np.full((4, 5, 6), 300)).as_layer_data_tuple()
    with pytest.raises(OutputError, match="three axes"):
        write_labels(str(tmp_path / "a.nii.gz"), *flat[:2])
    with pytest.raises(OutputError, match="up to 255"):
        write_labels(str(tmp_path / "a.nii.gz"), *many[:2])


def a_surface_layer(volume):
    """A tetrahedron whose corners are known in the world."""
    corners = voxel_to_world(volume.affine, np.array([[2, 3, 4], [9, 3, 4], [2, 11, 4], [2, 3, 12]]))
    faces = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])
    placement = placement_of_scan(volume)
    vertices, transform = mesh_to_layer(corners, placement)
    return corners, Surface((vertices, faces), metadata={METADATA_KEY: placement}, **transform)


@pytest.mark.parametrize("suffix", [".stl", ".ply", ".obj", ".vtp"])
@pytest.mark.parametrize("orientation", ["PIR, thick slices", "oblique"])
def test_slicer_finds_saved_surfaces_in_place(tmp_path, sphere, suffix, orientation):
    corners, layer = a_surface_layer(sphere.make_scan(sphere.affines[orientation], (12, 13, 14)))
    data, attributes, _ = layer.as_layer_data_tuple()
    path = tmp_path / f"mesh{suffix}"
    write_surface(str(path), data, attributes)
    found = np.array(read_in_slicer(path))
    distances = np.linalg.norm(found[:, np.newaxis] - corners, axis=2)
    assert distances.min(axis=0).max() < 1e-3, "every corner is there, in RAS mm"
    assert distances.min(axis=1).max() < 1e-3, "and nothing else"


def read_in_slicer(path: Path) -> list[list[float]]:
    """Points of a model as Slicer's own storage node reads it; in a process of its own, for slicer-core brings Qt-free
    modules that must not meet napari's."""
    code = f"""
import json, slicer
from slicer import vtkMRMLModelNode, vtkMRMLModelStorageNode, vtkMRMLScene
scene = vtkMRMLScene()
model, storage = vtkMRMLModelNode(), vtkMRMLModelStorageNode()
scene.AddNode(model); scene.AddNode(storage)
storage.SetFileName({str(path)!r})
assert storage.ReadData(model), "Slicer can't read it"
mesh = model.GetMesh()
print("POINTS" + json.dumps([mesh.GetPoint(index) for index in range(mesh.GetNumberOfPoints())]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, encoding="utf-8", timeout=300, check=False
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("POINTS")]
    assert lines, done.stdout + done.stderr
    return json.loads(lines[0].removeprefix("POINTS"))


def test_the_synthetic_brain_has_four_modalities_with_telling_names():
    from napari_ossnet.engine.scans.assignment import guess_modality
    from napari_ossnet.engine.tasks import get_task

    layers = sample_data.synthetic_brain()
    assert [kind for _, _, kind in layers] == ["image"] * 4
    assert [keywords["visible"] for _, keywords, _ in layers] == [True, False, False, False]
    guessed = [guess_modality(get_task("brats"), keywords["name"]) for _, keywords, _ in layers]
    assert sorted(guessed) == ["flair", "t1", "t1ce", "t2"]


def test_the_samples_are_the_scans_that_we_know(a_data_folder):
    from napari_ossnet.engine.checksums import sha256_of

    for sample in sample_data.MS_BRAIN:
        assert sha256_of(a_data_folder / "ms_brain" / sample.name.replace("ms_", "")) == sample.sha256
    assert sha256_of(a_data_folder / "ct_liver" / "ct.nii.gz") == sample_data.CT_ABDOMEN[0].sha256
    hippocampus = a_data_folder / "hippocampus" / "images" / "hippocampus_001.nii.gz"
    assert sha256_of(hippocampus) == sample_data.HIPPOCAMPUS[0].sha256


def test_a_sample_is_downloaded_once_and_checked(tmp_path, a_data_folder, a_server):
    source = a_data_folder / "hippocampus" / "images" / "hippocampus_001.nii.gz"
    sample = sample_data.SampleFile(name="scan.nii.gz", url=a_server(source), sha256=sample_data.HIPPOCAMPUS[0].sha256)
    path = sample_data.sample_path(sample, tmp_path)
    assert path.read_bytes() == source.read_bytes()
    assert (
        sample_data.sample_path(
            sample_data.SampleFile(name=sample.name, url="http://nowhere", sha256=sample.sha256), tmp_path
        )
        == path
    )
    wrong = sample_data.SampleFile(name="other.nii.gz", url=sample.url, sha256="0" * 64)
    with pytest.raises(InputError, match="not the scan that we know"):
        sample_data.sample_path(wrong, tmp_path)
    assert not (tmp_path / "other.nii.gz").exists()


@pytest.fixture
def a_server(tmp_path_factory):
    """Serves single files from this machine."""
    import functools
    import http.server
    import shutil
    import threading

    folder = tmp_path_factory.mktemp("served")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()

    def serve(path: Path) -> str:
        shutil.copy(path, folder / path.name)
        return f"http://127.0.0.1:{server.server_port}/{path.name}"

    yield serve
    server.shutdown()
    server.server_close()
    thread.join()
