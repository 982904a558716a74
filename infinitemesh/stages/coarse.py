"""A quick look at the object from anywhere: the reconstruction from the views at hand, without a mesh.

The large reconstruction model degrades gracefully with fewer views, so its picture at a new pose carries the mean
shape; a diffusion that is given this picture only adds what is missing (3D-aware interpolation).
"""

from collections import defaultdict
from collections.abc import Sequence

import torch
from einops import rearrange
from torch import nn

from infinitemesh.models.lrm import LargeReconstructionModel
from infinitemesh.stages.grid_march import grid_points, march_grid
from infinitemesh.stages.reconstruction import TriplaneReconstruction
from infinitemesh.stages.view_sets import from_rgba, same_size
from infinitemesh.steps import step
from infinitemesh.types import Camera, Triplane, ViewSet

POINTS_AT_ONCE = 1 << 17


class CoarseRenderer(nn.Module):
    """Views of one object in, views from other cameras out, by signed distance on a `resolution`^3 grid."""

    def __init__(self, network: LargeReconstructionModel, *, resolution: int = 64, size: int = 128):
        """Rays are marched for pictures of at most `size` pixels, which then get the size of the views that come."""
        super().__init__()
        self.network = network
        self.resolution, self.size = resolution, size

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
        reconstruct = TriplaneReconstruction(self.network)
        for indices in alike.values():
            fields = reconstruct.batch([objects[k] for k in indices])
            made |= {
                k: same_size(self.render(field, cameras[k], min(self.size, objects[k].size)), objects[k].size)
                for k, field in zip(indices, fields, strict=True)
            }
        return [made[k] for k in range(len(objects))]

    @step("render")
    @torch.no_grad()
    def render(self, triplane: Triplane, cameras: Camera, size: int) -> ViewSet:
        """The field's zero level, unlit, on the cameras' device."""
        decoders = self.network.decoders
        planes = triplane.planes[None].to(next(decoders.parameters()).dtype)

        def ask(question, points):
            return torch.cat(
                [
                    question(planes, triplane.field_from_world(some)[None].to(planes.dtype))[0].float()
                    for some in points.split(POINTS_AT_ONCE)
                ]
            )

        distance = ask(decoders.sdf, grid_points(self.resolution, triplane.half_extent, planes.device))
        grid = rearrange(distance, "(x y z) -> x y z", x=self.resolution, y=self.resolution)
        hits = march_grid(grid, cameras.to(planes.device), size, half_extent=triplane.half_extent)
        seen = hits.coverage > 0
        pictures = torch.zeros(*seen.shape, 4, device=planes.device)
        if seen.any():
            colour = ask(decoders.colour, hits.point[seen])
            pictures[seen] = torch.cat([colour, hits.coverage[seen][:, None]], dim=-1)
        pictures = rearrange(pictures, "v h w c -> v c h w").to(cameras.cam_from_world.device)
        return from_rgba(pictures, cameras, is_main=False)
