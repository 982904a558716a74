"""The image encoder: a ViT whose every block is modulated by the view's camera.

It is InstantMesh's DINO ViT-B/16 with adaLN; parameter names are those of the published checkpoint (`encoder.*`). With
`camera_modulation` off and `in_channels` > 3 the same class is the small encoder: pixels carry their ray, and the
camera code is added to the tokens.
"""

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from infinitemesh.models.attention import attend

CAMERA_CODE_DIM = 16  # cam-to-world 3x4, then fx, fy, cx, cy in image widths
PRETRAINED_GRID = 14  # the position table of a 224 px, patch 16 ViT
POSITION_OFFSET = 0.1  # DINO's trick against rounding of the scale factor; size=(20, 20) differs by up to 0.2


class CameraViT(nn.Module):
    """Tokens of every view, CLS first: `encoder.model` and `encoder.camera_embedder` of the published network."""

    def __init__(
        self,
        *,
        dim: int = 768,
        num_layers: int = 12,
        num_heads: int = 12,
        in_channels: int = 3,
        patch: int = 16,
        position_grid: int = PRETRAINED_GRID,
        camera_modulation: bool = True,
    ):
        super().__init__()
        self.model = ViT(dim, num_layers, num_heads, in_channels, patch, position_grid, camera_modulation)
        self.camera_embedder = nn.Sequential(nn.Linear(CAMERA_CODE_DIM, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.camera_modulation = camera_modulation

    def forward(
        self,
        pixels: Float[Tensor, "bv c h w"],
        camera_code: Float[Tensor, "bv 16"],
        added: Float[Tensor, "bv p d"] | None = None,
    ) -> Float[Tensor, "bv p d"]:
        """`pixels` are normalised as the preset wants them; p = 1 + (h / patch) (w / patch). `added` joins the tokens
        before the first layer."""
        code = self.camera_embedder(camera_code)
        if self.camera_modulation:
            return self.model(pixels, code, added)
        return self.model(pixels, None, code[:, None] if added is None else code[:, None] + added)


class ViT(nn.Module):
    """A plain pre-norm vision transformer, CLS first."""

    def __init__(
        self, dim: int, layers: int, heads: int, in_channels: int, patch: int, position_grid: int, modulated: bool
    ):
        super().__init__()
        self.embeddings = _Embeddings(dim, in_channels, patch, position_grid)
        self.encoder = _Layers(_Layer(dim, heads, modulated) for _ in range(layers))
        self.layernorm: nn.Module = nn.LayerNorm(dim, eps=1e-12)

    def forward(self, pixels: Tensor, code: Tensor | None, added: Tensor | None = None) -> Tensor:
        tokens = self.embeddings(pixels)
        if added is not None:
            tokens = tokens + added
        for layer in self.encoder.layer:
            tokens = layer(tokens, code)
        return self.layernorm(tokens)

    def taps(self, pixels: Tensor, after: Sequence[int]) -> list[Tensor]:
        """The tokens after some of the layers (from 0)."""
        tokens, found = self.embeddings(pixels), []
        for number, layer in enumerate(self.encoder.layer):
            tokens = layer(tokens, None)
            if number in after:
                found.append(tokens)
        return found


class _Layers(nn.Module):
    def __init__(self, layers: Iterable["_Layer"]):
        super().__init__()
        self.layer = nn.ModuleList(layers)


class _Embeddings(nn.Module):
    def __init__(self, dim: int, in_channels: int, patch: int, position_grid: int):
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.position_embeddings = nn.Parameter(torch.randn(1, 1 + position_grid**2, dim) * 0.02)
        self.patch_embeddings = _Patches(nn.Conv2d(in_channels, dim, patch, patch))
        self.patch, self.position_grid = patch, position_grid

    def forward(self, pixels: Tensor) -> Tensor:
        patches = rearrange(self.patch_embeddings.projection(pixels), "b d h w -> b (h w) d")
        tokens = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1)
        return tokens + self._positions(pixels.shape[-2] // self.patch, pixels.shape[-1] // self.patch)

    def _positions(self, rows: int, columns: int) -> Tensor:
        table = self.position_embeddings
        if rows == columns == self.position_grid:
            return table
        grid = rearrange(table[:, 1:], "1 (h w) d -> 1 d h w", h=self.position_grid)
        factor = [(rows + POSITION_OFFSET) / self.position_grid, (columns + POSITION_OFFSET) / self.position_grid]
        resized = F.interpolate(grid, scale_factor=factor, mode="bicubic", align_corners=False)
        assert resized.shape[-2:] == (rows, columns), (resized.shape, rows, columns)
        return torch.cat([table[:, :1], rearrange(resized, "1 d h w -> 1 (h w) d")], dim=1)


class _Patches(nn.Module):
    def __init__(self, projection: nn.Conv2d):
        super().__init__()
        self.projection = projection


class _Layer(nn.Module):
    """Pre-norm block; shift and scale of both norms come from the camera when modulated (no gates)."""

    def __init__(self, dim: int, heads: int, modulated: bool):
        super().__init__()
        self.attention = _Attention(dim)
        self.intermediate, self.output = _Dense(dim, 4 * dim), _Dense(4 * dim, dim)
        self.layernorm_before = nn.LayerNorm(dim, eps=1e-12)
        self.layernorm_after = nn.LayerNorm(dim, eps=1e-12)
        self.heads = heads
        self.modulated = modulated
        if modulated:
            shift_and_scale = nn.Linear(dim, 4 * dim)
            nn.init.zeros_(shift_and_scale.weight)
            nn.init.zeros_(shift_and_scale.bias)
            self.adaLN_modulation = nn.Sequential(nn.SiLU(), shift_and_scale)

    def forward(self, tokens: Tensor, code: Tensor | None) -> Tensor:
        before, after = self.layernorm_before(tokens), None
        if self.modulated:
            shift_a, scale_a, shift_m, scale_m = self.adaLN_modulation(code)[:, None].chunk(4, dim=-1)
            before = before * (1 + scale_a) + shift_a
        project = self.attention.attention
        mixed = attend(project.query(before), project.key(before), project.value(before), self.heads)
        tokens = tokens + self.attention.output.dense(mixed)
        after = self.layernorm_after(tokens)
        if self.modulated:
            after = after * (1 + scale_m) + shift_m
        return tokens + self.output.dense(F.gelu(self.intermediate.dense(after)))


class _Attention(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.attention, self.output = _Projections(dim), _Dense(dim, dim)


class _Projections(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.query, self.key, self.value = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)


class _Dense(nn.Module):
    def __init__(self, size_in: int, size_out: int):
        super().__init__()
        self.dense = nn.Linear(size_in, size_out)
