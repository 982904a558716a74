"""Where an object cannot be: outside an outline that some view shows of it (outside the visual hull)."""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from infinitemesh.render.nearest import nearest_true
from infinitemesh.types import FIELD_HALF_EXTENT, Camera, ViewSet

REACH = 0.06  # of the picture's width: 0.1 world units in an orthographic view of the field
COARSE_PX = 40  # rays across a picture that are asked whether the views agree, every RAY_STEP world units
RAY_STEP = 0.02
TOLERANCE = 0.012  # world units: half a step and a quarter of a pixel
AGREEMENT = 0.999  # 14 scans' true views: 1.0000, also when posed 0.5 degrees off; rings made of a photograph: 0.76-1


@dataclass(frozen=True)
class Outlines:
    """Signed distances to the outline in each view's picture, in picture widths, positive outside, up to REACH.

    Beyond its border a picture goes on as it ends.
    """

    distances: Float[Tensor, "v 1 h w"]
    camera: Camera

    @staticmethod
    def of(views: ViewSet) -> "Outlines":
        """The outline runs where alpha, between pixels too, is 0.5."""
        return Outlines(picture_distances(views.alpha[:, 0].float())[:, None], views.camera)

    def distance(self, points: Float[Tensor, "p 3"]) -> Float[Tensor, " p"]:
        """How far world points are outside the outline that excludes them most; negative inside all of them.

        In world units, measured parallel to the picture: for orthographic views the object is nowhere nearer. Behind a
        perspective camera nothing is seen, and nothing excluded.
        """
        uv, depth = self.camera.project(points)
        at = rearrange(uv * 2 - 1, "v p uv -> v 1 p uv")
        widths = F.grid_sample(self.distances, at, padding_mode="border", align_corners=False)[:, 0, 0]
        if self.camera.projection == "perspective":
            widths = torch.where(depth > 0, widths * depth, -REACH)
        focal = self.camera.intrinsics[:, (0, 1), (0, 1)].amax(-1, keepdim=True)
        return (widths / focal).amax(0)

    @property
    def agreement(self) -> float:
        """Of what each outline encloses, the share that all of them together leave, as the mean over the views.

        Outlines of one object leave all of it: every ray through the object meets a place that no view excludes. A view
        without an outline leaves nothing, and one whose outline is finer than the rays is not asked.
        """
        coarse = F.interpolate(self.distances, (COARSE_PX, COARSE_PX), mode="bilinear", align_corners=False)
        enclosed = coarse[:, 0] < 0
        points = points_on_rays(self.camera, enclosed, RAY_STEP)
        num_rays, steps = points.shape[:2]
        ray = torch.arange(num_rays, device=points.device).repeat_interleave(steps)
        points = points.flatten(0, 1)
        for k in range(len(self.camera)):  # one by one, because each leaves few points for the next
            left = Outlines(self.distances[[k]], self.camera[[k]]).distance(points) < TOLERANCE
            points, ray = points[left], ray[left]
        met = torch.zeros(num_rays, device=points.device).index_fill_(0, ray, 1.0)
        left = torch.zeros_like(coarse[:, 0]).masked_scatter(enclosed, met)
        is_empty = (self.distances >= 0).flatten(1).all(1)
        shares = left.sum((1, 2)) / enclosed.sum((1, 2)).clamp(min=1)
        asked = enclosed.flatten(1).any(1) | is_empty
        return float(shares[asked].mean()) if asked.any() else 1.0

    @property
    def agree(self) -> bool:
        """Whether they can be of one object, seen from where the cameras say."""
        return self.agreement >= AGREEMENT

    def to(self, device: torch.device | str) -> "Outlines":
        return replace(self, distances=self.distances.to(device), camera=self.camera.to(device))


def points_on_rays(camera: Camera, chosen: Bool[Tensor, "v s s"], step: float) -> Float[Tensor, "n k 3"]:
    """World points, `step` apart, on the rays through the chosen pixels, as far as the field reaches before and behind
    where each ray passes its middle."""
    origin, direction = (rays[chosen] for rays in camera.rays(chosen.shape[-1]))
    nearest_to_centre = -(origin * direction).sum(-1, keepdim=True)
    steps = torch.arange(-FIELD_HALF_EXTENT, FIELD_HALF_EXTENT + step, step, device=origin.device)
    return origin[:, None] + (nearest_to_centre + steps)[..., None] * direction[:, None]


def picture_distances(alpha: Float[Tensor, "v h w"]) -> Float[Tensor, "v h w"]:
    """To the outline's piece, a pixel long, about the nearest pixel that it passes, in picture widths.

    Good to a part of a pixel near the outline, to half a pixel farther off.
    """
    height, width = alpha.shape[1:]
    inside = alpha >= 0.5
    passed = _outline_pixels(inside)
    nearest = nearest_true(passed, within=round(REACH * width) + 2)
    nearest += torch.arange(len(alpha), device=alpha.device)[:, None, None] * (height * width)
    across, along = _to_piece(alpha, passed, nearest)
    distance = torch.hypot(across, (along.abs() - 0.5).clamp(min=0)) / width
    is_found = passed.take(nearest)  # not in a view without an outline, nor far from one
    return torch.where(inside, -1.0, 1.0) * torch.where(is_found, distance, REACH).clamp(max=REACH)


def _outline_pixels(inside: Bool[Tensor, "v h w"]) -> Bool[Tensor, "v h w"]:
    """Those with a neighbour on the other side, above, below or beside them."""
    passed = torch.zeros_like(inside)
    for axis in (1, 2):
        last = inside.shape[axis] - 1
        changes = inside.narrow(axis, 1, last) != inside.narrow(axis, 0, last)
        passed.narrow(axis, 0, last).logical_or_(changes)
        passed.narrow(axis, 1, last).logical_or_(changes)
    return passed


def _to_piece(
    alpha: Float[Tensor, "v h w"], passed: Bool[Tensor, "v h w"], nearest: Int[Tensor, "v h w"]
) -> tuple[Float[Tensor, "v h w"], Float[Tensor, "v h w"]]:
    """From each pixel to the middle of the outline's piece in the pixel `nearest`, across it and along it, in pixels.

    Around a pixel's centre alpha is taken for a plane, with the steeper of the two slopes along each axis; the piece is
    where that is 0.5.
    """
    view, row, column = passed.nonzero(as_tuple=True)
    padded = F.pad(alpha[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    here, slopes = alpha[passed], []
    for down, right in ((1, 0), (0, 1)):
        before = here - padded[view, row + 1 - down, column + 1 - right]
        after = padded[view, row + 1 + down, column + 1 + right] - here
        slopes.append(torch.where(before.abs() > after.abs(), before, after))
    slope = torch.stack(slopes)
    steepness = slope.norm(dim=0)
    by_row, by_column = slope / steepness
    ahead = (0.5 - here) / steepness + row * by_row + column * by_column  # of the picture's corner, across the piece
    at = [torch.zeros_like(alpha).masked_scatter_(passed, part).take(nearest) for part in (ahead, by_row, by_column)]
    side = torch.zeros_like(alpha).masked_scatter_(passed, column * by_row - row * by_column).take(nearest)
    rows, columns = (torch.arange(size, device=alpha.device) for size in alpha.shape[1:])
    across = at[0] - rows[:, None] * at[1] - columns * at[2]
    along = side - columns * at[1] + rows[:, None] * at[2]
    return across, along
