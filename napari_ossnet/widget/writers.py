"""Owns napari's way of asking us to save a layer: labels as masks, surfaces as meshes in RAS mm."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_ossnet.engine.errors import OutputError
from napari_ossnet.engine.volume import write_mask
from napari_ossnet.widget.layers import placement_of_layer, vertices_to_world
from napari_ossnet.widget.result_layers import THINNED_KEY


def write_labels(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Writes a labels layer as a mask, in the axis order and the place of the scan that it belongs to.

    Raises:
        OutputError: The labels don't fit a mask, or the file can't be written.
    """
    from napari.layers import Labels

    layer = Labels(np.asarray(data), **attributes)
    if layer.ndim != 3:
        raise OutputError(f"A mask has three axes, '{layer.name}' has {layer.ndim}; save one part of it.")
    if layer.data.max(initial=0) > 255:
        raise OutputError(f"A mask holds labels up to 255, '{layer.name}' has {layer.data.max()}; merge some of them.")
    placement = placement_of_layer(layer)
    labels = placement.to_scan(np.asarray(layer.data)).astype(np.uint8)
    write_mask(path, labels, (placement.scan_affine, placement.affine_codes))
    return [path]


def write_surface(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Writes a surface layer as a mesh in RAS mm.

    Raises:
        OutputError: The surface is shown coarser than it is, or the file can't be written.
    """
    from napari.layers import Surface

    from napari_ossnet.engine.files.mesh_files import write_mesh
    from napari_ossnet.engine.surfaces.surface import Mesh

    layer = Surface(data, **attributes)
    if layer.metadata.get(THINNED_KEY):
        raise OutputError(
            f"'{layer.name}' is shown with fewer triangles than the surface has; save it in full with 'Surface…' in "
            "the panel that made it."
        )
    mesh = Mesh(vertices_world=vertices_to_world(layer.vertices, layer), faces=np.asarray(layer.faces, dtype=np.int64))
    write_mesh(path, mesh)
    return [path]
