"""A quick look at the object from anywhere: the reconstruction from the views at hand, without a mesh.

The large reconstruction model degrades gracefully with fewer views, so its picture at a new pose carries the mean
shape; a diffusion that is given this picture only adds what is missing (3D-aware interpolation).
"""

from collections import defaultdict
from collections.abc import Callable, Sequence

import torch
from einops import rearrange
from jaxtyping import Float
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


class CoarseRenderer(nn.Module):
    """Views of one object in, views from other cameras out, by signed distance on a `resolution`^3 grid.

    With a `second` network, signed distances (up to TRUNCATION) and colours are the means of both, in which it has
    `second_share`: networks that were trained apart are wrong in different places.
    """

    def __init__(
        self,
        network: LargeReconstructionModel,
        *,
        second: LargeReconstructionModel | None = None,
        second_share: float = 0.5,
        resolution: int = 64,
        size: int = 128,
    ):
        """Rays are marched for pictures of at most `size` pixels, which then get the size of the views that come."""
        super().__init__()
        self.network, self.second, self.second_share = network, second, second_share
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
            made |= {
                k: same_size(self.render(each, cameras[k], min(self.size, objects[k].size)), objects[k].size)
                for k, each in zip(indices, zip(*fields, strict=True), strict=True)
            }
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
        return one * (1 - self.second_share) + other * self.second_share


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
