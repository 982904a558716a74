"""Points that cameras see of a mesh: what SyncDreamer's evaluation code measures distances between."""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from infinitemesh.evaluate.metrics_mesh import SurfaceSamples
from infinitemesh.render.shading import shade
from infinitemesh.types import Camera, Mesh


@torch.no_grad()
def depth_points(mesh: Mesh, camera: Camera, *, size: int = 256, voxel: float = 0.01) -> SurfaceSamples:
    """Back-projected depth of all cameras, averaged to one point a voxel, with the mean of its normals."""
    points, normals = [], []
    for k in range(len(camera)):
        one = camera[k : k + 1]
        seen = shade(mesh.vertices, mesh.faces, one, size)
        origin, direction = (rays[0] for rays in one.rays(size))
        along = -(direction * one.backward[0]).sum(-1)  # depth is measured along the optical axis
        at = origin + direction * (seen.depth[0, 0] / along)[..., None]
        mask = seen.mask[0, 0]
        points.append(at[mask])
        normals.append(rearrange(seen.normal[0], "c h w -> h w c")[mask])
    return _thinned(torch.cat(points), torch.cat(normals), voxel)


def _thinned(points: Float[Tensor, "p 3"], normals: Float[Tensor, "p 3"], voxel: float) -> SurfaceSamples:
    cell, index = torch.unique((points / voxel).floor().long(), dim=0, return_inverse=True)
    count = torch.bincount(index, minlength=len(cell)).clamp(min=1)[:, None]
    mean, normal = (torch.zeros(len(cell), 3).index_add(0, index, values) / count for values in (points, normals))
    return SurfaceSamples(mean, torch.nn.functional.normalize(normal, dim=-1))
