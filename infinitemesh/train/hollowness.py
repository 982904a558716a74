"""How much of an object's visual hull is empty, so that hollow objects can be seen more often in training."""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor

from infinitemesh.data.object_pack import ObjectPack
from infinitemesh.data.points import PointCache
from infinitemesh.data.rigs import plain_rigs
from infinitemesh.data.training_views import render_batch
from infinitemesh.types import Camera


def in_hull(points: Float[Tensor, "b n 3"], camera: Camera, alpha: Float[Tensor, "b v 1 h w"]) -> Bool[Tensor, "b n"]:
    """Points that every orthographic view (axes b, v) sees covered: inside, pictures alone cannot tell object from
    cavity."""
    matrix, k = camera.cam_from_world, camera.intrinsics
    points = rearrange(points, "b n xyz -> b 1 n xyz")
    x, y = (
        (points * matrix[:, :, None, row, :3]).sum(-1) + matrix[:, :, None, row, 3] for row in (0, 1)
    )  # sums, so that autocast leaves them alone
    u = k[:, :, None, 0, 0] * x + k[:, :, None, 0, 2]
    v = k[:, :, None, 1, 2] - k[:, :, None, 1, 1] * y
    at = rearrange(torch.stack([u, v], dim=-1) * 2 - 1, "b v n uv -> (b v) n 1 uv")
    seen = F.grid_sample(rearrange(alpha, "b v 1 h w -> (b v) 1 h w"), at, align_corners=False)
    return rearrange(seen, "(b v) 1 n 1 -> b v n", b=len(points)).amin(1) > 0.5


@torch.no_grad()
def hollowness(
    pack: ObjectPack, cache: PointCache, *, num_views: int = 12, size: int = 96, at_once: int = 64
) -> Float[Tensor, " n"]:
    """Of every object, the share of the hull of a level ring that is not object, by the points uniform in its box."""
    shares = []
    for ids in torch.arange(len(pack), device=pack.device).split(at_once):
        ring = Camera.orbit([k * 360 / num_views for k in range(num_views)], device=pack.device)
        camera = Camera(ring.cam_from_world.expand(len(ids), -1, -1, -1), ring.intrinsics.expand(len(ids), -1, -1, -1))
        views = render_batch(pack, ids, plain_rigs(pack, ids), camera, size=size, supersample=1)
        hull = in_hull(cache.points[ids, cache.num_near :: 2].float(), camera, views.alpha)
        empty = hull & (cache.distance[ids, cache.num_near :: 2] > 0)
        shares.append(empty.sum(1) / hull.sum(1).clamp(min=1))
    return torch.cat(shares)
