"""The denoiser of main views and interpolated views: a UNet in which the views of one object share self-attention.

`MultiViewUNet` is diffusers' `UNet2DConditionModel`, tensor for tensor, with `MultiViewBlock`s. With cross-domain
layers it holds exactly the tensors of the public Wonder3D UNet and accepts its config.json; without them, those of
Stable Diffusion 1.x (and the camera embedding).
"""

from collections.abc import Mapping
from typing import Any

from diffusers import UNet2DConditionModel
from diffusers.configuration_utils import register_to_config
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput
from jaxtyping import Float
from torch import Tensor, nn

from infinitemesh.errors import CheckpointError, InputError
from infinitemesh.models.multiview_block import MultiViewBlock

_THREE_LEVELS = {
    "down_block_types": ("CrossAttnDownBlock2D",) * 3,
    "up_block_types": ("CrossAttnUpBlock2D",) * 3,
    "in_channels": 42,  # latents: noisy 8, reference 8, condition 8; rays of the target and of these two: 18
    "out_channels": 8,
    "layers_per_block": 1,
    "use_linear_projection": True,
    "num_views": 4,
    "cross_domain": False,
    "row_attention": (True, False, False),  # all views' tokens at 32² are too many to attend to at once
}

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "tiny": _THREE_LEVELS
    | {
        "sample_size": 8,
        "block_out_channels": (8, 16, 16),
        "norm_num_groups": 4,
        "attention_head_dim": (1, 2, 2),
        "cross_attention_dim": 16,
    },
    "small": _THREE_LEVELS  # 15.7 M parameters, 35 GFLOP for four views of 32² latents
    | {
        "sample_size": 32,
        "block_out_channels": (128, 160, 192),
        "attention_head_dim": (4, 5, 6),
        "cross_attention_dim": 128,
    },
    "paper": {},  # the released Wonder3D UNet: every default below
}


class MultiViewUNet(UNet2DConditionModel):
    """Predicts the noise (or v, or flow: the scheduler's word) of latents, view by view, each view seeing the others.

    Rows are ordered domain by domain, object by object, view by view. `num_views` here is the default of a call, not a
    limit. `attention_head_dim` counts heads, as in diffusers. `cross_domain` adds attention between the normal and the
    colour row of a view. `row_attention`, one value or one a level, keeps self-attention within image rows
    (`MultiViewBlock.graft`).
    """

    _no_split_modules = ["MultiViewBlock", "ResnetBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"]
    _repeated_blocks = ["MultiViewBlock"]

    @register_to_config
    def __init__(
        self,
        *,
        sample_size: int = 32,
        in_channels: int = 8,
        out_channels: int = 4,
        flip_sin_to_cos: bool = True,
        freq_shift: int = 0,
        down_block_types: tuple[str, ...] = ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        mid_block_type: str = "UNetMidBlock2DCrossAttn",
        up_block_types: tuple[str, ...] = ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280),
        layers_per_block: int = 2,
        norm_num_groups: int = 32,
        norm_eps: float = 1e-5,
        dropout: float = 0.0,
        cross_attention_dim: int = 768,
        transformer_layers_per_block: int = 1,
        attention_head_dim: int | tuple[int, ...] = 8,
        use_linear_projection: bool = False,
        resnet_time_scale_shift: str = "default",
        class_embed_type: str | None = "projection",
        projection_class_embeddings_input_dim: int | None = 10,
        num_views: int = 6,
        cross_domain: bool = True,
        row_attention: bool | tuple[bool, ...] = False,
    ):
        super().__init__(
            sample_size=sample_size,
            in_channels=in_channels,
            out_channels=out_channels,
            flip_sin_to_cos=flip_sin_to_cos,
            freq_shift=freq_shift,
            down_block_types=down_block_types,
            mid_block_type=mid_block_type,
            up_block_types=up_block_types,
            block_out_channels=block_out_channels,
            layers_per_block=layers_per_block,
            norm_num_groups=norm_num_groups,
            norm_eps=norm_eps,
            dropout=dropout,
            cross_attention_dim=cross_attention_dim,
            transformer_layers_per_block=transformer_layers_per_block,
            attention_head_dim=attention_head_dim,  # pyright: ignore[reportArgumentType]
            use_linear_projection=use_linear_projection,
            resnet_time_scale_shift=resnet_time_scale_shift,
            class_embed_type=class_embed_type,
            projection_class_embeddings_input_dim=projection_class_embeddings_input_dim,
        )
        num_levels = len(block_out_channels)
        by_level = (row_attention,) * num_levels if isinstance(row_attention, bool) else tuple(row_attention)
        if len(by_level) != num_levels:
            raise ValueError(
                f"row_attention needs one value or one for each of the {num_levels} levels, got {row_attention}"
            )
        for level, block in zip(by_level, self.down_blocks, strict=True):
            _graft_blocks(block, cross_domain=cross_domain, row_attention=level)
        _graft_blocks(self.mid_block, cross_domain=cross_domain, row_attention=by_level[-1])
        for level, block in zip(reversed(by_level), self.up_blocks, strict=True):
            _graft_blocks(block, cross_domain=cross_domain, row_attention=level)

    @classmethod
    def preset(cls, name: str, **changes: Any) -> "MultiViewUNet":
        """A fresh network of a named size (`tiny`, `small`, `paper`), with some config values changed."""
        if name not in PRESETS:
            raise InputError(f"MultiViewUNet has no preset {name!r}; there are {', '.join(PRESETS)}")
        return cls(**{**PRESETS[name], **changes})

    @classmethod
    def extract_init_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> tuple[dict, dict, dict]:
        return super().extract_init_dict(config_from_released(config_dict), **kwargs)

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]: rows are typed, unused adapters are left out
        self,
        sample: Float[Tensor, "rows c h w"],
        timestep: Tensor | float | int,
        encoder_hidden_states: Float[Tensor, "rows tokens d"],
        class_labels: Float[Tensor, "rows labels"] | None = None,
        *,
        num_views: int | None = None,
        num_domains: int | None = None,
        cross_attention_kwargs: dict[str, Any] | None = None,
        return_dict: bool = True,
    ) -> UNet2DConditionOutput | tuple[Tensor]:
        """`num_views` None is the config's; `num_domains` None is 2 with cross-domain layers and 1 without.

        `timestep` is one for all, or one a row.
        """
        num_views = num_views or int(self.config["num_views"])
        num_domains = num_domains or (2 if self.config["cross_domain"] else 1)
        if sample.shape[0] % (num_views * num_domains):
            raise InputError(
                f"{sample.shape[0]} rows are not whole objects of {num_views} views x {num_domains} domains: "
                "pass num_views and num_domains as the rows were laid out"
            )
        layout = {"num_views": num_views, "num_domains": num_domains}
        return super().forward(
            sample,
            timestep,
            encoder_hidden_states,
            class_labels=class_labels,
            cross_attention_kwargs={**(cross_attention_kwargs or {}), **layout},
            return_dict=return_dict,
        )


def _graft_blocks(module: nn.Module, *, cross_domain: bool, row_attention: bool) -> None:
    for block in list(module.modules()):
        if isinstance(block, BasicTransformerBlock):
            MultiViewBlock.graft(block, cross_domain=cross_domain, row_attention=row_attention)


_FIXED_KEYS = {  # what this class fixes; any other value would be another network
    "cd_attention_last": False,
    "sparse_mv_attention": False,
    "mvcd_attention": False,
    "center_input_sample": False,
    "downsample_padding": 1,
    "mid_block_scale_factor": 1,
    "act_fn": "silu",
    "only_cross_attention": False,
    "reverse_transformer_layers_per_block": None,
    "encoder_hid_dim": None,
    "encoder_hid_dim_type": None,
    "num_attention_heads": None,
    "dual_cross_attention": False,
    "addition_embed_type": None,
    "addition_time_embed_dim": None,
    "num_class_embeds": None,
    "upcast_attention": False,
    "resnet_skip_time_act": False,
    "resnet_out_scale_factor": 1.0,
    "time_embedding_type": "positional",
    "time_embedding_dim": None,
    "time_embedding_act_fn": None,
    "timestep_post_act": None,
    "time_cond_proj_dim": None,
    "conv_in_kernel": 3,
    "conv_out_kernel": 3,
    "attention_type": "default",
    "class_embeddings_concat": False,
    "mid_block_only_cross_attention": None,
    "cross_attention_norm": None,
}
_WITHOUT_EFFECT = {
    "addition_embed_type_num_heads",  # read only with an addition_embed_type
    "cross_domain_attention",  # the next three: stale names of older Wonder3D code
    "joint_attention",
    "joint_attention_twice",
    "multiview_attention",  # expressed by num_views
}


def config_from_released(config: Mapping[str, Any]) -> dict[str, Any]:
    """This class's config from its own, from a Wonder3D or from a Stable Diffusion 1.x config.json.

    Raises CheckpointError when a value asks for a network that this class is not.
    """
    ours: dict[str, Any] = {}
    if config.get("_class_name") == "UNet2DConditionModel":
        ours["cross_domain"] = False
    if config.get("multiview_attention") is False:
        ours["num_views"] = 1
    for key, value in config.items():
        if key in _FIXED_KEYS and value != _FIXED_KEYS[key]:
            raise CheckpointError(
                f"config.json asks for {key}={value!r}; MultiViewUNet is built with {_FIXED_KEYS[key]!r} only"
            )
        if key in _FIXED_KEYS or key in _WITHOUT_EFFECT:
            continue
        if key == "cd_attention_mid":
            ours["cross_domain"] = value
        elif key.endswith("block_type"):
            ours[key] = value.replace("MV2D", "2D")
        elif key.endswith("block_types"):
            ours[key] = tuple(name.replace("MV2D", "2D") for name in value)
        else:
            ours.setdefault(key, tuple(value) if isinstance(value, list) else value)
    return ours
