"""Volume rendering of a field, for the stage that warms a reconstruction model up before its surface exists.

The field gives a signed distance (negative inside) and a colour. What it hides is a choice:

- `LaplaceOpacity`: density is the Laplace CDF of the signed distance (Yariv et al. 2021, VolSDF).
- `LogisticOpacity`: opacity is the fall of the logistic CDF along the ray (Wang et al. 2021, NeuS).
- `SoftplusOpacity`: the field gives raw density instead of a distance (InstantMesh's NeRF stage).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

Field = Callable[[Float[Tensor, "p 3"]], tuple[Float[Tensor, " p"], Float[Tensor, "p 3"]]]


@runtime_checkable
class Opacity(Protocol):
    """How much of the light an interval of a ray stops, from the field's values at its two ends and its length."""

    def __call__(
        self, start: Float[Tensor, "r s"], end: Float[Tensor, "r s"], length: Float[Tensor, "r s"]
    ) -> Float[Tensor, "r s"]: ...


@dataclass(frozen=True)
class LaplaceOpacity:
    """Density 1 / beta deep inside, half of it on the surface. `beta` is the blur's width in world units."""

    beta: float | Float[Tensor, ""] = 0.02

    def __call__(
        self, start: Float[Tensor, "r s"], end: Float[Tensor, "r s"], length: Float[Tensor, "r s"]
    ) -> Float[Tensor, "r s"]:
        distance = (start + end) / 2
        tail = 0.5 * torch.exp(-distance.abs() / self.beta)
        density = torch.where(distance > 0, tail, 1 - tail) / self.beta
        return 1 - torch.exp(-density * length)


@dataclass(frozen=True)
class LogisticOpacity:
    """`sharpness` is the logistic's inverse width, in 1 / world units. Only entering a surface is opaque."""

    sharpness: float | Float[Tensor, ""] = 64.0

    def __call__(
        self, start: Float[Tensor, "r s"], end: Float[Tensor, "r s"], length: Float[Tensor, "r s"]
    ) -> Float[Tensor, "r s"]:
        before, after = F.logsigmoid(self.sharpness * start), F.logsigmoid(self.sharpness * end)
        return -torch.expm1((after - before).clamp(max=0))  # 1 - after / before, also deep inside


@dataclass(frozen=True)
class SoftplusOpacity:
    """Midpoint rule on raw values: density softplus(raw - 1)."""

    def __call__(
        self, start: Float[Tensor, "r s"], end: Float[Tensor, "r s"], length: Float[Tensor, "r s"]
    ) -> Float[Tensor, "r s"]:
        return 1 - torch.exp(-F.softplus((start + end) / 2 - 1) * length)


def render_volume(
    field: Field,
    origins: Float[Tensor, "r 3"],
    directions: Float[Tensor, "r 3"],
    *,
    half_extent: float,
    samples: int = 64,
    importance: int = 64,
    opacity: Opacity | None = None,
    background: float | Float[Tensor, " 3"] = 1.0,
    generator: torch.Generator | None = None,
) -> tuple[Float[Tensor, "r 3"], Float[Tensor, " r"], Float[Tensor, " r"]]:
    """(rgb over the background, opacity, depth) of rays through the cube [-half_extent, half_extent]^3.

    Directions are unit vectors and depth is the distance from the origin, weighted by what is seen and not divided by
    opacity: 0 where the ray meets nothing. `samples` are spread evenly and jittered within their strata by `generator`
    (on the CPU; None puts them into the middle), `importance` more go where the first ones found matter. `opacity` None
    is `LaplaceOpacity()`. The field is asked ray by ray: `points.reshape(r, -1, 3)` are the samples of every ray.
    """
    opacity = opacity or LaplaceOpacity()
    near, far = _through_cube(origins, directions, half_extent)
    t = near[:, None] + (far - near)[:, None] * _strata(len(origins), samples, origins, generator)
    value, rgb = _ask(field, origins, directions, t)
    if importance > 0:
        with torch.no_grad():
            weights = _weights(opacity(value[:, :-1], value[:, 1:], t.diff(dim=-1)))
            fine = _where_it_matters(t, weights, _strata(len(origins), importance, origins, generator))
        fine_value, fine_rgb = _ask(field, origins, directions, fine)
        t, order = torch.cat([t, fine], dim=-1).sort(dim=-1)
        value = torch.cat([value, fine_value], dim=-1).gather(1, order)
        rgb = torch.cat([rgb, fine_rgb], dim=1).gather(1, order[..., None].expand(-1, -1, 3))
    weights = _weights(opacity(value[:, :-1], value[:, 1:], t.diff(dim=-1)))
    seen = weights.sum(-1)
    colour = (weights[..., None] * (rgb[:, :-1] + rgb[:, 1:]) / 2).sum(1)
    behind = torch.as_tensor(background, dtype=rgb.dtype, device=rgb.device)
    depth = (weights * (t[:, :-1] + t[:, 1:]) / 2).sum(-1)
    return colour + (1 - seen)[:, None] * behind, seen, depth


def _through_cube(
    origins: Float[Tensor, "r 3"], directions: Float[Tensor, "r 3"], half_extent: float
) -> tuple[Float[Tensor, " r"], Float[Tensor, " r"]]:
    """Distances where rays enter and leave, never behind the origin; both the same for a ray that misses."""
    safe = torch.where(directions.abs() < 1e-9, 1e-9, directions)
    one, other = (-half_extent - origins) / safe, (half_extent - origins) / safe
    near = torch.minimum(one, other).amax(-1).clamp(min=0)
    far = torch.maximum(one, other).amin(-1)
    return near, torch.maximum(near, far)


def _strata(rays: int, samples: int, like: Tensor, generator: torch.Generator | None) -> Float[Tensor, "r s"]:
    """One number of (0, 1) in each of `samples` equal parts."""
    if generator is None:
        within = torch.full((rays, samples), 0.5)
    else:
        within = torch.rand(rays, samples, generator=generator)
    return ((torch.arange(samples) + within) / samples).to(like)


def _ask(
    field: Field, origins: Float[Tensor, "r 3"], directions: Float[Tensor, "r 3"], t: Float[Tensor, "r s"]
) -> tuple[Float[Tensor, "r s"], Float[Tensor, "r s 3"]]:
    points = origins[:, None] + t[..., None] * directions[:, None]
    value, rgb = field(rearrange(points, "r s xyz -> (r s) xyz"))
    return value.reshape(t.shape), rearrange(rgb, "(r s) c -> r s c", s=t.shape[1])


def _weights(alpha: Float[Tensor, "r s"]) -> Float[Tensor, "r s"]:
    """What of each interval reaches the eye."""
    passed = torch.cumprod(torch.cat([torch.ones_like(alpha[:, :1]), 1 - alpha[:, :-1]], dim=-1), dim=-1)
    return alpha * passed


def _where_it_matters(
    t: Float[Tensor, "r s"], weights: Float[Tensor, "r i"], u: Float[Tensor, "r f"]
) -> Float[Tensor, "r f"]:
    """Inverse transform sampling of the intervals' weights, blurred as mip-NeRF does so that no edge is missed."""
    blurred = F.max_pool1d(weights[:, None], 2, stride=1, padding=1)
    blurred = F.avg_pool1d(blurred, 2, stride=1)[:, 0] + 0.01
    share = blurred / blurred.sum(-1, keepdim=True)
    end = share.cumsum(-1)
    interval = torch.searchsorted(end, u.contiguous()).clamp(max=weights.shape[1] - 1)
    start = (end - share).gather(1, interval)
    within = ((u - start) / share.gather(1, interval)).clamp(0, 1)
    return t[:, :-1].gather(1, interval) + within * t.diff(dim=-1).gather(1, interval)
