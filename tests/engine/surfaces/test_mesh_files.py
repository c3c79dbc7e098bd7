"""Mesh files read back by other programs, and marked as RAS."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from napari_ossnet.engine.errors import OutputError
from napari_ossnet.engine.files.mesh_files import MESH_SUFFIXES, write_mesh
from napari_ossnet.engine.surfaces.surface import Mesh, extract_surface


@pytest.fixture
def a_mesh(a_ball):
    return extract_surface(a_ball)


@pytest.mark.parametrize("suffix", [".stl", ".ply", ".obj", ".glb"])
def test_trimesh_reads_back_what_was_written(suffix, a_mesh, tmp_path):
    write_mesh(tmp_path / f"mesh{suffix}", a_mesh)

    body = trimesh.load(tmp_path / f"mesh{suffix}", force="mesh")

    assert body.is_watertight
    assert body.volume == pytest.approx(a_mesh.volume_mm3, rel=1e-4)
    assert np.allclose(body.bounds, [a_mesh.vertices_world.min(axis=0), a_mesh.vertices_world.max(axis=0)], atol=1e-3)


@pytest.mark.parametrize("suffix", [".stl", ".ply", ".obj", ".vtp"])
def test_vtk_reads_back_what_was_written(suffix, a_mesh, tmp_path):
    vtk = pytest.importorskip("vtk")
    write_mesh(tmp_path / f"mesh{suffix}", a_mesh)
    reader = {
        ".stl": vtk.vtkSTLReader,
        ".ply": vtk.vtkPLYReader,
        ".obj": vtk.vtkOBJReader,
        ".vtp": vtk.vtkXMLPolyDataReader,
    }[suffix]()
    reader.SetFileName(str(tmp_path / f"mesh{suffix}"))
    reader.Update()

    body = reader.GetOutput()

    assert body.GetNumberOfPolys() == len(a_mesh.faces)
    assert body.GetNumberOfPoints() == len(a_mesh.vertices_world)
    masses = vtk.vtkMassProperties()
    masses.SetInputData(body)
    assert masses.GetVolume() == pytest.approx(a_mesh.volume_mm3, rel=1e-4)


def test_every_format_says_that_it_is_ras(a_mesh, tmp_path):
    heads = {}
    for suffix in (".stl", ".ply", ".obj"):
        write_mesh(tmp_path / f"mesh{suffix}", a_mesh)
        heads[suffix] = (tmp_path / f"mesh{suffix}").read_bytes()[:200]

    assert b"SPACE=RAS" in heads[".stl"][:80]
    assert not heads[".stl"].startswith(b"solid")
    assert b"\ncomment SPACE=RAS\n" in heads[".ply"]
    assert heads[".obj"].startswith(b"#")
    assert b"SPACE=RAS" in heads[".obj"].splitlines()[0]


def test_an_empty_mesh_can_be_written_in_every_format(tmp_path):
    nothing = Mesh(vertices_world=np.empty((0, 3)), faces=np.empty((0, 3), dtype=np.int64))

    for suffix in MESH_SUFFIXES:
        write_mesh(tmp_path / f"nothing{suffix}", nothing)
        assert (tmp_path / f"nothing{suffix}").stat().st_size > 0


def test_an_unknown_suffix_is_refused_and_nothing_is_written(a_mesh, tmp_path):
    with pytest.raises(OutputError, match=r"\.stl"):
        write_mesh(tmp_path / "mesh.xyz", a_mesh)

    assert not list(tmp_path.glob("mesh*"))
