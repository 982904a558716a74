"""Weights in 8 bits: what comes back, how far from what was there, and what is refused."""

import json

import pytest
import torch
from diffusers import ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING
from safetensors.torch import load_file, save_file
from tiny import cut_out, tiny_pipeline
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from infinitemesh import hub
from infinitemesh.eight_bit import ENTRY, INT8, MARK, METHOD, SCALE, from_int8, to_int8
from infinitemesh.errors import CheckpointError, InputError
from infinitemesh.pipeline import InfiniteMeshPipeline

LARGE = {"linear.weight", "conv.weight", "table"}


class Mixed(ModelMixin, ConfigMixin):
    """Every kind of tensor: large and small, learnt and counted."""

    @register_to_config
    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.linear = nn.Linear(100, width)
        self.conv = nn.Conv2d(32, 16, 3)
        self.table = nn.Parameter(torch.randn(1, 1, 50, 100) * 0.02)
        self.small = nn.Linear(8, 8)
        self.norm = nn.BatchNorm1d(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.fixture
def saved(tmp_path):
    network = Mixed()
    with torch.no_grad():
        network.linear.weight[3] = 0
    return network, hub.save_network(network, tmp_path / "net", dtype=torch.float16, eight_bit=True)


@pytest.mark.parametrize("shape", [(64, 300), (64, 5, 3, 3), (1, 64, 90), (1, 1, 64, 1, 70)])
def test_no_value_moves_by_more_than_half_a_step_of_its_row(shape):
    x = torch.randn(shape)
    rows = x.reshape(64, -1)
    rows *= torch.logspace(-30, 30, 64)[:, None]
    rows[7] = 0
    rows[8, 1:] = 0  # one value alone
    levels, scale = to_int8(x)
    assert levels.shape == x.shape and scale.shape == (64,)
    back = from_int8(levels, scale, "x").reshape(64, -1)
    error = (back.double() - rows.double()).abs().amax(dim=1)
    assert (error <= scale.double() / 2 * (1 + 1e-5)).all()
    assert torch.equal(back[7], rows[7])
    ratio = scale.double() * 127 / rows.double().abs().amax(dim=1).where(scale > 0, 1)
    assert ((ratio >= 1 - 1e-7) & (ratio <= 1 + 2**-15))[scale > 0].all()
    torch.testing.assert_close(back.abs().amax(dim=1), rows.abs().amax(dim=1), rtol=2**-15, atol=0)


def test_what_was_stored_is_exact_and_stored_again_the_same():
    levels, scale = to_int8(torch.randn(2000, 40) * torch.rand(2000, 1))
    back = from_int8(levels, scale, "x")
    assert torch.equal(back.double(), levels.double() * scale.double()[:, None])
    again, same = to_int8(back)
    assert torch.equal(again, levels) and torch.equal(same, scale)


def test_rows_too_small_for_a_scale_are_zeros():
    levels, scale = to_int8(torch.full((2, 3), 1e-40))
    assert not levels.any() and not scale.any()


def test_large_tensors_alone_are_in_8_bits_and_load_as_floats(saved):
    network, folder = saved
    stored, before = load_file(folder / hub.WEIGHTS), network.state_dict()
    assert {key.removesuffix(INT8) for key in stored if key.endswith(INT8)} == LARGE
    assert {key.removesuffix(SCALE) for key in stored if key.endswith(SCALE)} == LARGE
    loaded = hub.load_network(Mixed, folder)
    assert {p.dtype for p in loaded.parameters()} == {torch.float32} and not loaded.training
    for key, value in loaded.state_dict().items():
        if key in LARGE:
            expected = from_int8(*to_int8(before[key]), key)  # of the weights themselves, not of their halves
        else:
            expected = before[key].half().float() if before[key].is_floating_point() else before[key]
        assert torch.equal(value, expected), key
    bfloat = hub.load_network(Mixed, folder, dtype=torch.bfloat16).linear.weight
    assert torch.equal(bfloat, loaded.linear.weight.bfloat16())


def test_the_same_weights_are_the_same_bytes(saved, tmp_path):
    network, folder = saved
    again = hub.save_network(network, tmp_path / "again", dtype=torch.float16, eight_bit=True)
    loaded = hub.load_network(Mixed, folder)
    round_trip = hub.save_network(loaded, tmp_path / "round", dtype=torch.float16, eight_bit=True)
    for other in (again, round_trip):
        for name in (hub.CONFIG, hub.WEIGHTS):
            assert (other / name).read_bytes() == (folder / name).read_bytes(), name


def test_a_loaded_network_does_not_remember_8_bits(saved, tmp_path):
    loaded = hub.load_network(Mixed, saved[1])
    ours = hub.save_network(loaded, tmp_path / "ours")
    loaded.save_pretrained(tmp_path / "theirs")
    for folder in (ours, tmp_path / "theirs"):
        assert MARK not in json.loads((folder / hub.CONFIG).read_text())
        assert torch.equal(Mixed.from_pretrained(folder).linear.weight, loaded.linear.weight)


def test_integers_and_scales_may_lie_in_different_shards(saved):
    _, folder = saved
    tensors = load_file(folder / hub.WEIGHTS)
    expected = hub.load_network(Mixed, folder).state_dict()
    (folder / hub.WEIGHTS).unlink()
    home = {key: "b.safetensors" if key.endswith(SCALE) else "a.safetensors" for key in tensors}
    for name in set(home.values()):
        save_file({key: value for key, value in tensors.items() if home[key] == name}, folder / name)
    (folder / hub.SHARD_INDEX).write_text(json.dumps({"weight_map": home}))
    torch.testing.assert_close(hub.load_network(Mixed, folder).state_dict(), expected, rtol=0, atol=0)


W = "linear.weight"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda t: t.pop(W + SCALE), r"1 missing \(linear.weight..scale\)"),
        (lambda t: t.pop(W + INT8), r"1 missing \(linear.weight..int8\)"),
        (lambda t: t.update({W: torch.zeros(48, 100)}), r"1 unexpected \(linear.weight\)"),
        (lambda t: t.update({"small.weight" + SCALE: torch.ones(8)}), r"1 unexpected \(small.weight..scale\)"),
        (lambda t: t.update({W + INT8: t[W + INT8][:, 1:].clone()}), r"linear.weight..int8 has shape \(48, 99\)"),
        (lambda t: t.update({W + SCALE: torch.ones(100)}), r"linear.weight..scale has shape \(100,\).* needs \(48,\)"),
        (lambda t: t.update({W + INT8: torch.zeros(48, 100)}), "linear.weight..int8 is stored as F32"),
        (lambda t: t.update({W + INT8: t[W + INT8].short()}), "linear.weight is torch.int16"),
        (
            lambda t: t.update({W + SCALE: t[W + SCALE].half()}),
            "linear.weight is torch.int8 with scales of torch.float16",
        ),
        (lambda t: t[W + SCALE][5:6].fill_(torch.nan), "linear.weight: its scales hold NaN"),
        (lambda t: t[W + SCALE][5:6].fill_(torch.inf), "linear.weight: its scales hold NaN"),
        (lambda t: t[W + SCALE].neg_(), "linear.weight: its scales hold NaN, infinity or negative"),
        (lambda t: t[W + SCALE].fill_(3e38), "linear.weight holds NaN or infinity as torch.float32"),
        (lambda t: t[W + SCALE].zero_(), "linear.weight holds -128, or values in rows of scale 0"),
        (lambda t: t[W + INT8][:1].fill_(-128), "linear.weight holds -128"),
        (lambda t: t.update({"small.weight": torch.ones(8, 8, dtype=torch.int8)}), "small.weight is stored as I8"),
        (lambda t: t.update({"norm.num_batches_tracked": torch.tensor(1.0)}), "tracked is stored as F32"),
    ],
)
def test_damaged_tensors_are_named(saved, edit, message):
    _, folder = saved
    tensors = load_file(folder / hub.WEIGHTS)
    edit(tensors)
    save_file(tensors, folder / hub.WEIGHTS)
    with pytest.raises(CheckpointError, match=message):
        hub.load_network(Mixed, folder)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (None, r"3 missing \(conv.weight, linear.weight, table\) and 6 unexpected"),
        ({**ENTRY, "format": 2}, r"'format': 2\}; this version reads floats, or 8 bits as .*'format': 1"),
        ({"quant_method": "bitsandbytes"}, "quantization_config is {'quant_method': 'bitsandbytes'}"),
        ("int8", "quantization_config is 'int8'"),
    ],
)
def test_the_configuration_says_which_format(saved, entry, message):
    _, folder = saved
    config = json.loads((folder / hub.CONFIG).read_text())
    assert config.pop(MARK) == ENTRY
    (folder / hub.CONFIG).write_text(json.dumps(config | ({MARK: entry} if entry else {})))
    with pytest.raises(CheckpointError, match=message):
        hub.load_network(Mixed, folder)


def test_diffusers_itself_refuses_and_says_who_reads_it(saved, monkeypatch):
    _, folder = saved
    with pytest.raises(CheckpointError, match=r"use infinitemesh.hub.load_network"):
        Mixed.from_pretrained(folder)
    monkeypatch.delitem(AUTO_QUANTIZATION_CONFIG_MAPPING, METHOD)  # as where infinitemesh.hub was not imported
    with pytest.raises(ValueError, match=r"which infinitemesh.hub.load_network reads"):
        Mixed.from_pretrained(folder)


def test_what_cannot_be_stored_in_8_bits_is_not(tmp_path):
    sizes = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, image_size=8)
    clip = CLIPVisionModelWithProjection(CLIPVisionConfig(**sizes, patch_size=4))
    with pytest.raises(InputError, match="CLIPVisionModelWithProjection is of transformers"):
        hub.save_network(clip, tmp_path / "clip", eight_bit=True)
    network = Mixed()
    nn.init.constant_(network.linear.weight, torch.nan)
    with pytest.raises(CheckpointError, match=r"linear.weight is not finite"):
        hub.save_network(network, tmp_path / "net", eight_bit=True)
    with pytest.raises(InputError, match=r"no network 'recons' to store in 8 bits; .*, reconstruction"):
        tiny_pipeline().save_pretrained(tmp_path / "pipeline", eight_bit=["recons"])
    assert list(tmp_path.iterdir()) == []


def test_a_pipeline_in_8_bits_makes_the_meshes_of_its_float_self(tmp_path):
    """From a photograph and exactly; and saved without being asked for 8 bits, it is in half precision."""
    names = ("autoencoder", "image_encoder", "multiview_unet", "reconstruction")
    tiny_pipeline().save_pretrained(tmp_path / "eight", eight_bit=names)
    eight = InfiniteMeshPipeline.from_pretrained(tmp_path / "eight")
    assert any(key.endswith(INT8) for key in load_file(tmp_path / "eight" / "reconstruction" / hub.WEIGHTS))
    eight.save_pretrained(tmp_path / "floats", dtype=None)
    floats = InfiniteMeshPipeline.from_pretrained(tmp_path / "floats")
    mesh, same = eight(cut_out()), floats(cut_out())
    assert torch.equal(mesh.vertices, same.vertices) and torch.equal(mesh.faces, same.faces)
    assert torch.equal(mesh.texture, same.texture)
    assert mesh.metadata["infinitemesh"]["weights"] != same.metadata["infinitemesh"]["weights"]
    half = InfiniteMeshPipeline.from_pretrained(eight.save_pretrained(tmp_path / "half")).reconstruction.network
    for key, value in eight.reconstruction.network.state_dict().items():
        assert torch.equal(half.state_dict()[key], value.half().float()), key
