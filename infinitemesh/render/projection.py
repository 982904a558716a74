"""What posed pictures say about the colour of points on a surface: seen, not occluded, not near an edge of anything.

A view's word counts by the cosine of the angle under which it sees the point, and fades to nothing towards the silhouettes and
occlusions in that view, so that neither the background nor an occluder bleeds and no seam shows where one view takes over.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from infinitemesh.render.fragments import Rasterizer
from infinitemesh.render.torch_rasterizer import TorchRasterizer
from infinitemesh.types import Mesh, ViewSet

POINTS_PER_CHUNK = 1 << 18
OPAQUE_ALPHA = 0.95  # pixels below are mixed with the background


@dataclass(frozen=True, kw_only=True)
class ProjectionOptions:
    """How views are weighed. Pixels are those of the views."""

    sharpness: float = 8.0  # power of the cosine: higher takes more from the best view alone
    steepest_deg: float = 75.0  # beyond this angle between normal and view direction a view says nothing
    trusted_deg: float = 60.0  # up to this angle a clear view alone decides; beyond, it fades
    margin_px: float = 1.0  # distance to silhouettes and occlusions where a view begins to count
    feather_px: float = 4.0  # and how much further it counts in full
    main_weight: float = 2.0  # of main views, against 1 of interpolated ones
    front_weight: float = 4.0  # of the main view at azimuth 0, elevation 0: the photograph
    depth_size: int = 256  # the mesh is rasterised at least at this size for the occlusion test


@dataclass(frozen=True)
class ProjectedColour:
    rgb: Float[Tensor, "p 3"]  # blended; 0 where no view sees the point
    trust: Float[Tensor, " p"]  # in [0, 1]: 1 where a view sees the point well, 0 where none does, smooth between


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
    clearance, depth = _look_at_mesh(mesh, views, options, rasterizer or TorchRasterizer())
    importance = _importance(views, options)
    total = torch.zeros_like(points)
    weight = points.new_zeros(len(points))
    trust = points.new_zeros(len(points))
    for start in range(0, len(points), POINTS_PER_CHUNK):
        part = slice(start, start + POINTS_PER_CHUNK)
        for v in range(len(views)):
            facing = _facing(points[part], normals[part], views.camera[v])
            index = (facing > np.cos(np.deg2rad(options.steepest_deg))).nonzero()[:, 0]
            at, seen_depth = views.camera[v].project(points[part][index])
            clear = _clear_view(at, points[part][index], normals[part][index], views.camera[v], clearance[v], depth[v])
            index, clear, at = index[clear > 0], clear[clear > 0], at[clear > 0]
            cosine = facing[index]
            steep, trusted = np.cos(np.deg2rad([options.steepest_deg, options.trusted_deg]))
            quality = clear * _smoothstep((cosine - steep) / (trusted - steep))
            share = importance[v] * quality * cosine**options.sharpness
            index = index + start
            total.index_add_(0, index, share[:, None] * _sample(views.rgb[v], at, "bicubic").clamp(0, 1))
            weight.index_add_(0, index, share)
            trust[index] = torch.maximum(trust[index], quality)
    return ProjectedColour(total / weight.clamp(min=1e-12)[:, None], trust)
