"""Tokens of the condition picture, which know the pose asked for (`encoder_hidden_states` of the denoiser).

`ImageEncoder` is this project's own and is trained with the denoiser; `ClipImageEncoder` is the papers'. Both are
called with a picture and a relative pose, and give rows of tokens.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from infinitemesh.errors import InputError
from infinitemesh.models.conditioning import PoseProjection

if TYPE_CHECKING:
    from transformers import CLIPVisionModelWithProjection

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "tiny": {"width": 16, "heads": 2, "depth": 1, "grid": 2, "patch": 4},
    "small": {},
}


class ImageEncoder(ModelMixin, ConfigMixin):
    """A few convolutions down to `grid` x `grid` tokens, a few transformer layers over them, and the pose.

    `width` is the denoiser's `cross_attention_dim`. Pictures of any size that is a multiple of 4 x `patch` are taken.
    """

    @register_to_config
    def __init__(self, *, width: int = 128, heads: int = 4, depth: int = 2, grid: int = 8, patch: int = 8):
        super().__init__()
        self.grid = grid
        self.stem = nn.Sequential(
            nn.Conv2d(4, width // 2, patch, stride=patch),
            nn.SiLU(),
            nn.Conv2d(width // 2, width, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, stride=2, padding=1),
        )
        self.position = nn.Parameter(torch.randn(1, grid * grid, width) * 0.02)
        layer = nn.TransformerEncoderLayer(
            width, heads, 2 * width, dropout=0.0, activation=F.gelu, batch_first=True, norm_first=True
        )
        self.transformer = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        self.pose = PoseProjection(width, pose_starts_at_zero=False)

    @classmethod
    def preset(cls, name: str, **changes: Any) -> "ImageEncoder":
        """A fresh network of a named size (`tiny`, `small`), with some config values changed."""
        if name not in PRESETS:
            raise InputError(f"ImageEncoder has no preset {name!r}; there are {', '.join(PRESETS)}")
        return cls(**{**PRESETS[name], **changes})

    def forward(self, rgba: Float[Tensor, "n 4 h w"], pose: Float[Tensor, "n 4"]) -> Float[Tensor, "n t d"]:
        """`rgba` is straight, in [0, 1]; `pose` is `conditioning.pose4` of the target relative to this picture."""
        rgb, alpha = rgba[:, :3], rgba[:, 3:]
        features = self.stem(torch.cat([(2 * rgb - 1) * alpha, 2 * alpha - 1], dim=1))
        features = F.adaptive_avg_pool2d(features, self.grid)
        tokens = self.transformer(rearrange(features, "n c y x -> n (y x) c") + self.position)
        return self.pose(self.norm(tokens), pose)


class ClipImageEncoder(nn.Module):
    """One CLIP image embedding over white, joined with the pose (Zero123, Eq. 1); a fresh projection ignores it."""

    def __init__(self, vision: "CLIPVisionModelWithProjection", projection: PoseProjection | None = None):
        super().__init__()
        self.vision = vision
        self.projection = projection or PoseProjection(int(vision.config.projection_dim))

    @classmethod
    def untrained(cls) -> "ClipImageEncoder":
        """The published size (CLIP ViT-L/14 vision tower, 303,966,208 parameters) with random weights."""
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

        config = CLIPVisionConfig(
            hidden_size=1024,
            intermediate_size=4096,
            num_hidden_layers=24,
            num_attention_heads=16,
            image_size=224,
            patch_size=14,
            projection_dim=768,
            hidden_act="quick_gelu",
        )
        return cls(CLIPVisionModelWithProjection(config))

    def forward(self, rgba: Float[Tensor, "n 4 h w"], pose: Float[Tensor, "n 4"]) -> Float[Tensor, "n 1 d"]:
        embedding = self.vision(pixel_values=self.pixels(rgba), return_dict=True).image_embeds
        return self.projection(rearrange(embedding, "n d -> n 1 d"), pose)

    def pixels(self, rgba: Float[Tensor, "n 4 h w"]) -> Float[Tensor, "n 3 s s"]:
        """As Wonder3D's training prepares them: bicubic, CLIP's mean and deviation."""
        size = cast(int, self.vision.config.image_size)
        white = (rgba[:, :3] * rgba[:, 3:] + 1 - rgba[:, 3:]).float()  # no antialiased bicubic in bf16 on a CPU
        resized = F.interpolate(white, (size, size), mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
        mean, std = (white.new_tensor(values).reshape(3, 1, 1) for values in (CLIP_MEAN, CLIP_STD))
        return ((resized - mean) / std).to(rgba.dtype)
