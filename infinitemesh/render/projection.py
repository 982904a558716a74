"""What posed pictures say about the colour of points on a surface: seen, not occluded, not near an edge of anything.

A view's word counts by the cosine of the angle under which it sees the point, and fades to nothing towards its
silhouettes and occlusions: neither background nor occluder bleeds, and no seam shows where another view takes over.
"""

from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor

from infinitemesh.render.fragments import Rasterizer
from infinitemesh.render.nearest import distance_to_false, nearest_true
from infinitemesh.render.shading import clip_positions
from infinitemesh.render.torch_rasterizer import TorchRasterizer
from infinitemesh.steps import step
from infinitemesh.types import Camera, Mesh, ViewSet

POINTS_PER_CHUNK = {"cpu": 1 << 18, "cuda": 1 << 20}  # a view's kernels are many and small; 2^20 points take 0.5 GB
OPAQUE_ALPHA = 0.95  # pixels below are mixed with the background
TOLERANCE_AT_AN_ANGLE = 0.1  # pixel widths times 1 / cos^2, for curvature and the angle between smooth and flat normals


@dataclass(frozen=True, kw_only=True)
class ProjectionOptions:
    """How views are weighed. Pixels are those of the views."""

    sharpness: float = 4.0  # power of the cosine: higher takes more from the best view alone
    steepest_deg: float = 80.0  # beyond this angle between normal and view direction a view says nothing
    trusted_deg: float = 65.0  # up to this angle a clear view alone decides; beyond, it fades
    margin_px: float = 0.5  # distance to silhouettes and occlusions where a view begins to count
    feather_px: float = 4.0  # over which further distance it comes to count in full against other views
    trust_px: float = 1.0  # and against the field
    main_weight: float = 1.5  # of main views, against 1 of interpolated ones
    front_weight: float = 3.0  # of the main view at azimuth 0, elevation 0: the photograph


@dataclass(frozen=True)
class ProjectedColour:
    rgb: Float[Tensor, "p 3"]  # blended; 0 where no view sees the point
    trust: Float[Tensor, " p"]  # in [0, 1]: 1 where a view sees the point well, 0 where none does, smooth between


@step("project views")
def project_views(
    points: Float[Tensor, "p 3"],
    normals: Float[Tensor, "p 3"],
    mesh: Mesh,
    views: ViewSet,
    *,
    options: ProjectionOptions | None = None,
    rasterizer: Rasterizer | None = None,
) -> ProjectedColour:
    """Colours of surface points (unit normals, world) of `mesh` from the views that see them."""
    options = options or ProjectionOptions()
    depth = _depth_of_mesh(mesh, views, rasterizer or TorchRasterizer())
    usable = torch.isfinite(depth) & (views.alpha[:, 0] >= OPAQUE_ALPHA) & ~_breaks(depth, views.camera, options)
    pictures, clearance = _beyond_edges(views.rgb, usable, _reach(options))
    importance = _importance(views, options)
    steepest, trusted = np.cos(np.deg2rad([options.steepest_deg, options.trusted_deg]))
    total = torch.zeros_like(points)
    weight = points.new_zeros(len(points))
    trust = points.new_zeros(len(points))
    points_per_chunk = POINTS_PER_CHUNK.get(points.device.type, POINTS_PER_CHUNK["cpu"])
    for v in range(len(views)):
        camera = views.camera[v]
        for chunk in torch.arange(len(points), device=points.device).split(points_per_chunk):
            cosine = _facing(points[chunk], normals[chunk], camera)
            towards = (cosine > steepest).nonzero()[:, 0]
            part, cosine = chunk[towards], cosine[towards]
            position, normal = points[part], normals[part]
            at = camera.project(position)[0]
            visible = _visible_share(at, position, normal, camera, depth[v])
            edge_px = _sample(clearance[v, None], at, "bilinear")[:, 0] - options.margin_px
            angle = _smoothstep((cosine - steepest) / (trusted - steepest)) * visible
            share = angle * _smoothstep(edge_px / options.feather_px) * importance[v] * cosine**options.sharpness
            total.index_add_(0, part, share[:, None] * _sample(pictures[v], at, "bicubic").clamp(0, 1))
            weight.index_add_(0, part, share)
            trust[part] = torch.maximum(trust[part], angle * _smoothstep(edge_px / options.trust_px))
    return ProjectedColour(total / torch.where(weight > 0, weight, 1)[:, None], torch.where(weight > 0, trust, 0))


@step("depth")
def _depth_of_mesh(mesh: Mesh, views: ViewSet, rasterizer: Rasterizer) -> Float[Tensor, "v s s"]:
    """At the views' pixels, in world units; inf outside."""
    clip = clip_positions(mesh.vertices, views.camera)
    fragments = rasterizer.rasterize(clip, mesh.faces, (views.size, views.size))
    depth_of_vertex = views.camera.project(mesh.vertices)[1][..., None]
    depth = rasterizer.interpolate(depth_of_vertex, fragments, mesh.faces)[..., 0]
    return torch.where(fragments.triangle >= 0, depth, torch.inf)


def _breaks(depth: Float[Tensor, "v s s"], camera: Camera, options: ProjectionOptions) -> Bool[Tensor, "v s s"]:
    """Pixels on either side of a jump in depth: steeper than any surface that a view may speak of."""
    steepest = 1.5 * float(np.tan(np.deg2rad(options.steepest_deg)))
    limit = steepest * _pixel_width(torch.nan_to_num(depth, posinf=0), camera)
    breaks = torch.zeros_like(depth, dtype=torch.bool)
    for axis in (1, 2):
        jump = depth.diff(dim=axis).abs() > limit.narrow(
            axis, 1, depth.shape[axis] - 1
        )  # NaN outside the mesh: no jump
        for side in (0, 1):
            breaks.narrow(axis, side, jump.shape[axis]).logical_or_(jump)
    return breaks


@step("beyond edges")
def _beyond_edges(
    rgb: Float[Tensor, "v 3 s s"], usable: Bool[Tensor, "v s s"], within: int | None
) -> tuple[Float[Tensor, "v 3 s s"], Float[Tensor, "v s s"]]:
    """The pictures with every unusable pixel painted over by the nearest usable one, and distances to unusable pixels.

    Distances are in pixels; what lies beyond the border is unusable. Both are exact `within` so many pixels.
    """
    flat = rgb.flatten(2)
    nearest = nearest_true(usable, within=within).flatten(1)[:, None].expand_as(flat)
    return flat.gather(2, nearest).reshape(rgb.shape), distance_to_false(usable, within=within).to(rgb)


def _reach(options: ProjectionOptions) -> int | None:
    """Pixels beyond which neither the distance to an edge nor what is painted over it changes a colour; None: any.

    Distances of the four pixels that are mixed differ by less than 2. With a margin, one of the four is usable, and
    a bicubic look-up goes 2 pixels farther along both axes.
    """
    if options.margin_px < 0:
        return None
    return max(ceil(options.margin_px + max(options.feather_px, options.trust_px) + 2), 3)


def _importance(views: ViewSet, options: ProjectionOptions) -> Float[Tensor, " v"]:
    camera = views.camera
    azimuth = (camera.azimuth_deg + 180) % 360 - 180
    is_front = views.is_main & (azimuth.abs() < 1) & (camera.elevation_deg.abs() < 1)
    importance = torch.where(views.is_main, options.main_weight, 1.0)
    return torch.where(is_front, options.front_weight, importance)


def _facing(points: Float[Tensor, "p 3"], normals: Float[Tensor, "p 3"], camera: Camera) -> Float[Tensor, " p"]:
    """Cosine between the normal and the direction to the camera."""
    if camera.projection == "orthographic":
        return normals @ camera.backward
    return (normals * F.normalize(camera.position - points, dim=-1)).sum(-1)


def _pixel_width(depth: Float[Tensor, "*n s s"], camera: Camera) -> Float[Tensor, "*n s s"]:
    """World units that one pixel covers at this depth."""
    width = 1 / (camera.intrinsics[..., 0, 0] * depth.shape[-1])
    width = width[..., None, None]
    return width.expand_as(depth) if camera.projection == "orthographic" else width * depth


def _visible_share(
    at: Float[Tensor, "p 2"],
    points: Float[Tensor, "p 3"],
    normals: Float[Tensor, "p 3"],
    camera: Camera,
    depth: Float[Tensor, "s s"],
) -> Float[Tensor, " p"]:
    """In [0, 1]: 0 where something else is in front, or outside the picture.

    Each of the four pixels around the point compares the mesh's depth with that of the point's tangent plane under its
    centre, so steep surfaces do not occlude themselves. The tolerance that is left is one pixel width head on and
    4.3 at the steepest angle of 80 degrees: an occluder must be further in front than that.
    """
    size = depth.shape[-1]
    rotation, translation = camera.cam_from_world[:3, :3], camera.cam_from_world[:3, 3]
    nx, ny, nz = (normals @ rotation.T).unbind(-1)
    offset = (normals * (points + translation @ rotation)).sum(-1)  # the plane is normal . x = offset
    pixel = at * size - 0.5
    corner = pixel.floor()
    step = torch.tensor([[0, 0], [1, 0], [0, 1], [1, 1]], device=at.device)[:, None]
    column, row = (corner + step).long().clamp(0, size - 1).unbind(-1)  # 4 p
    x = ((column + 0.5) / size - camera.intrinsics[0, 2]) / camera.intrinsics[0, 0]
    y = (camera.intrinsics[1, 2] - (row + 0.5) / size) / camera.intrinsics[1, 1]
    if camera.projection == "orthographic":
        plane_depth = (nx * x + ny * y - offset) / nz
        cosine, pixel_width = nz, 1 / (camera.intrinsics[0, 0] * size)
    else:
        along_ray = nx * x + ny * y - nz
        plane_depth = offset / along_ray
        cosine, pixel_width = along_ray * (1 + x**2 + y**2).rsqrt(), plane_depth / (camera.intrinsics[0, 0] * size)
    tolerance = pixel_width * (1 + TOLERANCE_AT_AN_ANGLE / cosine**2)
    in_front = depth[row, column] < plane_depth - tolerance
    share = (1 - (pixel - corner - step).abs()).prod(-1)
    visible, hidden = torch.where(in_front, 0.0, share).sum(0), torch.where(in_front, share, 0.0).sum(0)
    inside = ((at > 0) & (at < 1)).all(-1)
    return torch.where(inside, visible / (visible + hidden), 0.0)  # exactly 0 and 1 where it is all or nothing


def _sample(image: Float[Tensor, "c h w"], at: Float[Tensor, "p 2"], mode: str) -> Float[Tensor, "p c"]:
    values = F.grid_sample(image[None], (at * 2 - 1)[None, None], mode=mode, padding_mode="border", align_corners=False)
    return rearrange(values, "1 c 1 p -> p c")


def _smoothstep(x: Tensor) -> Tensor:
    x = x.clamp(0, 1)
    return x * x * (3 - 2 * x)
