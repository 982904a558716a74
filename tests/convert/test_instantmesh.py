import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from infinitemesh.convert.checkpoint import read_checkpoint
from infinitemesh.convert.instantmesh import (
    PREFIX,
    config_of,
    from_instantmesh,
    network_from_instantmesh,
    to_instantmesh,
)
from infinitemesh.errors import CheckpointError
from infinitemesh.hub import load_network, save_network
from infinitemesh.models.lrm import LargeReconstructionModel

FIXTURES = Path(__file__).parents[1] / "fixtures"
ORACLE = FIXTURES / "lrm"
ORACLE_HEADS = dict(encoder_heads=3, transformer_heads=4, fusion_heads=3)


def published(size: str) -> dict[str, torch.Tensor]:
    shapes = json.loads((FIXTURES / "manifests" / f"instantmesh_{size}.json").read_text())["state_dict"]
    return {PREFIX + key: torch.empty(shape, device="meta") for key, (shape, _) in shapes.items()}


def checkpoint() -> dict[str, torch.Tensor]:
    """The reduced network whose numbers are known, as a training checkpoint holds it."""
    state = {PREFIX + key: value for key, value in load_file(ORACLE / "mesh_state.safetensors").items()}
    return state | {"lpips.net.weight": torch.ones(3), f"{PREFIX}source_camera": torch.ones(3)}


def settings(network: LargeReconstructionModel) -> dict:
    return {key: value for key, value in network.config.items() if not key.startswith("_")}


@pytest.mark.parametrize(("size", "preset"), [("large", "paper"), ("base", "paper-base")])
def test_every_published_tensor_has_its_place_and_the_sizes_are_the_presets(size, preset):
    network = network_from_instantmesh(published(size))
    with torch.device("meta"):
        expected = LargeReconstructionModel.preset(preset, fusion_reading=None)
    assert settings(network) == settings(expected)
    assert {key: value.shape for key, value in network.state_dict().items()} == {
        key: value.shape for key, value in expected.state_dict().items()
    }


def test_names_come_back_as_they_were():
    state = published("large")
    back = to_instantmesh(from_instantmesh(state))
    assert set(back) == set(state) and all(back[key] is state[key] for key in state)


@pytest.mark.parametrize("fusion_reading", [None, "joint"])
def test_a_converted_and_saved_checkpoint_computes_the_published_function(fusion_reading, tmp_path):
    """With a fusion added, too: it starts as the identity."""
    torch.save({"state_dict": checkpoint(), "global_step": 7}, tmp_path / "instant_mesh.ckpt")
    state = read_checkpoint(tmp_path / "instant_mesh.ckpt")
    converted = network_from_instantmesh(state, fusion_reading=fusion_reading, **ORACLE_HEADS)
    save_network(converted, tmp_path / "ours")
    network = load_network(LargeReconstructionModel, tmp_path / "ours")
    assert (network.fusion is None) == (fusion_reading is None)
    features = torch.from_numpy(np.load(ORACLE / "encoder.npz")["image_feats"])
    at = {key: torch.from_numpy(value) for key, value in np.load(ORACLE / "points.npz").items()}
    with torch.no_grad():
        if network.fusion is not None:
            tokens = features.reshape(1, 6, -1, features.shape[-1])
            features = network.fusion(tokens).reshape(features.shape)
        planes = network.transformer(features)
        sdf = network.decoders.sdf(planes, at["points"])
    expected = torch.from_numpy(np.load(ORACLE / "triplane.npz")["planes"])
    torch.testing.assert_close(planes, expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(sdf[..., None], at["sdf"], atol=1e-4, rtol=0)


def test_an_added_fusion_is_the_same_every_time():
    first, again = (network_from_instantmesh(checkpoint(), fusion_reading="joint", **ORACLE_HEADS) for _ in range(2))
    assert torch.equal(first.fusion.to_query.weight, again.fusion.to_query.weight)
    with pytest.raises(CheckpointError, match=r"no place for fusion\."):
        to_instantmesh(first.state_dict())


def test_a_file_without_the_prefix_is_the_same_network():
    bare = load_file(ORACLE / "mesh_state.safetensors")
    assert config_of(from_instantmesh(bare)) == config_of(from_instantmesh(checkpoint()))


def without(state, key):
    return {name: value for name, value in state.items() if name != PREFIX + key}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: without(s, "transformer.norm.bias"), r"misses 1 tensors \(transformer.norm.bias\)"),
        (lambda s: s | {"surprise": torch.ones(1)}, r"besides 1 tensors \(surprise\)"),
        (lambda s: s | {PREFIX + "surprise": torch.ones(1)}, r"besides 1 tensors \(surprise\)"),
        (lambda s: s | {PREFIX + "transformer.norm.bias": torch.ones(5)}, "transformer.norm.bias"),
        (lambda s: s | {PREFIX + "synthesizer.decoder.net.0.bias": torch.ones(64)}, "NeRF stage"),
        (lambda s: {"model.diffusion_model.out.2.bias": torch.ones(4)}, "no InstantMesh.*model.diffusion_model"),
        (lambda s: s | {PREFIX + "transformer.pos_embed": torch.ones(5)}, r"position tables have the shapes"),
        (lambda s: {}, "it holds nothing"),
        (lambda s: without(s, "transformer.layers.1.norm1.bias"), "transformer.layers.1.norm1.bias"),
    ],
)
def test_another_checkpoint_is_refused(change, says):
    with pytest.raises(CheckpointError, match=says):
        network_from_instantmesh(change(checkpoint()), **ORACLE_HEADS)
