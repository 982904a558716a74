"""Pictures of meshes: unlit colour, antialiased coverage, depth and world normals.

`render_mesh` draws a finished `Mesh`; `shade` and `shade_packed` are differentiable and ask a colour field at the
surface point under each pixel, as the mesh stage of training does.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from infinitemesh.errors import InputError
from infinitemesh.geometry.normals import same_point, vertex_normals
from infinitemesh.render.fragments import Fragments, Rasterizer
from infinitemesh.render.torch_rasterizer import (
    TorchRasterizer,
    antialias_packed,
    interpolate_packed,
    rasterize_packed,
)
from infinitemesh.types import Camera, Mesh, ViewSet

MID_GREY = 0.5
PIXELS_PER_CHUNK = 1 << 22  # of all views together, before a supersampled picture shrinks
FAINTEST_ALPHA = 1e-3  # below this a pixel's straight colour is noise


@dataclass(frozen=True)
class Rendered:
    """What a differentiable rendering gives; gradients reach the vertices and the colour field."""

    rgb: Float[Tensor, "n 3 h w"]  # over white, antialiased
    alpha: Float[Tensor, "n 1 h w"]  # coverage in [0, 1], antialiased: its gradient moves silhouettes
    depth: Float[Tensor, "n 1 h w"]  # -z of the camera frame in world units; 0 outside
    normal: Float[Tensor, "n 3 h w"]  # unit, world frame, from area-weighted vertex normals; 0 outside
    mask: Bool[Tensor, "n 1 h w"]  # pixel centres on the surface


def render_mesh(
    mesh: Mesh,
    camera: Camera,
    size: int,
    *,
    background: float | Sequence[float] = 1.0,
    rasterizer: Rasterizer | None = None,
    supersample: int = 1,
) -> ViewSet:
    """Base colour without light: the texture, else the vertex colours, else mid-grey. Missing normals are smooth ones.

    `rgb` is straight colour also at silhouettes; where alpha is 0 it is `background`. `supersample` renders that many
    times larger and averages, for evaluation and for textures finer than the picture.
    """
    _check(mesh, size, supersample)
    rasterizer = rasterizer or TorchRasterizer()
    camera = _as_row(camera).to(mesh.vertices.device)
    joined = same_point(mesh.vertices)
    joined_faces = joined[mesh.faces]
    per_vertex = _vertex_attributes(mesh, joined)
    views_per_chunk = max(1, PIXELS_PER_CHUNK // (size * supersample) ** 2)
    pictures = []
    for first in range(0, len(camera), views_per_chunk):
        clip = clip_positions(mesh.vertices, camera[first : first + views_per_chunk])
        fragments = rasterizer.rasterize(clip, mesh.faces, (size * supersample, size * supersample))
        at_pixels = rasterizer.interpolate(per_vertex[None], fragments, mesh.faces)
        covered = (fragments.triangle >= 0)[..., None].to(at_pixels.dtype)
        premultiplied = torch.cat([_base_colour(mesh, at_pixels) * covered, at_pixels[..., :3], covered], dim=-1)
        picture = rasterizer.antialias(premultiplied, fragments, clip, joined_faces)
        pictures.append(F.avg_pool2d(rearrange(picture, "n h w c -> n c h w"), supersample))
    premultiplied, normal, coverage = torch.cat(pictures).split([3, 3, 1], dim=1)
    alpha = coverage.clamp(0, 1)
    behind = torch.as_tensor(background, dtype=alpha.dtype, device=alpha.device).reshape(-1, 1, 1)
    visible = alpha > FAINTEST_ALPHA
    return ViewSet(
        rgb=torch.where(visible, (premultiplied / alpha.clamp(min=FAINTEST_ALPHA)).clamp(0, 1), behind),
        alpha=torch.where(visible, alpha, 0.0),
        camera=camera,
        is_main=torch.zeros(len(camera), dtype=torch.bool, device=alpha.device),
        normal=torch.where(visible, F.normalize(normal, dim=1), 0.0),
    )


def shade(
    vertices: Float[Tensor, "v 3"],
    faces: Int[Tensor, "f 3"],
    camera: Camera,
    size: int,
    *,
    colour_at: Callable[[Tensor], Tensor] | None = None,
    rasterizer: Rasterizer | None = None,
) -> Rendered:
    """One mesh from every camera. `colour_at` maps surface points (p 3) to colours (p 3); None paints mid-grey."""
    rasterizer = rasterizer or TorchRasterizer()
    camera = _as_row(camera).to(vertices.device)
    clip = clip_positions(vertices, camera)
    fragments = rasterizer.rasterize(clip, faces, (size, size))
    surface = torch.cat([vertices, vertex_normals(vertices, faces)], dim=-1)
    return _finish(
        rasterizer.interpolate(surface[None], fragments, faces),
        fragments,
        camera,
        None if colour_at is None else lambda points, image: colour_at(points),
        lambda picture: rasterizer.antialias(picture, fragments, clip, faces),
    )


def shade_packed(
    vertices: Float[Tensor, "v 3"],
    faces: Int[Tensor, "f 3"],
    image_of_vertex: Int[Tensor, " v"],
    image_of_face: Int[Tensor, " f"],
    camera: Camera,
    size: int,
    *,
    colour_at: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Rendered:
    """Many meshes, one image each, in one call: camera i draws the faces of image i (`pack_views` makes the rows).

    `colour_at` maps surface points (p 3) and their images (p) to colours (p 3).
    """
    camera = _as_row(camera).to(vertices.device)
    clip = _transform(_clip_from_world(camera)[image_of_vertex], vertices)
    fragments = rasterize_packed(clip, faces, image_of_face, len(camera), (size, size))
    surface = torch.cat([vertices, vertex_normals(vertices, faces)], dim=-1)
    return _finish(
        interpolate_packed(surface, fragments, faces),
        fragments,
        camera,
        colour_at,
        lambda picture: antialias_packed(picture, fragments, clip, faces, image_of_face),
    )


def pack_views(
    meshes: Sequence[tuple[Tensor, Tensor]], mesh_of_image: Sequence[int]
) -> tuple[
    Float[Tensor, "v 3"],
    Int[Tensor, "f 3"],
    Int[Tensor, " v"],
    Int[Tensor, " f"],
]:
    """The first four arguments of `shade_packed` for (vertices, faces) pairs, mesh `mesh_of_image[i]` in image i."""
    device = meshes[0][0].device
    shown = [meshes[i] for i in mesh_of_image]
    image = torch.arange(len(shown), device=device)
    num_vertices = torch.tensor([len(v) for v, _ in shown], device=device)
    num_faces = torch.tensor([len(f) for _, f in shown], device=device)
    image_of_face = torch.repeat_interleave(image, num_faces)
    first_vertex = num_vertices.cumsum(0) - num_vertices
    return (
        torch.cat([v for v, _ in shown]),
        torch.cat([f.long() for _, f in shown]) + first_vertex[image_of_face][:, None],
        torch.repeat_interleave(image, num_vertices),
        image_of_face,
    )


def clip_positions(vertices: Float[Tensor, "v 3"], camera: Camera) -> Float[Tensor, "n v 4"]:
    return _transform(_clip_from_world(_as_row(camera))[:, None], vertices)


def _clip_from_world(camera: Camera) -> Float[Tensor, "n 4 4"]:
    """Multiplied in double, which neither autocast nor TF32 touches: either would move silhouettes by pixels."""
    here = camera.to("cpu") if camera.cam_from_world.device.type == "mps" else camera  # MPS has no doubles
    exact = replace(here, cam_from_world=here.cam_from_world.double(), intrinsics=here.intrinsics.double())
    return exact.clip_from_world().to(camera.cam_from_world)


def _transform(matrix: Float[Tensor, "*#p 4 4"], points: Float[Tensor, "*#p 3"]) -> Float[Tensor, "*p 4"]:
    """Elementwise, for the same reason."""
    x, y, z = points[..., None].unbind(-2)
    return matrix[..., 0] * x + matrix[..., 1] * y + matrix[..., 2] * z + matrix[..., 3]


def _finish(
    surface: Float[Tensor, "n h w 6"],
    fragments: Fragments,
    camera: Camera,
    colour_at: Callable[[Tensor, Tensor], Tensor] | None,
    antialias: Callable[[Tensor], Tensor],
) -> Rendered:
    num_images, height, width, _ = surface.shape
    pixel = (fragments.triangle.reshape(-1) >= 0).nonzero()[:, 0]
    image = pixel // (height * width)
    points, normal = surface.reshape(-1, 6).index_select(0, pixel).split(3, dim=-1)
    colour = torch.full_like(points, MID_GREY) if colour_at is None else colour_at(points, image).to(points.dtype)
    rows = torch.cat([colour, normal, torch.ones_like(points[:, :1])], dim=-1)
    picture = rows.new_zeros(num_images * height * width, 7).index_copy(0, pixel, rows)
    picture = antialias(picture.reshape(num_images, height, width, 7))
    premultiplied, normals, alpha = rearrange(picture, "n h w c -> n c h w").split([3, 3, 1], dim=1)

    looking = camera.cam_from_world[image, 2]  # p 4
    depth = -((points * looking[:, :3]).sum(-1) + looking[:, 3])
    mask = (fragments.triangle >= 0)[:, None]
    return Rendered(
        rgb=premultiplied + (1 - alpha),
        alpha=alpha.clamp(0, 1),
        depth=depth.new_zeros(num_images * height * width).index_copy(0, pixel, depth).reshape(mask.shape),
        normal=torch.where(mask, F.normalize(normals, dim=1, eps=1e-6), 0.0),
        mask=mask,
    )


def _vertex_attributes(mesh: Mesh, joined: Int[Tensor, " v"]) -> Float[Tensor, "v c"]:
    """Normals, then texture coordinates or colours where there are any."""
    normals = mesh.normals
    if normals is None:
        normals = vertex_normals(mesh.vertices, joined[mesh.faces])[joined]
    colour = mesh.uv if mesh.texture is not None else mesh.vertex_rgb
    return normals if colour is None else torch.cat([normals, colour], dim=-1)


def _base_colour(mesh: Mesh, at_pixels: Float[Tensor, "n h w c"]) -> Float[Tensor, "n h w 3"]:
    if mesh.texture is not None:
        return sample_texture(mesh.texture, at_pixels[..., 3:5])
    if mesh.vertex_rgb is not None:
        return at_pixels[..., 3:6]
    return torch.full_like(at_pixels[..., :3], MID_GREY)


def sample_texture(texture: Float[Tensor, "c th tw"], uv: Float[Tensor, "n h w 2"]) -> Float[Tensor, "n h w c"]:
    """Bilinear; (0, 0) is the top left corner of the first row; coordinates beyond [0, 1] repeat (glTF's default)."""
    inside = (uv >= 0) & (uv <= 1)
    at = torch.where(inside, uv, uv - uv.floor()) * 2 - 1
    rows = rearrange(at, "n h w uv -> 1 (n h) w uv")
    values = F.grid_sample(texture[None], rows, mode="bilinear", padding_mode="border", align_corners=False)
    return rearrange(values, "1 c (n h) w -> n h w c", n=len(uv))


def _as_row(camera: Camera) -> Camera:
    return Camera.cat([camera])


def _check(mesh: Mesh, size: int, supersample: int) -> None:
    if size < 1 or supersample < 1:
        raise InputError(f"size and supersample must be at least 1, got {size} and {supersample}")
    if mesh.texture is not None and mesh.uv is None:
        raise InputError("the mesh has a texture but no uv: give uv (one row a vertex) or drop the texture")
