"""Makes true views look like generated ones, so that a reconstruction trained on renders survives the front half.

Generated views are softer than renders, differ from each other in colour and outline, bend where they should be
straight, carry traces of an autoencoder, and sometimes are useless. All views of a batch are spoilt in one go on their
device; every view draws its own amounts, from nothing to the maximum times `strength`. Strength 0 changes nothing.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor

from infinitemesh.data.exact import exact_matmul

FAINTEST_ALPHA = 1e-3  # resampling leaves less than this around the mask, with colours made of rounding


@dataclass(frozen=True, kw_only=True)
class DegradationRanges:
    """Maxima at strength 1; lengths in image widths, so that they survive a change of size."""

    chance: float = 0.6  # that a view suffers from any one of the kinds below
    warp: float = 0.015  # largest displacement
    warp_cells: int = 5  # of the displacement grid, along each side
    blur: float = 0.006  # standard deviation
    coarsen: float = 4.0  # down- and up-sampling factor
    gain: float = 0.12  # of the colour, with a fifth of it for each channel alone
    bias: float = 0.05
    log_gamma: float = 0.25
    outline: float = 0.008  # the mask grows or shrinks by so much
    block_step: float = 0.12  # quantisation step of the highest frequency of 8 x 8 blocks; the lowest has a tenth
    noise: float = 0.02
    drop: float = 0.1  # share of views that are lost; the first never is


@dataclass(frozen=True)
class DegradedViews:
    """`rgb` is straight and 0 where alpha is 0; a view that is not kept is for the caller to leave out or mask."""

    rgb: Float[Tensor, "b v 3 h w"]
    alpha: Float[Tensor, "b v 1 h w"]
    is_kept: Bool[Tensor, "b v"]


@torch.no_grad()
@exact_matmul()
def degrade_views(
    rgb: Float[Tensor, "b v 3 h w"],
    alpha: Float[Tensor, "b v 1 h w"],
    generator: torch.Generator,
    *,
    strength: float | Float[Tensor, " b"] = 1.0,
    ranges: DegradationRanges | None = None,
) -> DegradedViews:
    """`strength` may differ by object. The generator must live on the views' device."""
    ranges = ranges or DegradationRanges()
    b, v, _, _, width = rgb.shape
    strength = torch.as_tensor(strength, dtype=torch.float32, device=rgb.device).expand(b)
    draw = _Draw(generator, strength.repeat_interleave(v), ranges.chance)

    straight = rearrange(rgb, "b v c h w -> (b v) c h w")
    mask = rearrange(alpha, "b v c h w -> (b v) c h w")
    picture = torch.cat([straight * mask, mask], dim=1)  # premultiplied, so that colour stays inside
    picture = _warp(picture, draw, ranges)
    picture = _blur(picture, draw.amount() * ranges.blur * width)
    picture = _coarsen(picture, draw.amount() * (ranges.coarsen - 1))
    colour = _filled(picture, radius=1 + math.ceil(ranges.outline * width))
    mask = picture[:, 3:].clamp(0, 1)
    mask = torch.where(mask < FAINTEST_ALPHA, 0.0, mask)
    mask = _move_outline(mask, draw.signed() * ranges.outline * width)
    colour = _recolour(colour, draw, ranges)
    colour = _quantize_blocks(colour, draw.amount() * ranges.block_step)
    colour = (colour + draw.normal(*colour.shape[1:]) * (draw.amount() * ranges.noise)[:, None, None, None]).clamp(0, 1)

    is_spoilt = (draw.strength > 0)[:, None, None, None]
    colour = torch.where(is_spoilt, colour * (mask > 0), rearrange(rgb, "b v c h w -> (b v) c h w"))
    mask = torch.where(is_spoilt, mask, rearrange(alpha, "b v c h w -> (b v) c h w"))
    is_lost = draw.uniform() < ranges.drop * draw.strength
    is_kept = rearrange(~is_lost, "(b v) -> b v", b=b)
    is_kept[:, 0] = True
    return DegradedViews(
        rearrange(colour, "(b v) c h w -> b v c h w", b=b), rearrange(mask, "(b v) c h w -> b v c h w", b=b), is_kept
    )


@dataclass(frozen=True)
class _Draw:
    """Random amounts of n views."""

    generator: torch.Generator
    strength: Float[Tensor, " n"]
    chance: float

    def uniform(self) -> Float[Tensor, " n"]:
        return torch.rand(len(self.strength), generator=self.generator, device=self.strength.device)

    def amount(self) -> Float[Tensor, " n"]:
        """0 for some views, up to the strength for the others."""
        return self.uniform() * (self.uniform() < self.chance) * self.strength

    def signed(self) -> Float[Tensor, " n"]:
        return (self.uniform() * 2 - 1) * (self.uniform() < self.chance) * self.strength

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(len(self.strength), *shape, generator=self.generator, device=self.strength.device)


def _warp(picture: Float[Tensor, "n c h w"], draw: _Draw, ranges: DegradationRanges) -> Float[Tensor, "n c h w"]:
    """Bends every view by its own smooth field: nothing agrees between views any more."""
    height, width = picture.shape[-2:]
    coarse = draw.normal(2, ranges.warp_cells, ranges.warp_cells).clamp(-2, 2) / 2
    field = F.interpolate(coarse, (height, width), mode="bicubic", align_corners=True)
    shift = rearrange(field * (draw.amount() * ranges.warp * 2)[:, None, None, None], "n uv h w -> n h w uv")
    rows = (torch.arange(height, device=picture.device) + 0.5) / height * 2 - 1
    columns = (torch.arange(width, device=picture.device) + 0.5) / width * 2 - 1
    grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)
    return F.grid_sample(picture, grid + shift, mode="bilinear", padding_mode="zeros", align_corners=False)


def _blur(picture: Float[Tensor, "n c h w"], sigma_px: Float[Tensor, " n"]) -> Float[Tensor, "n c h w"]:
    """Gaussian, each view its own width."""
    radius = max(1, math.ceil(2.5 * float(sigma_px.max())))
    at = torch.arange(-radius, radius + 1, device=picture.device)
    kernel = torch.exp(-0.5 * (at / sigma_px[:, None].clamp(min=1e-3)) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(picture.shape[1], dim=0)
    rows = rearrange(picture, "n c h w -> 1 (n c) h w")
    rows = F.conv2d(rows, kernel[:, None, None, :], padding=(0, radius), groups=len(kernel))
    rows = F.conv2d(rows, kernel[:, None, :, None], padding=(radius, 0), groups=len(kernel))
    return rearrange(rows, "1 (n c) h w -> n c h w", n=len(picture))


def _coarsen(picture: Float[Tensor, "n c h w"], octaves: Float[Tensor, " n"]) -> Float[Tensor, "n c h w"]:
    """Down- and up-sampling by 1 + octaves, between the steps 1, 2 and 4 of a pyramid."""
    size = picture.shape[-2:]
    levels = [picture]
    for factor in (2, 4):
        small = F.interpolate(picture, scale_factor=1 / factor, mode="area")
        levels.append(F.interpolate(small, size, mode="bilinear", align_corners=False))
    level = torch.log2(1 + octaves).clamp(0, 2)[:, None, None, None]
    return torch.where(
        level < 1, torch.lerp(levels[0], levels[1], level.clamp(max=1)), torch.lerp(levels[1], levels[2], level - 1)
    )


def _filled(picture: Float[Tensor, "n 4 h w"], radius: int) -> Float[Tensor, "n 3 h w"]:
    """Straight colour that goes on beyond the mask, so that an outline can grow."""
    around = F.avg_pool2d(picture, 2 * radius + 1, 1, radius, count_include_pad=False)
    colour = torch.where(picture[:, 3:] > 0.02, picture, around)
    return (colour[:, :3] / colour[:, 3:].clamp(min=1e-4)).clamp(0, 1)


def _move_outline(mask: Float[Tensor, "n 1 h w"], distance_px: Float[Tensor, " n"]) -> Float[Tensor, "n 1 h w"]:
    """Grows (positive) or shrinks the mask; fractions of a pixel by blending two whole steps."""
    steps = math.ceil(float(distance_px.abs().max())) if len(distance_px) else 0
    amount = distance_px[:, None, None, None]
    for step in range(steps):
        share = (amount.abs() - step).clamp(0, 1)
        grown, shrunk = F.max_pool2d(mask, 3, 1, 1), -F.max_pool2d(-mask, 3, 1, 1)
        mask = torch.lerp(mask, torch.where(amount > 0, grown, shrunk), share)
    return mask


def _recolour(colour: Float[Tensor, "n 3 h w"], draw: _Draw, ranges: DegradationRanges) -> Float[Tensor, "n 3 h w"]:
    each = draw.normal(3, 1, 1).clamp(-2, 2) / 5 * draw.amount()[:, None, None, None]
    gain = 1 + ranges.gain * (draw.signed()[:, None, None, None] + each)
    bias = ranges.bias * draw.signed()[:, None, None, None]
    gamma = torch.exp(ranges.log_gamma * draw.signed())[:, None, None, None]
    return (colour**gamma * gain + bias).clamp(0, 1)


def _quantize_blocks(colour: Float[Tensor, "n 3 h w"], step: Float[Tensor, " n"]) -> Float[Tensor, "n 3 h w"]:
    """Rounds the cosine coefficients of 8 x 8 blocks, as JPEG does, coarser for higher frequencies."""
    height, width = colour.shape[-2:]
    padded = F.pad(colour, (0, -width % 8, 0, -height % 8), mode="replicate")
    basis = _cosine_basis(colour.device)
    blocks = rearrange(padded, "n c (h y) (w x) -> n c h w y x", y=8, x=8)
    coefficients = torch.einsum("fy,nchwyx,gx->nchwfg", basis, blocks, basis)
    frequency = torch.arange(8, device=colour.device)
    growth = 0.1 + 0.9 * (frequency[:, None] + frequency) / 14
    steps = step[:, None, None, None, None, None] * growth
    rounded = torch.where(steps > 0, (coefficients / steps.clamp(min=1e-9)).round() * steps, coefficients)
    restored = torch.einsum("fy,nchwfg,gx->nchwyx", basis, rounded, basis)
    restored = rearrange(restored, "n c h w y x -> n c (h y) (w x)")
    return restored[..., :height, :width].clamp(0, 1)


def _cosine_basis(device: torch.device) -> Float[Tensor, "8 8"]:
    at = torch.arange(8, device=device)
    basis = torch.cos(torch.pi * (2 * at + 1) * at[:, None] / 16) / 2
    basis[0] /= 2**0.5
    return basis
