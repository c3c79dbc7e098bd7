"""Writes meshes in RAS millimetres, and says so in every file: what is unmarked, Slicer takes for LPS and mirrors."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from napari_ossnet.engine.errors import OutputError
from napari_ossnet.engine.files.atomic import atomic_path
from napari_ossnet.engine.surfaces.surface import Mesh

#: What Slicer looks for in an STL's header and in the comments of PLY and OBJ.
SPACE = "SPACE=RAS"
_MADE_BY = f"napari-ossnet, mm, {SPACE}"


def write_mesh(path: str | Path, mesh: Mesh) -> None:
    """Writes a mesh in the format that the suffix asks for: .stl, .ply, .obj, .glb or .vtp.

    Raises:
        OutputError: The suffix is none of these, or the file can't be written.
    """
    refuse_unknown_mesh(path)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        _WRITERS[Path(path).suffix.lower()](file, mesh)


def refuse_unknown_mesh(path: str | Path) -> None:
    """Lets a name pass that ``write_mesh`` can write, before any long work.

    Raises:
        OutputError: The suffix names no format that can be written.
    """
    if Path(path).suffix.lower() not in _WRITERS:
        raise OutputError(f"Can't write {path}: a surface's name must end in one of {', '.join(_WRITERS)}.")


def _write_stl(file: BinaryIO, mesh: Mesh) -> None:
    """Binary STL: 80 bytes of header, the number of triangles, and 50 bytes for each."""
    corners = mesh.vertices_world[mesh.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
    triangle = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attributes", "<u2")])
    triangles = np.zeros(len(corners), dtype=triangle)
    triangles["normal"], triangles["corners"] = normals, corners
    file.write(_MADE_BY.encode("ascii").ljust(80, b"\0"))
    file.write(np.uint32(len(triangles)).tobytes())
    file.write(triangles.tobytes())


def _write_ply(file: BinaryIO, mesh: Mesh) -> None:
    header = [
        "ply",
        "format binary_little_endian 1.0",
        "comment napari-ossnet, mm",
        # Slicer wants the mark at the beginning of a comment of its own.
        f"comment {SPACE}",
        f"element vertex {len(mesh.vertices_world)}",
        *(f"property float {axis}" for axis in "xyz"),
        f"element face {len(mesh.faces)}",
        "property list uchar int vertex_indices",
        "end_header",
    ]
    faces = np.zeros(len(mesh.faces), dtype=np.dtype([("count", "u1"), ("corners", "<i4", 3)]))
    faces["count"], faces["corners"] = 3, mesh.faces
    file.write(("\n".join(header) + "\n").encode("ascii"))
    file.write(mesh.vertices_world.astype("<f4").tobytes())
    file.write(faces.tobytes())


def _write_obj(file: BinaryIO, mesh: Mesh) -> None:
    file.write(f"# {_MADE_BY}\n".encode("ascii"))
    np.savetxt(file, mesh.vertices_world, fmt="v %.5f %.5f %.5f")
    np.savetxt(file, mesh.faces + 1, fmt="f %d %d %d")


def _write_vtp(file: BinaryIO, mesh: Mesh) -> None:
    """VTK's XML PolyData, with the field that Slicer reads the space from."""
    count = len(mesh.faces)
    space = " ".join(str(byte) for byte in b"RAS\0")
    points = _data_array("Float32", mesh.vertices_world.astype("<f4"), 'NumberOfComponents="3"')
    connectivity = _data_array("Int64", mesh.faces.astype("<i8").ravel(), 'Name="connectivity"')
    offsets = _data_array("Int64", np.arange(3, 3 * count + 1, 3, dtype="<i8"), 'Name="offsets"')
    file.write(
        f"""<?xml version="1.0"?>
<VTKFile type="PolyData" version="1.0" byte_order="LittleEndian" header_type="UInt64">
<PolyData>
<FieldData><Array type="String" Name="SPACE" NumberOfTuples="1" format="ascii">{space}</Array></FieldData>
<Piece NumberOfPoints="{len(mesh.vertices_world)}" NumberOfPolys="{count}">
<Points>{points}</Points>
<Polys>{connectivity}{offsets}</Polys>
</Piece>
</PolyData>
</VTKFile>
""".encode("ascii")
    )


def _data_array(kind: str, values: np.ndarray, attributes: str) -> str:
    """Numbers as VTK has them inline: the number of bytes and the bytes, together in base 64."""
    content = base64.b64encode(np.uint64(values.nbytes).tobytes() + values.tobytes()).decode("ascii")
    return f'<DataArray type="{kind}" {attributes} format="binary">{content}</DataArray>'


def _write_glb(file: BinaryIO, mesh: Mesh) -> None:
    """Binary glTF: the same RAS millimetres, although viewers take them for metres with y upwards."""
    import trimesh

    body = trimesh.Trimesh(vertices=mesh.vertices_world, faces=mesh.faces, process=False, metadata={"SPACE": "RAS"})
    exported = trimesh.Scene(body).export(file_type="glb")
    assert isinstance(exported, bytes)
    file.write(exported)


_WRITERS: dict[str, Callable[[BinaryIO, Mesh], None]] = {
    ".stl": _write_stl,
    ".ply": _write_ply,
    ".obj": _write_obj,
    ".glb": _write_glb,
    ".vtp": _write_vtp,
}
#: What a surface may be called.
MESH_SUFFIXES = tuple(_WRITERS)
