"""Interpolation without a network: pixels of two views carried over a proxy shape.

The proxy rounds the visual hull. In every view, t is the distance from the middle of the row's span of foreground, 1 at
the span's ends. The proxy is where (2 / v) sum t^2 <= 1 over the v views of the ring: an elliptic cross-section that
touches every silhouette, where the plain hull has corners (exact for a cylinder and evenly spaced level views).
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor

from infinitemesh.stages.grid_march import GridHits, grid_points, march_grid
from infinitemesh.steps import step
from infinitemesh.types import FIELD_HALF_EXTENT, Camera, ViewSet

RESOLUTION = 96
OUTSIDE = 1.5  # t where a view sees background
TRUSTED = 0.25  # squared cosines, added over both sources, from which on their colours are carried whole


@torch.no_grad()
def warp_views(ring: ViewSet, reference: ViewSet, condition: ViewSet, cameras: Camera) -> ViewSet:
    """Row k of the result: rows k of reference and condition on the ring's proxy, blended by how they face it."""
    rgb, _, coverage = _blended(ring, reference, condition, cameras)
    return ViewSet(rgb, coverage, cameras, torch.zeros_like(reference.is_main))


@step("carry colours")
@torch.no_grad()
def with_carried_colours(
    views: ViewSet, ring: ViewSet, reference: ViewSet, condition: ViewSet, share: float
) -> ViewSet:
    """`views` (row k is made from rows k of reference and condition) with this share of their colours carried.

    Outlines stay. Less is carried where the neighbours see the proxy at a glance (`TRUSTED`), as they do its caps, and
    nothing where there is no proxy.
    """
    rgb, trust, coverage = _blended(ring, reference, condition, views.camera)
    return replace(views, rgb=torch.lerp(views.rgb, rgb, share * (trust / TRUSTED).clamp(max=1) * coverage))


def _blended(
    ring: ViewSet, reference: ViewSet, condition: ViewSet, cameras: Camera
) -> tuple[Float[Tensor, "v 3 h w"], Float[Tensor, "v 1 h w"], Float[Tensor, "v 1 h w"]]:
    """Carried colours, how much the two sources lend to them, and the proxy's coverage."""
    hits = march_grid(proxy_shape(ring), cameras, ring.size, half_extent=FIELD_HALF_EXTENT)
    blended = torch.zeros(len(cameras), ring.size, ring.size, 4, device=ring.rgb.device)
    for source in (reference, condition):
        blended += _carried(source, hits)
    blended = rearrange(blended, "v h w c -> v c h w")
    weight = blended[:, 3:]
    return (blended[:, :3] / weight.clamp(min=1e-6)).clamp(0, 1), weight, hits.coverage[:, None]


def proxy_shape(ring: ViewSet, resolution: int = RESOLUTION) -> Float[Tensor, "r r r"]:
    """Negative inside the rounded hull, on a grid over the field's cube."""
    spans = span_coordinate(ring.alpha[:, 0] > 0.5)
    points = grid_points(resolution, FIELD_HALF_EXTENT, ring.rgb.device)
    at = ring.camera.project(points)[0]
    t = _sample(spans[:, None], at, padding="border")[:, 0]
    hull = t.amax(0) - 1  # a view that sees background rules a point out, however many views there are
    return torch.maximum((t**2).sum(0) * 2 / len(ring) - 1, hull).reshape((resolution,) * 3)


def span_coordinate(mask: Bool[Tensor, "v h w"]) -> Float[Tensor, "v h w"]:
    """0 in the middle of a row's run of foreground, 1 at its ends; OUTSIDE on the background."""
    column = torch.arange(mask.shape[-1], device=mask.device).expand(mask.shape)
    left = torch.where(mask, -1, column).cummax(-1).values
    right = torch.where(mask, mask.shape[-1], column).flip(-1).cummin(-1).values.flip(-1)
    t = (column - (left + right) / 2).abs() / ((right - left) / 2)
    return torch.where(mask, t, OUTSIDE)


def _carried(source: ViewSet, hits: GridHits) -> Float[Tensor, "v h w 4"]:
    """Weighted colour and weight that a source lends to each pixel: much where the surface faces it."""
    premultiplied = torch.cat([source.rgb * source.alpha, source.alpha], dim=1)
    lent = []
    for k in range(len(source)):
        points = rearrange(hits.point[k], "h w c -> (h w) c")
        at = source.camera[k].project(points)[0]
        seen = rearrange(_sample(premultiplied[k : k + 1], at[None])[0], "c (h w) -> h w c", h=source.size)
        facing = (hits.normal[k] * source.camera.backward[k]).sum(-1, keepdim=True).clamp(min=0.02)
        lent.append(seen * facing**2)
    return torch.stack(lent)


def _sample(
    images: Float[Tensor, "v c h w"], at: Float[Tensor, "v n 2"], padding: str = "zeros"
) -> Float[Tensor, "v c n"]:
    grid = (at * 2 - 1)[:, None]
    return F.grid_sample(images, grid, align_corners=False, padding_mode=padding)[:, :, 0]
