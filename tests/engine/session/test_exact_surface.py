"""The session's surface lies on the field's own level set, at any step and in any region."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.events import Progress
from napari_ossnet.engine.session import SegmentationSession
from napari_ossnet.engine.surfaces.surface import extract_surface


@pytest.mark.parametrize("step", [1, 2])
def test_vertices_lie_on_the_ball_at_every_step(step, a_session, a_volume, toy):
    _, result = toy.run(a_session.segment(toy.request(a_volume, step=step)))

    events, mesh = toy.run(a_session.surface(result))

    distances = np.linalg.norm(mesh.vertices_world - toy.centre, axis=1)
    assert np.abs(distances - toy.radius).max() < 2e-3
    assert trimesh.Trimesh(vertices=mesh.vertices_world, faces=mesh.faces, process=False).is_watertight
    assert all(isinstance(event, Progress) and event.stage == "surface" for event in events)


def test_a_finer_region_gives_a_finer_surface(a_session, a_volume, toy):
    _, result = toy.run(a_session.segment(toy.request(a_volume)))
    _, fine = toy.run(a_session.refine_region((5, 5, 3), (36, 33, 32), 2))

    errors = [
        abs(toy.run(a_session.surface(source))[1].area_mm2 - 4 * np.pi * toy.radius**2) for source in (result, fine)
    ]

    assert errors[1] < 0.35 * errors[0]


def test_where_a_region_cuts_the_object_its_end_stays_flat(a_session, a_volume, toy):
    toy.run(a_session.segment(toy.request(a_volume)))
    _, part = toy.run(a_session.refine_region((5, 5, 3), (20, 33, 32), 2))

    _, mesh = toy.run(a_session.surface(part))

    places = (np.c_[mesh.vertices_world, np.ones(len(mesh.vertices_world))] @ np.linalg.inv(a_volume.affine).T)[:, 0]
    flat = extract_surface(part)
    before = (np.c_[flat.vertices_world, np.ones(len(flat.vertices_world))] @ np.linalg.inv(a_volume.affine).T)[:, 0]
    assert places.max() == pytest.approx(before.max()) == pytest.approx(19.5)


def test_where_the_field_is_flat_beside_its_surface_the_vertices_find_it_all_the_same(a_volume, toy):
    # A quarter of a millimetre from the surface no gradient is left that could show the way.
    session = SegmentationSession(
        encode=toy.encoder(
            formula=lambda points: np.clip(
                8 * (toy.radius - np.linalg.norm(points - toy.centre, axis=1)), [-2.0], [1.0]
            )
        )
    )
    _, result = toy.run(session.segment(toy.request(a_volume)))

    _, mesh = toy.run(session.surface(result))

    distances = np.linalg.norm(mesh.vertices_world - toy.centre, axis=1)
    assert np.abs(distances - toy.radius).max() < 0.002
    assert np.abs(np.linalg.norm(extract_surface(result).vertices_world - toy.centre, axis=1) - toy.radius).max() > 0.25


def test_before_any_scan_there_is_no_surface(a_session, a_volume, toy):
    _, result = toy.run(SegmentationSession(encode=toy.encoder()).segment(toy.request(a_volume)))

    with pytest.raises(InputError, match="segment a scan first"):
        toy.run(a_session.surface(result))
