"""A quick look at the object from anywhere: the reconstruction from the views at hand, without a mesh.

The large reconstruction model degrades gracefully with fewer views, so its picture at a new pose carries the mean
shape; a diffusion that is given this picture only adds what is missing (3D-aware interpolation).
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from infinitemesh.errors import InputError
from infinitemesh.models.field_decoders import FieldDecoders
from infinitemesh.models.lrm import LargeReconstructionModel
from infinitemesh.stages.grid_march import grid_points, march_grid
from infinitemesh.stages.reconstruction import TriplaneReconstruction
from infinitemesh.stages.view_sets import from_rgba, same_size
from infinitemesh.steps import step
from infinitemesh.types import Camera, Triplane, ViewSet

POINTS_AT_ONCE = 1 << 17
TRUNCATION = 0.1  # distances were taught up to here
LEVEL_DEG = 0.5


class CoarseRenderer(nn.Module):
    """Views of one object in, views from other cameras out, by signed distance on a `resolution`^3 grid.

    With a `second` network, signed distances (up to TRUNCATION) and colours are the means of both, in which it has
    `second_share`: networks that were trained apart are wrong in different places. Level orthographic views of one
    object have the same top and bottom; with `fit_rows` those that are made are stretched to the top and bottom of
    those that come, since what is unsure and thin is lost at the ends.
    """

    def __init__(
        self,
        network: LargeReconstructionModel,
        *,
        second: LargeReconstructionModel | None = None,
        second_share: float = 0.5,
        fit_rows: bool = False,
        resolution: int = 64,
        size: int = 128,
    ):
        """Rays are marched for pictures of at most `size` pixels, which then get the size of the views that come."""
        super().__init__()
        self.network, self.second, self.second_share, self.fit_rows = network, second, second_share, fit_rows
        self.resolution, self.size = resolution, size
        if not 0 <= second_share <= 1:
            raise InputError(f"second_share is a share in [0, 1], got {second_share}")
        if second is not None and second.config["half_extent"] != network.config["half_extent"]:
            raise InputError("two networks whose fields are averaged must cover the same cube: half_extent differs")

    def forward(self, views: ViewSet, cameras: Camera) -> ViewSet:
        return self.batch([views], [cameras])[0]

    @step("coarse views")
    @torch.no_grad()
    def batch(self, objects: Sequence[ViewSet], cameras: Sequence[Camera]) -> list[ViewSet]:
        """Objects with equally many views of one size share a call of the network."""
        alike = defaultdict(list)
        for index, views in enumerate(objects):
            alike[len(views), views.size, views.camera.projection].append(index)
        made: dict[int, ViewSet] = {}
        stages = [TriplaneReconstruction(network, hold_outlines=False) for network in self._networks()]
        for indices in alike.values():
            fields = [stage.batch([objects[k] for k in indices]) for stage in stages]
            for k, each in zip(indices, zip(*fields, strict=True), strict=True):
                views = same_size(self.render(each, cameras[k], min(self.size, objects[k].size)), objects[k].size)
                made[k] = with_rows_of(objects[k], views) if self.fit_rows else views
        return [made[k] for k in range(len(objects))]

    @step("render")
    @torch.no_grad()
    def render(self, triplanes: Sequence[Triplane], cameras: Camera, size: int) -> ViewSet:
        """The fields' zero level, unlit, on the cameras' device; one triplane for each network."""
        half_extent, device = triplanes[0].half_extent, triplanes[0].planes.device
        readers = [
            _FieldReader(network.decoders, triplane)
            for network, triplane in zip(self._networks(), triplanes, strict=True)
        ]
        grid = grid_points(self.resolution, half_extent, device)
        distance = self._mean([reader.distance(grid) for reader in readers], up_to=TRUNCATION)
        distance = rearrange(distance, "(x y z) -> x y z", x=self.resolution, y=self.resolution)
        hits = march_grid(distance, cameras.to(device), size, half_extent=half_extent)
        seen = hits.coverage > 0
        pictures = torch.zeros(*seen.shape, 4, device=device)
        if seen.any():
            colour = self._mean([reader.colour(hits.point[seen]) for reader in readers])
            pictures[seen] = torch.cat([colour, hits.coverage[seen][:, None]], dim=-1)
        pictures = rearrange(pictures, "v h w c -> v c h w").to(cameras.cam_from_world.device)
        return from_rgba(pictures, cameras, is_main=False)

    def _networks(self) -> list[LargeReconstructionModel]:
        return [self.network] if self.second is None else [self.network, self.second]

    def _mean(self, answers: Sequence[Tensor], *, up_to: float | None = None) -> Tensor:
        """One answer as it is; of two the mean, each clamped to +-`up_to` where that is given."""
        if len(answers) == 1:
            return answers[0]
        one, other = answers if up_to is None else (answer.clamp(-up_to, up_to) for answer in answers)
        return torch.lerp(one, other, self.second_share)


class _FieldReader:
    """One triplane through the decoders that know it, some points at a time."""

    def __init__(self, decoders: FieldDecoders, triplane: Triplane):
        self.decoders, self.triplane = decoders, triplane
        self.planes = triplane.planes[None].to(next(decoders.parameters()).dtype)

    def distance(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        return self._ask(self.decoders.sdf, points)

    def colour(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        return self._ask(self.decoders.colour, points)

    def _ask(self, question: Callable[[Tensor, Tensor], Tensor], points: Float[Tensor, "n 3"]) -> Tensor:
        field_points = self.triplane.field_from_world
        return torch.cat(
            [
                question(self.planes, field_points(some)[None].to(self.planes.dtype))[0].float()
                for some in points.split(POINTS_AT_ONCE)
            ]
        )


def with_rows_of(given: ViewSet, views: ViewSet) -> ViewSet:
    """The level ones of orthographic `views`, stretched along their columns so that the object begins and ends in the
    rows where it does in the level ones of `given`; others, and all where either shows no object, as they are."""
    if views.camera.projection != "orthographic" or given.camera.projection != "orthographic":
        return views
    known = given.alpha[_is_level(given.camera)].amax(0, keepdim=True)
    wanted, found = _rows(known, given.size), _rows(views.alpha, views.size)
    centre, half = (wanted[:, 0] + wanted[:, 1]) / 2, (wanted[:, 1] - wanted[:, 0]) / 2
    old_centre, old_half = (found[:, 0] + found[:, 1]) / 2, (found[:, 1] - found[:, 0]) / 2
    fits = _is_level(views.camera) & (old_half > 0) & (half > 0)
    if not fits.any():
        return views
    factor = torch.where(fits, old_half / half.clamp(min=1e-6), 1.0)
    shift = torch.where(fits, old_centre - centre * factor, 0.0)
    one, zero = torch.ones_like(factor), torch.zeros_like(factor)
    theta = torch.stack([torch.stack([one, zero, zero], -1), torch.stack([zero, factor, shift], -1)], dim=1)
    layers = torch.cat([views.rgb * views.alpha, views.alpha], dim=1)
    layers = F.grid_sample(layers, F.affine_grid(theta, list(layers.shape), align_corners=False), align_corners=False)
    alpha = layers[:, 3:]
    rgb = (layers[:, :3] / alpha.clamp(min=1e-4)).clamp(0, 1)
    kept = ~fits[:, None, None, None]
    return replace(views, rgb=torch.where(kept, views.rgb, rgb), alpha=torch.where(kept, views.alpha, alpha))


def _is_level(camera: Camera) -> Bool[Tensor, " v"]:
    return camera.elevation_deg.abs() < LEVEL_DEG


def _rows(alpha: Float[Tensor, "v 1 s s"], size: int) -> Float[Tensor, "v 2"]:
    """Where the object begins and ends, in a picture that reaches from -1 to 1; the same twice where there is none."""
    covered = (alpha[:, 0] > 0.5).any(-1) if len(alpha) else alpha.new_zeros(1, size, dtype=torch.bool)
    at = torch.arange(size, device=alpha.device)
    first = torch.where(covered, at, size).amin(-1)
    end = torch.where(covered, at + 1, -1).amax(-1)
    end = torch.where(covered.any(-1), end, first)
    return torch.stack([first, end], dim=-1) / size * 2 - 1
