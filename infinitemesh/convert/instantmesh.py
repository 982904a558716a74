"""InstantMesh's reconstruction network: our names are its names, behind the prefix of its training module."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from infinitemesh.convert.checkpoint import renamed
from infinitemesh.errors import CheckpointError
from infinitemesh.models.fusion import FusionReading
from infinitemesh.models.lrm import LargeReconstructionModel

LICENCE = (
    "Apache-2.0 on InstantMesh's model card, but its paper starts from OpenLRM's weights, which are CC-BY-NC-4.0; "
    "models trained from it inherit these terms"
)
WHAT = "InstantMesh checkpoint"
PREFIX = "lrm_generator."
NOT_OF_THE_NETWORK = ("lpips.", f"{PREFIX}source_camera")  # the loss, and cameras of the rig
HEAD_WIDTH = 64  # channels of an attention head in every published size; the tensors do not tell

POSITIONS = "encoder.model.embeddings.position_embeddings"
TRIPLANE = "transformer.pos_embed"
PLANES = "transformer.deconv.bias"
SIGNED_DISTANCE = "synthesizer.decoder.net_sdf.0.bias"
DENSITY = "synthesizer.decoder.net.0.bias"  # of the NeRF that the mesh network was trained from


def network_from_instantmesh(
    state: Mapping[str, Tensor], *, fusion_reading: FusionReading | None = None, **config: Any
) -> LargeReconstructionModel:
    """The network of instant_mesh_large or instant_mesh_base, or of any size of theirs, from its `state_dict`.

    `fusion_reading` adds a fusion (Eq. 4-6), which changes nothing before it is trained. Sizes are read off the
    tensors; `config` overrides them, and says what they cannot tell (heads).
    """
    tensors = from_instantmesh(state)
    sizes = {**config_of(tensors), "fusion_reading": fusion_reading, **config}
    device = "meta" if fusion_reading is None else "cpu"  # only a fusion keeps fresh weights
    with torch.random.fork_rng(), torch.device(device):
        torch.manual_seed(0)
        network = LargeReconstructionModel.preset("paper", **sizes)
    expected = [key for key in network.state_dict() if not key.startswith("fusion.")]
    tensors = renamed(tensors, {key: key for key in expected}, what="InstantMesh network of this size")
    try:
        network.load_state_dict(tensors, strict=fusion_reading is None, assign=True)
    except RuntimeError as error:
        raise CheckpointError(f"these tensors do not fit InstantMesh's network: {error}") from error
    return network.eval()


def from_instantmesh(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our names; the perceptual loss of a training checkpoint is left out. Files without the prefix are taken too."""
    state = {key: value for key, value in state.items() if not key.startswith(NOT_OF_THE_NETWORK)}
    prefix = PREFIX if any(key.startswith(PREFIX) for key in state) else ""
    if prefix + DENSITY in state:
        raise CheckpointError("this is InstantMesh's NeRF stage (instant_nerf_*); the mesh stage is instant_mesh_*")
    return renamed(state, {key.removeprefix(prefix): key for key in state if key.startswith(prefix)}, what=WHAT)


def to_instantmesh(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """InstantMesh's names, for a network without fusion and lift, which it has not."""
    own = sorted(key for key in state if key.startswith(("fusion.", "projection_lift.")))
    if own:
        raise CheckpointError(f"InstantMesh has no place for {own[0]} and {len(own) - 1} more; leave the part away")
    return {PREFIX + key: value for key, value in state.items()}


def config_of(state: Mapping[str, Tensor]) -> dict[str, int]:
    """The sizes that tensors under our names tell."""
    missing = [key for key in (POSITIONS, TRIPLANE, PLANES, SIGNED_DISTANCE) if key not in state]
    if missing:
        found = ", ".join(sorted(state)[:3]) or "nothing"
        raise CheckpointError(f"this is no {WHAT}: it has no {PREFIX}{missing[0]}; it holds {found}, ...")
    positions, triplane = state[POSITIONS].shape, state[TRIPLANE].shape
    if len(positions) != 3 or len(triplane) != 3:
        raise CheckpointError(f"this is no {WHAT}: its position tables have the shapes {positions} and {triplane}")
    return {
        "encoder_dim": positions[-1],
        "encoder_layers": _count(state, "encoder.model.encoder.layer."),
        "encoder_heads": max(1, positions[-1] // HEAD_WIDTH),
        "position_grid": math.isqrt(positions[1] - 1),
        "fusion_heads": max(1, positions[-1] // HEAD_WIDTH),
        "transformer_dim": triplane[-1],
        "transformer_layers": _count(state, "transformer.layers."),
        "transformer_heads": max(1, triplane[-1] // HEAD_WIDTH),
        "triplane_low_res": math.isqrt(triplane[1] // 3),
        "triplane_dim": state[PLANES].shape[0],
        "decoder_hidden": state[SIGNED_DISTANCE].shape[0],
    }


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    """How many numbered layers there are."""
    return len({key.removeprefix(prefix).split(".")[0] for key in state if key.startswith(prefix)})
