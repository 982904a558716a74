"""U²-Net-p (Qin et al. 2020): which pixels show the object. 1.1 M parameters, batch normalisation folded."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from jaxtyping import Float
from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
SIZE = 320  # the side of the pictures that it was trained on


class U2NetP(ModelMixin, ConfigMixin):
    """A U-net whose every block is a small U-net, with `width` channels between the blocks and `inner_width` inside."""

    @register_to_config
    def __init__(self, *, width: int = 64, inner_width: int = 16):
        super().__init__()
        outer, inner = width, inner_width
        self.down = nn.ModuleList(
            [
                ResidualUBlock(7, 3, inner, outer),
                *(ResidualUBlock(depth, outer, inner, outer) for depth in (6, 5, 4)),
                DilatedUBlock(outer, inner, outer),
                DilatedUBlock(outer, inner, outer),
            ]
        )
        self.up = nn.ModuleList(
            [
                DilatedUBlock(2 * outer, inner, outer),
                *(ResidualUBlock(depth, 2 * outer, inner, outer) for depth in (4, 5, 6, 7)),
            ]
        )
        self.sides = nn.ModuleList(_conv(outer, 1) for _ in self.down)  # a map a level, finest first
        self.out = nn.Conv2d(len(self.down), 1, 1)

    def forward(self, rgb: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 1 h w"]:
        """The matte in [0, 1] at the picture's own size, from straight sRGB in [0, 1]; the network sees 320 x 320."""
        small = F.interpolate(rgb, (SIZE, SIZE), mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)
        mean, std = (rgb.new_tensor(values).reshape(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
        matte = self.saliency((small - mean) / std)
        return _resized(matte, rgb.shape[-2:]).clamp(0, 1)

    def saliency(self, normalised: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 1 h w"]:
        """The bare network, from pictures with ImageNet's mean and deviation taken out."""
        encoded: list[Tensor] = []
        h = normalised
        for level, block in enumerate(self.down):
            h = block(h if level == 0 else _pooled(h))
            encoded.append(h)
        decoded = [encoded.pop()]
        for block in self.up:
            skip = encoded.pop()
            decoded.append(block(torch.cat([_resized(decoded[-1], skip.shape[-2:]), skip], dim=1)))
        decoded.reverse()
        maps = [_resized(side(h), normalised.shape[-2:]) for side, h in zip(self.sides, decoded, strict=True)]
        return torch.sigmoid(self.out(torch.cat(maps, dim=1)))


class ResidualUBlock(nn.Module):
    """A U-net with `depth` encoder convolutions, the last of them dilated, around which its input is added."""

    def __init__(self, depth: int, in_channels: int, inner: int, out_channels: int):
        super().__init__()
        self.enter = _conv(in_channels, out_channels)
        self.down = nn.ModuleList([_conv(out_channels, inner), *(_conv(inner, inner) for _ in range(depth - 2))])
        self.bottom = _conv(inner, inner, dilation=2)
        self.up = nn.ModuleList([*(_conv(2 * inner, inner) for _ in range(depth - 2)), _conv(2 * inner, out_channels)])

    def forward(self, x: Float[Tensor, "n i h w"]) -> Float[Tensor, "n o h w"]:
        entered = F.relu(self.enter(x))
        skips: list[Tensor] = []
        h = entered
        for level, conv in enumerate(self.down):
            h = F.relu(conv(h if level == 0 else _pooled(h)))
            skips.append(h)
        h = F.relu(self.bottom(h))
        for conv in self.up:
            skip = skips.pop()
            h = F.relu(conv(torch.cat([_resized(h, skip.shape[-2:]), skip], dim=1)))
        return h + entered


class DilatedUBlock(nn.Module):
    """The same without pooling, for the coarsest levels: dilations 1, 2, 4, 8 and back."""

    dilations: Sequence[int] = (1, 2, 4)

    def __init__(self, in_channels: int, inner: int, out_channels: int):
        super().__init__()
        self.enter = _conv(in_channels, out_channels)
        widths = (out_channels, inner, inner)
        self.down = nn.ModuleList(_conv(w, inner, dilation=d) for w, d in zip(widths, self.dilations, strict=True))
        self.bottom = _conv(inner, inner, dilation=8)
        out_widths = (inner, inner, out_channels)
        self.up = nn.ModuleList(
            _conv(2 * inner, w, dilation=d) for w, d in zip(out_widths, reversed(self.dilations), strict=True)
        )

    def forward(self, x: Float[Tensor, "n i h w"]) -> Float[Tensor, "n o h w"]:
        entered = F.relu(self.enter(x))
        skips: list[Tensor] = []
        h = entered
        for conv in self.down:
            h = F.relu(conv(h))
            skips.append(h)
        h = F.relu(self.bottom(h))
        for conv in self.up:
            h = F.relu(conv(torch.cat([h, skips.pop()], dim=1)))
        return h + entered


def _conv(in_channels: int, out_channels: int, *, dilation: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, padding=dilation, dilation=dilation)


def _pooled(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 2, 2, ceil_mode=True)


def _resized(x: Tensor, size: torch.Size) -> Tensor:
    if x.shape[-2:] == size:
        return x
    return F.interpolate(x, tuple(size), mode="bilinear", align_corners=False)
