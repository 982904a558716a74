"""Small geometry on batches of triangles: normals that respect creases, nearest points."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from infinitemesh.data.exact import mixed

CREASE_COS = (
    0.766  # a corner whose smooth normal is over 40 degrees off its face takes the face's: hard edges stay hard
)


def face_normals(triangles: Float[Tensor, "p 3 3"]) -> Float[Tensor, "p 3"]:
    """Unit normals by the right-hand rule; 0 for a triangle without area."""
    edges = triangles[:, 1:] - triangles[:, :1]
    return F.normalize(torch.linalg.cross(edges[:, 0], edges[:, 1]), dim=-1, eps=1e-20)


def crease_normals(
    corner_normals: Float[Tensor, "p 3 3"], triangles: Float[Tensor, "p 3 3"], barycentric: Float[Tensor, "p 3"]
) -> Float[Tensor, "p 3"]:
    """Unit normals at points of triangles: smooth over gentle edges, the face's own beside hard ones."""
    flat = face_normals(triangles)[:, None]
    is_smooth = (corner_normals * flat).sum(-1, keepdim=True) > CREASE_COS
    return F.normalize(mixed(barycentric, torch.where(is_smooth, corner_normals, flat)), dim=-1)


def nearest_on_triangles(
    points: Float[Tensor, "*p 3"], triangles: Float[Tensor, "*p 3 3"]
) -> tuple[Float[Tensor, "*p 3"], Float[Tensor, "*p 3"]]:
    """The nearest point of one triangle each, and its barycentric coordinates.

    The nearest of the plane's foot (where it falls inside) and of the nearest points on the three edges.
    """
    a, b, c = triangles.unbind(-2)
    ab, ac, ap = b - a, c - a, points - a
    d00, d01, d11 = (ab * ab).sum(-1), (ab * ac).sum(-1), (ac * ac).sum(-1)
    d20, d21 = (ap * ab).sum(-1), (ap * ac).sum(-1)
    determinant = d00 * d11 - d01 * d01
    usable = determinant > 1e-12 * d00 * d11
    inverse = torch.where(usable, 1 / determinant.where(usable, 1.0), 0.0)
    v, w = (d11 * d20 - d01 * d21) * inverse, (d00 * d21 - d01 * d20) * inverse
    inside = usable & (v >= 0) & (w >= 0) & (v + w <= 1)

    zero = torch.zeros_like(d00)
    on_ab = (d20 / d00.clamp(min=1e-20)).clamp(0, 1)
    on_ac = (d21 / d11.clamp(min=1e-20)).clamp(0, 1)
    bc, bp = c - b, points - b
    on_bc = ((bp * bc).sum(-1) / (bc * bc).sum(-1).clamp(min=1e-20)).clamp(0, 1)
    candidates = torch.stack(
        [
            torch.stack([1 - v - w, v, w], dim=-1),
            torch.stack([1 - on_ab, on_ab, zero], dim=-1),
            torch.stack([1 - on_ac, zero, on_ac], dim=-1),
            torch.stack([zero, 1 - on_bc, on_bc], dim=-1),
        ],
        dim=-2,
    )
    nearest = mixed(candidates, triangles[..., None, :, :])
    squared = (nearest - points[..., None, :]).square().sum(-1)
    squared[..., 0] = torch.where(inside, squared[..., 0], torch.inf)
    best = squared.argmin(-1)[..., None, None].expand(*squared.shape[:-1], 1, 3)
    return nearest.gather(-2, best)[..., 0, :], candidates.gather(-2, best)[..., 0, :]
