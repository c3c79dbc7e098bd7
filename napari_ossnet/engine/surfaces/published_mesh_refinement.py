"""The published refinement of a mesh (spec section 5; Mescheder et al. 2019, section 3.3), kept as the oracle.

RMSprop moves the vertices for 200 steps so that a random point on every face lies on the level set and the face's
normal follows the field's gradient. The loss is that of the published code: squared distance of the occupancy from the
threshold, plus 0.01 times the squared difference of the normals. The field's gradient comes from differences, as the
fields here answer without autograd; the code's own differentiates through the normals of the field as well.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from napari_ossnet.engine.fields.protocol import OccupancyField
from napari_ossnet.engine.geometry import voxel_to_world, world_to_voxel
from napari_ossnet.engine.refining.decision import Decision
from napari_ossnet.engine.shapes import Affine
from napari_ossnet.engine.surfaces.surface import Mesh

STEPS = 200
#: The code's 1e-4 in a unit cube, here in grid voxels of a cube of 256.
LEARNING_RATE = 1e-4 * 256
NORMAL_WEIGHT = 0.01
_DIFFERENCE = 0.2


def refine_as_published(
    field: OccupancyField, mesh: Mesh, grid_affine: Affine, threshold: float, *, steps: int = STEPS, seed: int = 0
) -> Mesh:
    """The mesh after the published refinement; slow, for comparison.

    Args:
        field: One class.
        mesh: In RAS mm.
        grid_affine: Grid voxels to world, RAS mm.
        threshold: Probability of the level set.
        steps: Of RMSprop.
        seed: Of the random points.
    """
    generator = torch.Generator().manual_seed(seed)
    start = world_to_voxel(grid_affine, mesh.vertices_world)
    vertices = torch.tensor(start, dtype=torch.float32, device=field.device, requires_grad=True)
    faces = torch.as_tensor(mesh.faces, device=field.device)
    optimizer = torch.optim.RMSprop([vertices], lr=LEARNING_RATE)
    decision = Decision(threshold)
    for _ in range(steps):
        optimizer.zero_grad()
        shares = _dirichlet(len(faces), generator).to(field.device)
        _loss(field, decision, vertices[faces], shares).backward()
        optimizer.step()
    moved = vertices.detach().cpu().double().numpy()
    return Mesh(vertices_world=voxel_to_world(grid_affine, moved), faces=mesh.faces)


def _loss(field: OccupancyField, decision: Decision, corners: Tensor, shares: Tensor) -> Tensor:
    points = (corners * shares[:, :, None]).sum(dim=1)
    occupancy, gradient = _occupancy_and_gradient(field, points.detach())
    # First order around the point: this is what autograd through the field would give.
    linear = occupancy + ((points - points.detach()) * gradient).sum(dim=1)
    distance = ((linear - decision.threshold) ** 2).mean()
    normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = normals / (normals.norm(dim=1, keepdim=True) + 1e-10)
    outwards = -gradient / (gradient.norm(dim=1, keepdim=True) + 1e-10)
    return distance + NORMAL_WEIGHT * ((normals - outwards) ** 2).sum(dim=1).mean()


def _occupancy_and_gradient(field: OccupancyField, points: Tensor) -> tuple[Tensor, Tensor]:
    occupancy = field.query(points)[:, 0].sigmoid()
    gradient = torch.empty_like(points)
    for axis in range(3):
        beside = points.clone()
        beside[:, axis] += _DIFFERENCE
        gradient[:, axis] = (field.query(beside)[:, 0].sigmoid() - occupancy) / _DIFFERENCE
    return occupancy, gradient


def _dirichlet(count: int, generator: torch.Generator) -> Tensor:
    """Weights (n, 3) of a point on each face: Dirichlet with all parameters 1/2, as in the published code."""
    # A gamma variable of shape 1/2 is half the square of a normal one.
    squares = torch.randn((count, 3), generator=generator) ** 2
    return squares / squares.sum(dim=1, keepdim=True)


def level_set_distance(field: OccupancyField, mesh: Mesh, grid_affine: Affine, threshold: float) -> np.ndarray:
    """How far each vertex is from the level set, to first order: |height| / |gradient|, in grid voxels, (v,)."""
    points = torch.as_tensor(world_to_voxel(grid_affine, mesh.vertices_world), dtype=torch.float32, device=field.device)
    decision = Decision(threshold)
    height = decision.heights(field.query(points))
    gradient = torch.empty_like(points)
    for axis in range(3):
        step = torch.zeros(3, device=field.device)
        step[axis] = _DIFFERENCE / 2
        gradient[:, axis] = (
            decision.heights(field.query(points + step)) - decision.heights(field.query(points - step))
        ) / _DIFFERENCE
    return (height.abs() / gradient.norm(dim=1).clamp_(min=1e-6)).cpu().double().numpy()
