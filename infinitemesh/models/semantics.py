"""What an object is: frozen DINOv2 features of every view, added where the reconstruction looks.

A few thousand training objects teach a network geometry, not what a shoe is. DINOv2 (Oquab et al. 2023, ViT-S/14) saw
142 million pictures and tells: its features join the image tokens before the camera ViT and the pixels before the
lift. Both ways in start at zero, so that trained weights can be continued with them. The backbone itself is never
trained; its layer scale is folded into its weights (`convert.dinov2`).

It hardly sees that a drawn shoe and a real one are both shoes, and what is learned of one is lost on the other. A
network that was trained to name things does: with `recognition`, what EfficientNet-lite0 makes of the cut-out object,
one vector for a view, joins them too.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from infinitemesh.models.camera_vit import ViT
from infinitemesh.models.efficientnet import EfficientNetLite, EfficientNetName

PATCH = 14
CLASS_DIM = 256  # of what the recognised object is boiled down to
CROP = 1.1  # the square shown for recognition, over the longer side of the object's box
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class SemanticMaps:
    """Normalised features of three depths of the backbone, concatenated."""

    whole: Float[Tensor, "bv c"]  # of the CLS token
    grid: Float[Tensor, "bv c g g"]
    recognised: Float[Tensor, "bv k"] | None = None  # the object's, by the recognition


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
        recognition: EfficientNetName | None = None,
    ):
        """`layers` of the backbone are used, its features after a third, two thirds and all of them. Views are shown
        to it at `size` pixels over white."""
        super().__init__()
        self.size, self.taps = size, tuple(dict.fromkeys((layers // 3, 2 * layers // 3, layers - 1)))
        self.backbone = ViT(dim, layers, heads, 3, PATCH, size // PATCH, modulated=False)
        self.backbone.layernorm = nn.Identity()  # features are taken before it
        self.to_tokens = nn.Linear(len(self.taps) * dim, token_dim)
        self.to_pixels = nn.Conv2d(len(self.taps) * dim, pixel_channels, 1) if pixel_channels else None
        for layer in (self.to_tokens, self.to_pixels):
            for parameter in () if layer is None else layer.parameters():
                nn.init.zeros_(parameter)
        self.hidden = 0.0  # in training, the share of views of which the backbone says nothing
        self.recognition = self.recognised = None
        if recognition is not None:
            self.recognition = EfficientNetLite(recognition)
            self.recognised = Recognised(self.recognition.dim, token_dim, pixel_channels)
        self.freeze()

    def freeze(self) -> None:
        """What others trained stays as it is."""
        for part in (self.backbone, self.recognition):
            if part is not None:
                part.requires_grad_(False)

    def forward(self, rgba: Float[Tensor, "b v 4 h w"]) -> SemanticMaps:
        views = rearrange(rgba, "b v c h w -> (b v) c h w")
        whole, grid = self._seen(views)
        if self.training and self.hidden:
            shown = (torch.rand(len(views), 1, device=views.device) >= self.hidden).to(whole.dtype)
            whole, grid = whole * shown, grid * shown[..., None, None]
        if self.recognition is None or self.recognised is None:
            return SemanticMaps(whole, grid)
        with torch.no_grad():
            named = self.recognition(cut_out(views, self.recognition.size))
        return SemanticMaps(whole, grid, self.recognised(named))

    def tokens(self, maps: SemanticMaps, side: int) -> Float[Tensor, "bv p d"]:
        """What is added to the tokens of `side`^2 patches, CLS first."""
        grid = _resized(maps.grid, side)
        seen = torch.cat([maps.whole[:, None], rearrange(grid, "bv c h w -> bv (h w) c")], dim=1)
        added = self.to_tokens(seen)
        if maps.recognised is None or self.recognised is None:
            return added
        return added + self.recognised.to_tokens(maps.recognised)[:, None]

    def pixels(self, maps: SemanticMaps, size: int) -> Float[Tensor, "bv c s s"]:
        """What is added to feature pictures of `size` pixels."""
        assert self.to_pixels is not None
        added = _resized(self.to_pixels(maps.grid), size)
        if maps.recognised is None or self.recognised is None or self.recognised.to_pixels is None:
            return added
        return added + self.recognised.to_pixels(maps.recognised)[..., None, None]

    @torch.no_grad()
    def _seen(self, rgba: Float[Tensor, "bv 4 h w"]) -> tuple[Float[Tensor, "bv c"], Float[Tensor, "bv c g g"]]:
        """The backbone's features of the whole and of its patches."""
        tokens = self.backbone.taps(self._pixels(rgba), self.taps)
        seen = torch.cat([F.layer_norm(each, each.shape[-1:]) for each in tokens], dim=-1)
        side = self.size // PATCH
        return seen[:, 0], rearrange(seen[:, 1:], "bv (h w) c -> bv c h w", h=side)

    def _pixels(self, rgba: Float[Tensor, "bv 4 h w"]) -> Float[Tensor, "bv 3 s s"]:
        white = (rgba[:, :3] * rgba[:, 3:] + 1 - rgba[:, 3:]).float()  # no antialiased resizing in bf16 on a CPU
        small = F.interpolate(white, (self.size, self.size), mode="bilinear", antialias=True, align_corners=False)
        mean, std = (small.new_tensor(x)[:, None, None] for x in (IMAGENET_MEAN, IMAGENET_STD))
        return ((small - mean) / std).to(rgba.dtype)


class Recognised(nn.Module):
    """What an object is, boiled down, and what is added for it to every image token and pixel: nothing at first."""

    def __init__(self, dim: int, token_dim: int, pixel_channels: int):
        super().__init__()
        self.boiled = nn.Sequential(nn.LayerNorm(dim), nn.Dropout(0.1), nn.Linear(dim, CLASS_DIM), nn.SiLU())
        self.to_tokens = nn.Linear(CLASS_DIM, token_dim)
        self.to_pixels = nn.Linear(CLASS_DIM, pixel_channels) if pixel_channels else None
        for layer in (self.to_tokens, self.to_pixels):
            for parameter in () if layer is None else layer.parameters():
                nn.init.zeros_(parameter)

    def forward(self, named: Float[Tensor, "bv c"]) -> Float[Tensor, "bv k"]:
        return self.boiled(named)


@torch.no_grad()
def cut_out(rgba: Float[Tensor, "b 4 n n"], size: int) -> Float[Tensor, "b 3 s s"]:
    """The object over white in a square a little larger than its box, wherever it stands and whatever its size; the
    whole picture where there is none."""
    left, right = _ends((rgba[:, 3] > 0.5).any(1))
    top, bottom = _ends((rgba[:, 3] > 0.5).any(2))
    half = CROP * torch.maximum(right - left, bottom - top)  # of a picture that reaches from -1 to 1
    zero = torch.zeros_like(half)
    across, down = (half, zero, left + right - 1), (zero, half, top + bottom - 1)
    theta = torch.stack([torch.stack(across, dim=-1), torch.stack(down, dim=-1)], dim=1)
    layers = torch.cat([rgba[:, :3] * rgba[:, 3:], rgba[:, 3:]], dim=1).float()
    with torch.autocast(rgba.device.type, enabled=False):  # half-precision coordinates miss by a pixel
        grid = F.affine_grid(theta, [len(rgba), 4, size, size], align_corners=False)
        found = F.grid_sample(layers, grid, align_corners=False)
    return (found[:, :3] + 1 - found[:, 3:]).to(rgba.dtype)


def _ends(covered: Bool[Tensor, "b n"]) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
    """Where the covered cells begin and end, as shares of all; all of them where none is."""
    number = covered.shape[1]
    covered = covered | ~covered.any(1, keepdim=True)
    at = torch.arange(number, device=covered.device)
    first = torch.where(covered, at, number).amin(1)
    last = torch.where(covered, at, -1).amax(1)
    return first / number, (last + 1) / number


def _resized(grid: Float[Tensor, "bv c g g"], side: int) -> Float[Tensor, "bv c s s"]:
    if grid.shape[-1] == side:
        return grid
    return F.interpolate(grid.float(), (side, side), mode="bilinear", align_corners=False).to(grid.dtype)
