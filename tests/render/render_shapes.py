"""Shapes and cameras that the render tests share."""

import torch
import trimesh
from torch import Tensor

from infinitemesh.types import Camera


def icosphere(subdivisions: int, radius: float = 0.6) -> tuple[Tensor, Tensor]:
    return _tensors(trimesh.creation.icosphere(subdivisions, radius=radius))


def torus() -> tuple[Tensor, Tensor]:
    return _tensors(trimesh.creation.torus(0.4, 0.2, 32, 16))


def box() -> tuple[Tensor, Tensor]:
    return _tensors(trimesh.creation.box((0.8, 0.8, 0.8)))


def bumpy(subdivisions: int) -> tuple[Tensor, Tensor]:
    """A closed star-shaped body with hollows, so that outlines also pass in front of the body itself."""
    direction, faces = icosphere(subdivisions, 1.0)
    x, y, z = direction.unbind(-1)
    return direction * (0.5 + 0.1 * (7 * x).sin() * (6 * y).cos() + 0.05 * (15 * z).sin())[:, None], faces


def clip_of(vertices: Tensor, camera: Camera) -> Tensor:
    homogeneous = torch.cat([vertices, torch.ones(len(vertices), 1)], dim=-1)
    return homogeneous @ camera.clip_from_world().transpose(-1, -2)


def _tensors(mesh: trimesh.Trimesh) -> tuple[Tensor, Tensor]:
    return torch.tensor(mesh.vertices, dtype=torch.float32), torch.tensor(mesh.faces, dtype=torch.int64)
