"""Zero123's UNet and its pose projection: from the names of latent-diffusion to diffusers' names, and back.

The natural start for view interpolation: it was trained with a reference latent, an image token and a relative pose.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from infinitemesh.convert.checkpoint import inverse, renamed
from infinitemesh.errors import CheckpointError
from infinitemesh.models.conditioning import PoseProjection
from infinitemesh.models.multiview_unet import MultiViewUNet

PREFIX = "model.diffusion_model."
PROJECTION = {"linear.weight": "cc_projection.weight", "linear.bias": "cc_projection.bias"}  # ours -> theirs
CONFIG = {
    "cross_domain": False,
    "num_views": 1,
    "class_embed_type": None,
    "projection_class_embeddings_input_dim": None,
}

RESNET = {  # ours -> theirs
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "mid_block.attentions.0": "middle_block.1",
}
OTHER_PARTS = ("first_stage_model.", "cond_stage_model.", "model_ema.")  # autoencoder, CLIP, averages: not of the UNet
SCHEDULE = (
    "betas alphas_cumprod alphas_cumprod_prev sqrt_alphas_cumprod sqrt_one_minus_alphas_cumprod "
    "log_one_minus_alphas_cumprod sqrt_recip_alphas_cumprod sqrt_recipm1_alphas_cumprod posterior_variance "
    "posterior_log_variance_clipped posterior_mean_coef1 posterior_mean_coef2 logvar lvlb_weights scale_factor"
).split()


def zero123_networks(state: Mapping[str, Tensor]) -> tuple[MultiViewUNet, PoseProjection]:
    """Both networks of a Zero123 checkpoint's `state_dict`; its autoencoder, CLIP and averages are left out."""
    unet_state, projection_state = from_zero123(_of_unet(state))
    with torch.device("meta"):
        unet, projection = MultiViewUNet.preset("paper", **CONFIG), PoseProjection()
    try:
        unet.load_state_dict(unet_state, assign=True)
        projection.load_state_dict(projection_state, assign=True)
    except RuntimeError as error:
        raise CheckpointError(f"these are no weights of Zero123's size: {error}") from error
    return unet.eval(), projection.eval()


def from_zero123(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(UNet, pose projection) under our names."""
    tensors = renamed(state, key_map() | PROJECTION, what="Zero123 checkpoint")
    projection = {key: tensors.pop(key) for key in PROJECTION}
    return tensors, projection


def to_zero123(unet: Mapping[str, Tensor], projection: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return renamed({**unet, **projection}, inverse(key_map() | PROJECTION), what="Zero123-like MultiViewUNet")


def key_map() -> dict[str, str]:
    """Every tensor of the UNet: our name -> the checkpoint's."""
    modules = dict(_modules())
    with torch.device("meta"):
        keys = list(MultiViewUNet.preset("paper", **CONFIG).state_dict())
    names = {}
    for key in keys:
        module = next(prefix for prefix in _prefixes(key) if prefix in modules)
        names[key] = PREFIX + modules[module] + key.removeprefix(module)
    return names


def _modules() -> Iterator[tuple[str, str]]:
    """Modules that are named differently, ours and theirs. Three levels have attention, the fourth has none."""
    yield from ENDS.items()
    resnets = {"mid_block.resnets.0": "middle_block.0", "mid_block.resnets.1": "middle_block.2"}
    for level in range(4):
        for layer in range(2):
            theirs = f"input_blocks.{1 + 3 * level + layer}"
            resnets[f"down_blocks.{level}.resnets.{layer}"] = f"{theirs}.0"
            if level < 3:
                yield f"down_blocks.{level}.attentions.{layer}", f"{theirs}.1"
        for layer in range(3):
            theirs = f"output_blocks.{3 * level + layer}"
            resnets[f"up_blocks.{level}.resnets.{layer}"] = f"{theirs}.0"
            if level > 0:
                yield f"up_blocks.{level}.attentions.{layer}", f"{theirs}.1"
        if level < 3:
            yield f"down_blocks.{level}.downsamplers.0.conv", f"input_blocks.{3 * (level + 1)}.0.op"
            yield f"up_blocks.{level}.upsamplers.0.conv", f"output_blocks.{3 * level + 2}.{1 if level == 0 else 2}.conv"
    for ours, theirs in resnets.items():
        for our_part, their_part in RESNET.items():
            yield f"{ours}.{our_part}", f"{theirs}.{their_part}"


def _prefixes(key: str) -> Iterator[str]:
    """`a.b.c` -> `a.b`, `a`: the modules around a tensor, innermost first."""
    while "." in key:
        key = key.rpartition(".")[0]
        yield key


def _of_unet(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if key not in SCHEDULE and not key.startswith(OTHER_PARTS)}
