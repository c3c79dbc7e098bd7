"""What a user may wish of a surface before it leaves: small pieces left out, smoothed, thinned, and all of it said."""

from __future__ import annotations

from dataclasses import dataclass

from napari_ossnet.engine.surfaces.surface import Mesh
from napari_ossnet.engine.surfaces.surface_components import drop_small


@dataclass(frozen=True, slots=True, kw_only=True)
class SurfaceWishes:
    """How a surface is to be finished; the defaults leave it as it is."""

    #: Objects and cavities that enclose less than this are left out, in mL.
    least_ml: float = 0.0
    #: About so many triangles; None keeps all.
    faces: int | None = None
    #: Passes of smoothing; 20 is usual.
    smoothing: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedSurface:
    """A finished surface and what was done to it, in sentences for the user and the report."""

    mesh: Mesh
    sentences: tuple[str, ...]


def finish_surface(mesh: Mesh, wishes: SurfaceWishes) -> FinishedSurface:
    """The surface as wished for.

    Raises:
        InputError: VTK is needed and missing, or a wish makes no sense.
    """
    kept = drop_small(mesh, wishes.least_ml) if wishes.least_ml > 0 else None
    sentences = [kept.sentence] if kept is not None and kept.sentence else []
    mesh = mesh if kept is None else kept.mesh
    if wishes.faces is None and wishes.smoothing == 0:
        return FinishedSurface(mesh=mesh, sentences=tuple(sentences))
    from napari_ossnet.engine.surfaces.surface_simplification import simplify

    changed = simplify(mesh, faces=wishes.faces, smoothing=wishes.smoothing)
    return FinishedSurface(mesh=changed.mesh, sentences=(*sentences, changed.sentence))
