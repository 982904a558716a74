"""What an object is: frozen DINOv2 features of every view, added where the reconstruction looks.

A few thousand training objects teach a network geometry, not what a shoe is. DINOv2 (Oquab et al. 2023, ViT-S/14) saw
142 million pictures and tells: its features join the image tokens before the camera ViT and the pixels before the
lift. Both ways in start at zero, so that trained weights can be continued with them. The backbone itself is never
trained; its layer scale is folded into its weights (`convert.dinov2`).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from infinitemesh.models.camera_vit import ViT

PATCH = 14
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class SemanticMaps:
    """Normalised features of three depths of the backbone, concatenated."""

    whole: Float[Tensor, "bv c"]  # of the CLS token
    grid: Float[Tensor, "bv c g g"]


class SemanticFeatures(nn.Module):
    """RGBA views -> features, and what is added to image tokens and to the lift's pixels."""

    def __init__(
        self,
        *,
        token_dim: int,
        pixel_channels: int,
        dim: int = 384,
        layers: int = 11,
        heads: int = 6,
        size: int = 224,
    ):
        """`layers` of the backbone are used, its features after a third, two thirds and all of them. Views are shown
        to it at `size` pixels over white."""
        super().__init__()
        self.size, self.taps = size, tuple(dict.fromkeys((layers // 3, 2 * layers // 3, layers - 1)))
        self.backbone = ViT(dim, layers, heads, 3, PATCH, size // PATCH, modulated=False)
        self.backbone.layernorm = nn.Identity()  # features are taken before it
        self.backbone.requires_grad_(False)
        self.to_tokens = nn.Linear(len(self.taps) * dim, token_dim)
        self.to_pixels = nn.Conv2d(len(self.taps) * dim, pixel_channels, 1) if pixel_channels else None
        for layer in (self.to_tokens, self.to_pixels):
            for parameter in () if layer is None else layer.parameters():
                nn.init.zeros_(parameter)

    @torch.no_grad()
    def forward(self, rgba: Float[Tensor, "b v 4 h w"]) -> SemanticMaps:
        pixels = self._pixels(rearrange(rgba, "b v c h w -> (b v) c h w"))
        tokens = self.backbone.taps(pixels, self.taps)
        seen = torch.cat([F.layer_norm(each, each.shape[-1:]) for each in tokens], dim=-1)
        side = self.size // PATCH
        return SemanticMaps(seen[:, 0], rearrange(seen[:, 1:], "bv (h w) c -> bv c h w", h=side))

    def tokens(self, maps: SemanticMaps, side: int) -> Float[Tensor, "bv p d"]:
        """What is added to the tokens of `side`^2 patches, CLS first."""
        grid = _resized(maps.grid, side)
        seen = torch.cat([maps.whole[:, None], rearrange(grid, "bv c h w -> bv (h w) c")], dim=1)
        return self.to_tokens(seen)

    def pixels(self, maps: SemanticMaps, size: int) -> Float[Tensor, "bv c s s"]:
        """What is added to feature pictures of `size` pixels."""
        assert self.to_pixels is not None
        return _resized(self.to_pixels(maps.grid), size)

    def _pixels(self, rgba: Float[Tensor, "bv 4 h w"]) -> Float[Tensor, "bv 3 s s"]:
        white = (rgba[:, :3] * rgba[:, 3:] + 1 - rgba[:, 3:]).float()  # no antialiased resizing in bf16 on a CPU
        small = F.interpolate(white, (self.size, self.size), mode="bilinear", antialias=True, align_corners=False)
        mean, std = (small.new_tensor(x)[:, None, None] for x in (IMAGENET_MEAN, IMAGENET_STD))
        return ((small - mean) / std).to(rgba.dtype)


def _resized(grid: Float[Tensor, "bv c g g"], side: int) -> Float[Tensor, "bv c s s"]:
    if grid.shape[-1] == side:
        return grid
    return F.interpolate(grid.float(), (side, side), mode="bilinear", align_corners=False).to(grid.dtype)
