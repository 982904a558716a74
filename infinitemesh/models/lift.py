"""Projection-lifted triplane tokens: image features carried to 3D by the known cameras.

A plain LRM has to discover the cameras' geometry by itself, which takes orders of magnitude more steps than a small
budget has (IoU 0.2 after minutes); with lifted tokens the same budget gives 0.6. Each voxel of a coarse volume is
projected into every view; features and alpha found there are pooled over the views (any number of them), mixed by a few
3D convolutions, and each plane token reads the column of voxels behind it. A finer volume of alpha alone is the visual
hull.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from infinitemesh.geometry.bilinear import can_gather, gather_bilinear
from infinitemesh.types import Camera

CPU_VOXELS = 1 << 15  # at a time: their coordinates stay in the cache, and a fine hull of many views takes no memory


class ProjectionLift(nn.Module):
    """RGBA views and cameras -> one added token for each of the 3 r^2 plane tokens."""

    def __init__(
        self,
        *,
        dim: int,
        low_res: int,
        pixel_channels: int = 32,
        volume_channels: int = 32,
        hull_per_token: int = 2,
        half_extent: float = 0.9,
        spread: bool = False,
        context_channels: int = 0,
    ):
        """`spread` also pools the deviation over the views: where they disagree there is no surface, which is the one
        cue against the hull. `context_channels` > 0 mixes the volume at 1/2 and 1/4 of its resolution too, so that a
        voxel knows the whole object. Both start as no change at all: trained weights without them can be continued.
        """
        super().__init__()
        self.low_res, self.hull_per_token, self.half_extent = low_res, hull_per_token, half_extent
        self.pixels = nn.Sequential(
            nn.PixelUnshuffle(4),
            nn.Conv2d(64, 64, 3, 1, 1),
            nn.SiLU(),
            nn.Conv2d(64, 64, 3, 1, 1),
            nn.SiLU(),
            nn.Conv2d(64, pixel_channels, 3, 1, 1),
        )
        self.mix_in = nn.Conv3d(2 * pixel_channels + 2, volume_channels, 1)
        self.mix = nn.Sequential(
            nn.SiLU(),
            nn.Conv3d(volume_channels, volume_channels, 3, 1, 1),
            nn.SiLU(),
            nn.Conv3d(volume_channels, volume_channels, 3, 1, 1),
        )
        self.mix_spread, self.context = None, None
        if spread:
            self.mix_spread = nn.Conv3d(pixel_channels, volume_channels, 1, bias=False)
            nn.init.zeros_(self.mix_spread.weight)
        if context_channels:
            self.context = VolumeContext(volume_channels, context_channels)
        column = low_res * volume_channels
        hull_column = 2 * hull_per_token**3 * low_res
        self.to_token = nn.Sequential(nn.Linear(column + hull_column, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(
        self,
        rgba: Float[Tensor, "b v 4 h w"],
        camera: Camera,
        semantics: Callable[[int], Float[Tensor, "bv c s s"]] | None = None,
    ) -> Float[Tensor, "b m d"]:
        """`semantics(size)` gives what is added to the pixels' features, which are `size` pixels wide."""
        # Composited on grey, so that transparent pixels say nothing about colour.
        seen = torch.cat([(rgba[:, :, :3] - 0.5) * rgba[:, :, 3:], rgba[:, :, 3:]], dim=2)
        features = self.pixels(rearrange(seen, "b v c h w -> (b v) c h w"))
        if semantics is not None:
            features = features + semantics(features.shape[-1])
        alpha = rearrange(rgba[:, :, 3:], "b v 1 h w -> (b v) 1 h w")
        found = self._pooled(features, camera, self.low_res, torch.amax)
        cover = self._pooled(alpha, camera, self.low_res, torch.amin)
        volume = self.mix_in(self._as_volume(torch.cat([found, cover], dim=1)).to(features.dtype))
        if self.mix_spread is not None:
            mean = found[:, : features.shape[1]]
            square, _ = self._pooled(features.square(), camera, self.low_res, torch.amax).chunk(2, dim=1)
            deviation = (square - mean.square()).clamp(min=1e-6).sqrt()
            volume = volume + self.mix_spread(self._as_volume(deviation).to(features.dtype))
        volume = volume + self.mix(volume)
        if self.context is not None:
            volume = volume + self.context(volume)
        k = self.hull_per_token
        hull = rearrange(
            self._pooled(alpha, camera, self.low_res * k, torch.amin),
            "b c (x i y j z l) -> b (c i j l) x y z",
            x=self.low_res, i=k, y=self.low_res, j=k, z=self.low_res, l=k,
        )  # fmt: skip
        volume = torch.cat([volume, hull.to(volume.dtype)], dim=1)
        columns = [  # the column and row axes of each plane: geometry.triplane.PLANE_AXES; tokens are row-major
            rearrange(volume, "b c x y z -> b (y x) (c z)"),
            rearrange(volume, "b c x y z -> b (z x) (c y)"),
            rearrange(volume, "b c x y z -> b (y z) (c x)"),
        ]
        return self.to_token(torch.cat(columns, dim=1))

    def _as_volume(self, voxels: Float[Tensor, "b c n"]) -> Float[Tensor, "b c x y z"]:
        return rearrange(voxels, "b c (x y z) -> b c x y z", x=self.low_res, y=self.low_res)

    def _pooled(
        self,
        images: Float[Tensor, "bv c h w"],
        camera: Camera,
        resolution: int,
        extreme: Callable[[Tensor, int], Tensor],
    ) -> Float[Tensor, "b 2*c n"]:
        """What the views show at the voxel centres (x slowest): its mean over the views, then its extreme."""
        images = images.float()  # half-precision coordinates miss by a pixel
        batch, at = len(camera.cam_from_world), self._centres(resolution, images.device)
        gathered = images.shape[1] > 1 and can_gather("zeros", images)  # one channel: grid_sample is the faster one
        pooled = []
        layers = max(CPU_VOXELS // resolution**2, 1) if images.device.type == "cpu" else resolution
        for slab in at.split(layers):
            found = (_gathered if gathered else _interpolated)(images, self._project(camera, slab, at))
            found = rearrange(found, "(b v) ... -> b v ...", b=batch)
            pooled.append(torch.stack([found.mean(1), extreme(found, 1)], dim=1))
        if gathered:
            return rearrange(torch.cat(pooled, dim=2), "b two n c -> b (two c) n")
        return rearrange(torch.cat(pooled, dim=3), "b two c n -> b (two c) n")

    def _centres(self, resolution: int, device: torch.device) -> Float[Tensor, " r"]:
        """Of the voxels, along each axis of the world."""
        return ((torch.arange(resolution, device=device) + 0.5) / resolution * 2 - 1) * self.half_extent

    def _project(
        self, camera: Camera, x: Float[Tensor, " slab"], yz: Float[Tensor, " r"]
    ) -> Float[Tensor, "bv slab*r*r 2"]:
        """Where voxel centres land in every view, in grid_sample's [-1, 1]."""
        matrix = camera.cam_from_world.float().flatten(0, -3)
        k = camera.intrinsics.float().flatten(0, -3)

        def coordinate(row: int) -> Tensor:  # in the camera frame; sums, so that autocast leaves it alone
            a, b, c, d = (matrix[:, row, column, None, None, None] for column in range(4))
            return (a * x[:, None, None] + b * yz[:, None] + c * yz + d).flatten(1)

        scale = 1.0 if camera.projection == "orthographic" else 1 / (-coordinate(2)).clamp(min=1e-3)
        u = k[:, 0, 0, None] * coordinate(0) * scale + k[:, 0, 2, None]
        v = k[:, 1, 2, None] - k[:, 1, 1, None] * coordinate(1) * scale
        return torch.stack([u, v], dim=-1) * 2 - 1


class VolumeContext(nn.Module):
    """A small 3D U-Net whose output starts at zero."""

    def __init__(self, channels: int, inner: int):
        super().__init__()
        self.down1 = nn.Conv3d(channels, inner, 3, 2, 1)
        self.down2 = nn.Conv3d(inner, 2 * inner, 3, 2, 1)
        self.middle = nn.Conv3d(2 * inner, 2 * inner, 3, 1, 1)
        self.up1 = nn.Conv3d(2 * inner, inner, 3, 1, 1)
        self.up2 = nn.Conv3d(inner, channels, 3, 1, 1)
        for parameter in self.up2.parameters():
            nn.init.zeros_(parameter)

    def forward(self, volume: Float[Tensor, "b c x y z"]) -> Float[Tensor, "b c x y z"]:
        half = F.silu(self.down1(volume))
        quarter = F.silu(self.down2(half))
        quarter = quarter + F.silu(self.middle(quarter))
        half = half + F.silu(self.up1(F.interpolate(quarter, size=half.shape[2:])))
        return self.up2(F.interpolate(half, size=volume.shape[2:]))


def _interpolated(images: Float[Tensor, "m c h w"], at: Float[Tensor, "m n 2"]) -> Float[Tensor, "m c n"]:
    """The pictures at the points; 0 outside of them."""
    return F.grid_sample(images, at[:, None], mode="bilinear", padding_mode="zeros", align_corners=False)[:, :, 0]


def _gathered(images: Float[Tensor, "m c h w"], at: Float[Tensor, "m n 2"]) -> Float[Tensor, "m n c"]:
    return gather_bilinear(images, torch.arange(len(images))[:, None], at[..., 0], at[..., 1])
