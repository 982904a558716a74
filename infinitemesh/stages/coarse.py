"""A quick look at the object from anywhere: the reconstruction from the views at hand, without a mesh.

The large reconstruction model degrades gracefully with fewer views, so its picture at a new pose carries the mean
shape; a diffusion that is given this picture only adds what is missing (3D-aware interpolation).
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from infinitemesh.errors import InputError
from infinitemesh.models.field_decoders import FieldDecoders
from infinitemesh.models.lrm import LargeReconstructionModel
from infinitemesh.models.proportions import ProportionMemory
from infinitemesh.stages.grid_march import grid_points, march_grid, sample_grid
from infinitemesh.stages.reconstruction import TriplaneReconstruction
from infinitemesh.stages.view_sets import from_rgba, rgba, same_size
from infinitemesh.steps import step
from infinitemesh.types import Camera, Triplane, ViewSet

POINTS_AT_ONCE = 1 << 17
TRUNCATION = 0.1  # distances were taught up to here
NETWORK_DEVIATION = 0.35  # of the log of the depth that networks make
MAX_STRETCH = 3.0


class CoarseRenderer(nn.Module):
    """Views of one object in, views from other cameras out, by signed distance on a `resolution`^3 grid.

    With a `second` network, signed distances (up to TRUNCATION) and colours are the means of both, in which it has
    `second_share`: networks that were trained apart are wrong in different places. What one view does not show is how
    deep its object is: with `proportions` the shape is stretched along that view towards the depth of the remembered
    things that look like it, by `proportions_share` of the difference (of logarithms) where these agree with each
    other and by less where they do not.
    """

    def __init__(
        self,
        network: LargeReconstructionModel,
        *,
        second: LargeReconstructionModel | None = None,
        second_share: float = 0.5,
        proportions: ProportionMemory | None = None,
        proportions_share: float = 1.0,
        resolution: int = 64,
        size: int = 128,
    ):
        """Rays are marched for pictures of at most `size` pixels, which then get the size of the views that come."""
        super().__init__()
        self.network, self.second, self.second_share = network, second, second_share
        self.proportions, self.proportions_share = proportions, proportions_share
        self.resolution, self.size = resolution, size
        for name, share in {"second_share": second_share, "proportions_share": proportions_share}.items():
            if not 0 <= share <= 1:
                raise InputError(f"{name} is a share in [0, 1], got {share}")
        if proportions is not None and (network.semantics is None or network.semantics.recognition is None):
            raise InputError("remembered proportions are found by a recognition: the first network must have one")
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
            known = self._known([objects[k] for k in indices])
            for k, each, depth in zip(indices, zip(*fields, strict=True), known, strict=True):
                views = self.render(each, cameras[k], min(self.size, objects[k].size), known=depth)
                made[k] = same_size(views, objects[k].size)
        return [made[k] for k in range(len(objects))]

    @step("render")
    @torch.no_grad()
    def render(
        self, triplanes: Sequence[Triplane], cameras: Camera, size: int, *, known: "KnownDepth | None" = None
    ) -> ViewSet:
        """The fields' zero level, unlit, on the cameras' device; one triplane for each network."""
        half_extent, device = triplanes[0].half_extent, triplanes[0].planes.device
        readers = [
            _FieldReader(network.decoders, triplane)
            for network, triplane in zip(self._networks(), triplanes, strict=True)
        ]
        grid = grid_points(self.resolution, half_extent, device)
        distance = self._mean([reader.distance(grid) for reader in readers], up_to=TRUNCATION)
        distance = rearrange(distance, "(x y z) -> x y z", x=self.resolution, y=self.resolution)
        stretch = None if known is None else known.stretch(grid, distance, self.proportions_share)
        if stretch is not None:
            distance = sample_grid(distance, stretch.back(grid), half_extent).reshape(distance.shape)
        hits = march_grid(distance, cameras.to(device), size, half_extent=half_extent)
        seen = hits.coverage > 0
        pictures = torch.zeros(*seen.shape, 4, device=device)
        if seen.any():
            points = hits.point[seen] if stretch is None else stretch.back(hits.point[seen])
            colour = self._mean([reader.colour(points) for reader in readers])
            pictures[seen] = torch.cat([colour, hits.coverage[seen][:, None]], dim=-1)
        pictures = rearrange(pictures, "v h w c -> v c h w").to(cameras.cam_from_world.device)
        return from_rgba(pictures, cameras, is_main=False)

    def _known(self, fronts: Sequence[ViewSet]) -> "list[KnownDepth | None]":
        """What is remembered of the depth of objects of one view."""
        if self.proportions is None or len(fronts[0]) != 1:
            return [None] * len(fronts)
        semantics = self.network.semantics
        assert semantics is not None
        device, dtype = self.network.device, self.network.dtype
        pictures = torch.cat([rgba(front) for front in fronts]).to(device)
        aspects = log_aspects(pictures[:, 3])
        means, deviations = self.proportions(semantics.describe(pictures.to(dtype)), aspects)
        axes = [front.camera.world_from_cam[0, :3, :3].to(device) for front in fronts]
        shown = (pictures[:, 3] > 0.5).flatten(1).any(1)
        return [
            KnownDepth(mean, deviation, matrix[:, 0], matrix[:, 2]) if is_shown else None
            for mean, deviation, matrix, is_shown in zip(means.tolist(), deviations.tolist(), axes, shown, strict=True)
        ]

    def _networks(self) -> list[LargeReconstructionModel]:
        return [self.network] if self.second is None else [self.network, self.second]

    def _mean(self, answers: Sequence[Tensor], *, up_to: float | None = None) -> Tensor:
        """One answer as it is; of two the mean, each clamped to +-`up_to` where that is given."""
        if len(answers) == 1:
            return answers[0]
        one, other = answers if up_to is None else (answer.clamp(-up_to, up_to) for answer in answers)
        return torch.lerp(one, other, self.second_share)


@dataclass(frozen=True)
class KnownDepth:
    """Of an object before a camera: log of its depth over its width, and how sure that is."""

    mean: float
    deviation: float
    across: Float[Tensor, " 3"]  # unit, world
    away: Float[Tensor, " 3"]  # the camera's axis of depth

    def stretch(self, points: Float[Tensor, "n 3"], distance: Float[Tensor, "x y z"], share: float) -> "Stretch | None":
        """From the depth that the field has at `points` towards this one; None for a field with nothing inside."""
        inside = points[distance.flatten() < 0]
        if not len(inside):
            return None
        along, over = inside @ self.away, inside @ self.across
        cell = (points[1] - points[0]).norm()
        depth, width = along.amax() - along.amin() + cell, over.amax() - over.amin() + cell
        sure = NETWORK_DEVIATION**2 / (NETWORK_DEVIATION**2 + self.deviation**2)
        factor = torch.exp(share * sure * (self.mean - torch.log(depth / width)))
        return Stretch(self.away, (along.amax() + along.amin()) / 2, factor.clamp(1 / MAX_STRETCH, MAX_STRETCH))


@dataclass(frozen=True)
class Stretch:
    """Along an axis, about where `centre` lies on it."""

    axis: Float[Tensor, " 3"]
    centre: Float[Tensor, ""]
    factor: Float[Tensor, ""]

    def back(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Where stretched points were before."""
        off = points @ self.axis - self.centre
        return points + (off * (1 / self.factor - 1))[:, None] * self.axis


def log_aspects(alpha: Float[Tensor, "b h w"]) -> Float[Tensor, " b"]:
    """Of outlines: log of width over height; 0 where there is none."""
    covered = alpha > 0.5
    width, height = (_extent(covered.any(dim)) for dim in (1, 2))
    return torch.where(width > 0, torch.log(width.clamp(min=1) / height.clamp(min=1)), 0.0)


def _extent(covered: Bool[Tensor, "b n"]) -> Float[Tensor, " b"]:
    at = torch.arange(covered.shape[1], device=covered.device)
    first = torch.where(covered, at, covered.shape[1]).amin(1)
    return (torch.where(covered, at, -1).amax(1) - first + 1).clamp(min=0).float()


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
