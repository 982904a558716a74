"""Thin parts that a field lost, and a photograph shows: every ray within its outline meets the object somewhere."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from infinitemesh.render.outlines import Outlines, picture_distances, points_on_rays
from infinitemesh.steps import step

RAYS_PX = 96  # rays across the picture
RAY_STEP = 0.025  # world units; two cells of a grid of 144 over the field
HALF_THICKNESS = 0.015  # world units: the sheet's, or so many cells of a coarse surface grid:
HALF_THICKNESS_CELLS = 0.9
SOFTNESS = 0.005  # world units: distances that differ by less share in saying where the sheet is
SPREAD_PX = 5  # rays that it is smoothed over
OVERLAP_PX = 1.5  # rays that it reaches into what is there


@dataclass(frozen=True)
class Sheet:
    """A thin solid where a photograph's rays miss a field, at the depth where they come closest to it."""

    depths: Float[Tensor, "1 1 s s"]  # along the camera's axis, world units
    missed: Float[Tensor, "1 1 s s"]  # signed distance to where rays miss, in picture widths, negative there
    outline: Outlines
    half_thickness: float = HALF_THICKNESS

    def distance(self, points: Float[Tensor, "p 3"]) -> Float[Tensor, " p"]:
        """How far world points are outside, in world units, measured along the axis or across it; a bound."""
        camera = self.outline.camera
        uv, depth = camera.project(points)
        at = rearrange(uv * 2 - 1, "1 p uv -> 1 1 p uv")
        middle, missed = (
            F.grid_sample(values, at, padding_mode="border", align_corners=False)[0, 0, 0]
            for values in (self.depths, self.missed - OVERLAP_PX / RAYS_PX)
        )
        across = missed / camera.intrinsics[0, 0, 0]
        if camera.projection == "perspective":
            across = across * depth[0]
        along = (depth[0] - middle).abs() - self.half_thickness
        return torch.stack([along, across, self.outline.distance(points)]).amax(0)


@step("thin parts")
def thin_parts(
    field: Callable[[Float[Tensor, "p 3"]], Float[Tensor, " p"]], outline: Outlines, *, chunk: int, cell: float = 0.0
) -> Sheet | None:
    """What the rays of one view's `outline` miss of a field (signed distances at world points).

    `cell` is that of the grid on which the surface is looked for, in world units. None if nothing is missed, or
    everything: of an empty field no part was lost.
    """
    camera = outline.camera
    enclosed = F.interpolate(outline.distances, (RAYS_PX, RAYS_PX), mode="bilinear", antialias=True)[0, 0] < 0
    if not enclosed.any():
        return None
    points = points_on_rays(camera, enclosed[None], RAY_STEP)
    depth = camera.project(points.flatten(0, 1))[1].reshape(points.shape[:2])
    distance = torch.cat([field(some) for some in points.flatten(0, 1).split(chunk)]).reshape(depth.shape)
    least, at = distance.min(1)
    if (close := (least > 0) & (least < RAY_STEP / 2)).any():  # a wall may stand between two samples
        offsets = torch.tensor([-0.6, -0.3, 0.3, 0.6], device=depth.device)[:, None]  # of a step
        ray = points[close, 1] - points[close, 0]
        closer = points[close, at[close]][:, None] + offsets * ray[:, None]
        found = torch.cat([field(some) for some in closer.flatten(0, 1).split(chunk)]).reshape(-1, len(offsets))
        least = least.masked_scatter(close, torch.minimum(least[close], found.amin(1)))
    if not 0 < int((least > 0).sum()) < len(least):
        return None
    closest = (depth * torch.softmax(-distance / SOFTNESS, dim=1)).sum(1)
    known = enclosed.float()
    depths = torch.zeros_like(known).masked_scatter_(enclosed, closest)
    missed = torch.zeros_like(known).masked_scatter_(enclosed, (least > 0).float())
    around, share = (F.avg_pool2d(x[None], SPREAD_PX, 1, SPREAD_PX // 2) for x in (depths, known))
    smooth = around / share.clamp(min=1e-6) + (share == 0) * closest.mean()
    return Sheet(
        smooth[None],
        picture_distances(missed[None])[None],
        outline,
        max(HALF_THICKNESS, HALF_THICKNESS_CELLS * cell),
    )
