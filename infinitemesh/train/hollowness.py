"""How much of an object's visual hull is empty, so that hollow objects can be seen more often in training; and objects
whose hull is full, which have the same outlines and are easier to guess."""

from collections.abc import Iterator
from dataclasses import replace

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


def in_hull(
    points: Float[Tensor, "b n 3"], camera: Camera, alpha: Float[Tensor, "b v 1 h w"], *, covered: float = 0.5
) -> Bool[Tensor, "b n"]:
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
    return rearrange(seen, "(b v) 1 n 1 -> b v n", b=len(points)).amin(1) > covered


@torch.no_grad()
def hollowness(pack: ObjectPack, cache: PointCache, *, at_once: int = 64) -> Float[Tensor, " n"]:
    """Of every object, the share of the hull of a level ring that is not object, by the points uniform in its box."""
    shares = []
    box = slice(cache.num_near, None, 2)
    for ids, camera, alpha in _rings(pack, num_views=12, size=96, at_once=at_once):
        hull = in_hull(cache.points[ids, box].float(), camera, alpha)
        empty = hull & (cache.distance[ids, box] > 0)
        shares.append(empty.sum(1) / hull.sum(1).clamp(min=1))
    return torch.cat(shares)


@torch.no_grad()
def filled(pack: ObjectPack, cache: PointCache, *, at_once: int = 64) -> PointCache:
    """The points of solids that look the same from a level ring: what no level view sees is inside.

    There the distance to the surface becomes negative, so that the field's zero level closes a cup at its rim.
    """
    distance = cache.distance.clone()
    for ids, camera, alpha in _rings(pack, num_views=16, size=192, at_once=at_once):
        hull = in_hull(cache.points[ids].float(), camera, alpha, covered=0.9)
        distance[ids] = torch.where(hull, -distance[ids].abs(), distance[ids])
    return replace(cache, distance=distance)


def _rings(
    pack: ObjectPack, *, num_views: int, size: int, at_once: int
) -> Iterator[tuple[Tensor, Camera, Float[Tensor, "b v 1 h w"]]]:
    """Objects as they are in the pack, a group at a time, from around."""
    ring = Camera.orbit([k * 360 / num_views for k in range(num_views)], device=pack.device)
    for ids in torch.arange(len(pack), device=pack.device).split(at_once):
        camera = Camera(ring.cam_from_world.expand(len(ids), -1, -1, -1), ring.intrinsics.expand(len(ids), -1, -1, -1))
        views = render_batch(pack, ids, plain_rigs(pack, ids), camera, size=size, supersample=1)
        yield ids, camera, views.alpha
