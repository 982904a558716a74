"""Which surface lies under which texel of an atlas, and painting a texture without gaps."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from infinitemesh.errors import InputError
from infinitemesh.geometry.normals import same_point, vertex_normals
from infinitemesh.render.fragments import Fragments, Rasterizer
from infinitemesh.render.nearest import nearest_true
from infinitemesh.render.torch_rasterizer import TorchRasterizer
from infinitemesh.steps import step
from infinitemesh.types import Mesh

CREASE_COSINE = 0.85  # where a face and its vertex' smooth normal differ more, the corner keeps the face's own normal


@dataclass(frozen=True)
class Texels:
    """The texels of a square texture that faces cover, and the surface at their centres."""

    index: Int[Tensor, " t"]  # row * resolution + column, ascending
    points: Float[Tensor, "t 3"]  # world
    normals: Float[Tensor, "t 3"]  # unit, world; smooth except across creases
    resolution: int

    def __len__(self) -> int:
        return len(self.index)


@step("texels")
def surface_texels(mesh: Mesh, resolution: int, *, rasterizer: Rasterizer | None = None) -> Texels:
    """`mesh` needs uv. Where charts overlap the lower face wins."""
    if mesh.uv is None:
        raise InputError("the mesh has no uv: unwrap it first (infinitemesh.geometry.uv.unwrap)")
    rasterizer = rasterizer or TorchRasterizer()
    fragments = _rasterize_atlas(mesh, resolution, rasterizer)
    at_corners = torch.cat([mesh.vertices[mesh.faces], corner_normals(mesh)], dim=-1)
    apart = torch.arange(mesh.faces.numel(), device=mesh.faces.device).reshape(-1, 3)
    at_texels = rasterizer.interpolate(rearrange(at_corners, "f corner c -> 1 (f corner) c"), fragments, apart)
    index = (fragments.triangle.reshape(-1) >= 0).nonzero()[:, 0]
    points, normals = at_texels.reshape(-1, 6)[index].split(3, dim=-1)
    return Texels(index, points, F.normalize(normals, dim=-1), resolution)


@step("normals")
def corner_normals(mesh: Mesh) -> Float[Tensor, "f 3 3"]:
    """Unit normals at the corners of faces: smooth, but the face's own at creases. UV seams do not show."""
    joined = same_point(mesh.vertices)[mesh.faces]
    smooth = vertex_normals(mesh.vertices, joined)[joined]
    a, b, c = mesh.vertices[mesh.faces].unbind(1)
    flat = F.normalize(torch.linalg.cross(b - a, c - a), dim=-1, eps=1e-20)[:, None]
    return torch.where((smooth * flat).sum(-1, keepdim=True) > CREASE_COSINE, smooth, flat)


@step("paint")
def paint(texels: Texels, rgb: Float[Tensor, "t 3"]) -> Float[Tensor, "3 r r"]:
    """A texture of these colours, clamped to [0, 1]; every texel outside the charts repeats the nearest one inside."""
    size = texels.resolution
    if len(texels) == 0:
        raise InputError("no face covers a texel: check the mesh's uv")
    canvas = rgb.new_zeros(size * size, 3)
    canvas[texels.index] = rgb.clamp(0, 1)
    covered = torch.zeros(size * size, dtype=torch.bool, device=rgb.device)
    covered[texels.index] = True
    nearest = nearest_true(covered.reshape(size, size))
    return rearrange(canvas[nearest], "row column rgb -> rgb row column")


def texel_coverage(mesh: Mesh, *, rasterizer: Rasterizer | None = None) -> float:
    """The share of the texture's texels that lie under a face (1 would be a perfect atlas)."""
    if mesh.uv is None or mesh.texture is None:
        raise InputError("texel coverage needs a mesh with uv and texture")
    fragments = _rasterize_atlas(mesh, tuple(mesh.texture.shape[-2:]), rasterizer or TorchRasterizer())
    return float((fragments.triangle >= 0).float().mean())


@step("rasterize")
def _rasterize_atlas(mesh: Mesh, size: int | tuple[int, ...], rasterizer: Rasterizer) -> Fragments:
    assert mesh.uv is not None
    height, width = (size, size) if isinstance(size, int) else size
    flat = torch.cat([mesh.uv * 2 - 1, torch.zeros_like(mesh.uv)], dim=-1)
    clip = flat + flat.new_tensor([0, 0, 0, 1])
    return rasterizer.rasterize(clip[None], mesh.faces, (height, width))
