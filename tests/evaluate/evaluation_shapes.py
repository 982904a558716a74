"""Small meshes with known measures."""

import torch
import trimesh

from infinitemesh.types import Mesh


def mesh_of(shape: trimesh.Trimesh) -> Mesh:
    return Mesh(torch.tensor(shape.vertices, dtype=torch.float32), torch.tensor(shape.faces))


def sphere(radius: float = 0.4, subdivisions: int = 3) -> Mesh:
    return mesh_of(trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius))


def box(extents=(0.6, 0.6, 0.6), shift=(0.0, 0.0, 0.0)) -> Mesh:
    shape = trimesh.creation.box(extents)
    shape.apply_translation(shift)
    return mesh_of(shape)


def square(side: float = 1.0, height: float = 0.0) -> Mesh:
    """Open, in the xz-plane."""
    h = side / 2
    corners = [[-h, height, -h], [-h, height, h], [h, height, h], [h, height, -h]]
    return Mesh(torch.tensor(corners), torch.tensor([[0, 1, 2], [0, 2, 3]]))
