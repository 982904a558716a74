import json
from pathlib import Path

import pytest
import torch

from infinitemesh.convert.zero123 import from_zero123, key_map, to_zero123, zero123_networks
from infinitemesh.errors import CheckpointError

MANIFESTS = Path(__file__).parents[1] / "fixtures" / "manifests"
THEIRS = json.loads((MANIFESTS / "zero123_unet.json").read_text())
OURS = json.loads((MANIFESTS / "zero123_unet_diffusers.json").read_text())


def checkpoint():
    return {key: torch.empty(shape, device="meta") for key, shape in THEIRS.items()}


def test_every_published_tensor_has_its_place_and_shape():
    unet, projection = from_zero123(checkpoint())
    assert {key: list(value.shape) for key, value in unet.items()} == OURS
    assert {key: list(value.shape) for key, value in projection.items()} == {
        "linear.weight": [768, 772],
        "linear.bias": [768],
    }


def test_names_come_back_as_they_were():
    state = checkpoint()
    back = to_zero123(*from_zero123(state))
    assert set(back) == set(state) and all(back[key] is state[key] for key in state)


def test_named_examples():
    """One of each kind, written out."""
    names = {ours: theirs.removeprefix("model.diffusion_model.") for ours, theirs in key_map().items()}
    examples = {
        "conv_in.weight": "input_blocks.0.0.weight",
        "down_blocks.0.resnets.1.norm2.bias": "input_blocks.2.0.out_layers.0.bias",
        "down_blocks.0.downsamplers.0.conv.weight": "input_blocks.3.0.op.weight",
        "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.weight": (
            "input_blocks.4.1.transformer_blocks.0.attn1.to_q.weight"
        ),
        "down_blocks.3.resnets.1.time_emb_proj.weight": "input_blocks.11.0.emb_layers.1.weight",
        "mid_block.resnets.1.conv1.weight": "middle_block.2.in_layers.2.weight",
        "up_blocks.0.upsamplers.0.conv.bias": "output_blocks.2.1.conv.bias",
        "up_blocks.1.upsamplers.0.conv.bias": "output_blocks.5.2.conv.bias",
        "up_blocks.3.resnets.2.conv_shortcut.weight": "output_blocks.11.0.skip_connection.weight",
        "up_blocks.3.attentions.2.proj_out.weight": "output_blocks.11.1.proj_out.weight",
        "time_embedding.linear_2.bias": "time_embed.2.bias",
    }
    assert {key: names[key] for key in examples} == examples


def test_whole_checkpoints_with_their_other_parts_are_taken():
    others = {key: torch.empty(1) for key in ("betas", "first_stage_model.x", "cond_stage_model.y", "model_ema.z")}
    unet, projection = zero123_networks(checkpoint() | others)
    assert unet.config["class_embed_type"] is None and not unet.config["cross_domain"]
    assert projection.linear.in_features == 772


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_another_checkpoint_is_refused(change):
    state = checkpoint()
    if change == "missing":
        del state["cc_projection.bias"]
    elif change == "extra":
        state["model.diffusion_model.surprise"] = torch.empty(1)
    else:
        state["cc_projection.bias"] = torch.empty(5, device="meta")
    with pytest.raises(CheckpointError, match=r"cc_projection\.bias|surprise|bias"):
        zero123_networks(state)
