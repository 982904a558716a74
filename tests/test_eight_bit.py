"""Weights in 8 and 6 bits: what comes back, how far from what was there, and what is refused."""

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
from infinitemesh.eight_bit import (
    ENTRY,
    ENTRY_INT6,
    INT6,
    INT8,
    MARK,
    METHOD,
    SCALE,
    from_int6,
    from_int8,
    is_large,
    to_int6,
    to_int8,
)
from infinitemesh.errors import CheckpointError, InputError
from infinitemesh.pipeline import InfiniteMeshPipeline

LARGE = {"linear.weight", "conv.weight", "table", "uneven"}
SIX_BIT = ("linear.", "tab")  # of which linear.bias stays a float, and the others are in 8 bits
IN_6_BITS = {"linear.weight", "table"}


class Mixed(ModelMixin, ConfigMixin):
    """Every kind of tensor: large and small, learnt and counted."""

    @register_to_config
    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.linear = nn.Linear(100, width)
        self.conv = nn.Conv2d(32, 16, 3)
        self.table = nn.Parameter(torch.randn(1, 1, 50, 100) * 0.02)
        self.uneven = nn.Parameter(torch.randn(67, 67))  # not in groups of four
        self.small = nn.Linear(8, 8)
        self.norm = nn.BatchNorm1d(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.fixture
def six_bit():
    """Prefixes that `saved` stores in 6 bits."""
    return ()


with_and_without_6_bits = pytest.mark.parametrize("six_bit", [(), SIX_BIT], ids=["8", "8-and-6"])
in_6_bits = pytest.mark.parametrize("six_bit", [SIX_BIT], ids=["8-and-6"])


@pytest.fixture
def saved(tmp_path, six_bit):
    network = Mixed()
    with torch.no_grad():
        network.linear.weight[3] = 0
    return network, hub.save_network(network, tmp_path / "net", dtype=torch.float16, eight_bit=True, six_bit=six_bit)


def restored(x: torch.Tensor, most: int) -> tuple[torch.Tensor, torch.Tensor]:
    """x as it comes back from levels of -most ... most, and its scales."""
    if most == 127:
        levels, scale = to_int8(x)
        assert levels.shape == x.shape
        return from_int8(levels, scale, "x"), scale
    packed, scale = to_int6(x)
    assert packed.shape == (x.numel() * 3 // 4,)
    return from_int6(packed, scale, "x", x.shape), scale


def digits(packed: torch.Tensor) -> list[int]:
    """The slow twin of unpacking: the base 64 digits of one little-endian number, from the lowest."""
    number = int.from_bytes(bytes(packed.tolist()), "little")
    return [number >> 6 * place & 63 for place in range(packed.numel() * 4 // 3)]


@pytest.mark.parametrize("most", [127, 31])
@pytest.mark.parametrize("shape", [(64, 300), (64, 5, 3, 3), (1, 64, 90), (1, 1, 64, 1, 70)])
def test_no_value_moves_by_more_than_half_a_step_of_its_row(shape, most):
    x = torch.randn(shape)
    rows = x.reshape(64, -1)
    rows *= torch.logspace(-30, 30, 64)[:, None]
    rows[7] = 0
    rows[8, 1:] = 0  # one value alone
    back, scale = restored(x, most)
    assert back.shape == x.shape and scale.shape == (64,)
    back = back.reshape(64, -1)
    error = (back.double() - rows.double()).abs().amax(dim=1)
    assert (error <= scale.double() / 2 * (1 + 1e-5)).all()
    assert torch.equal(back[7], rows[7])
    ratio = scale.double() * most / rows.double().abs().amax(dim=1).where(scale > 0, 1)
    assert ((ratio >= 1 - 1e-7) & (ratio <= 1 + 2**-15))[scale > 0].all()
    torch.testing.assert_close(back.abs().amax(dim=1), rows.abs().amax(dim=1), rtol=2**-15, atol=0)


def test_what_was_stored_is_exact_and_stored_again_the_same():
    levels, scale = to_int8(torch.randn(2000, 40) * torch.rand(2000, 1))
    back = from_int8(levels, scale, "x")
    assert torch.equal(back.double(), levels.double() * scale.double()[:, None])
    again, same = to_int8(back)
    assert torch.equal(again, levels) and torch.equal(same, scale)


def test_what_was_stored_in_6_bits_is_exact_and_stored_again_the_same():
    packed, scale = to_int6(torch.randn(2000, 40) * torch.rand(2000, 1))
    back = from_int6(packed, scale, "x", (2000, 40))
    levels = torch.tensor(digits(packed), dtype=torch.float64).reshape(2000, 40) - 32
    assert levels.min() == -31 and levels.max() == 31
    assert torch.equal(back.double(), levels * scale.double()[:, None])
    again, same = to_int6(back)
    assert torch.equal(again, packed) and torch.equal(same, scale)


def test_a_stop_in_8_bits_loses_nothing_of_6():
    """Of a network that was loaded from 6 bits: the scale of 8 is less than half of theirs."""
    packed, scale = to_int6(torch.randn(500, 40))
    in_8, _ = restored(from_int6(packed, scale, "x", (500, 40)), 127)
    again, _ = to_int6(in_8)
    assert torch.equal(again, packed)


def test_every_level_is_stored_in_every_place_of_its_three_bytes():
    """The layout of a file, which others may read: levels + 32 are the digits of one little-endian number."""
    levels = torch.stack([torch.arange(-31, 32).roll(place) for place in range(4)], dim=1)  # 63 4
    rows = torch.stack([levels.flatten(), levels[torch.randperm(63)].flatten()])
    packed, scale = to_int6(rows * 0.25)
    assert packed.dtype == torch.uint8 and scale.tolist() == [0.25, 0.25]
    assert [digit - 32 for digit in digits(packed)] == rows.flatten().tolist()
    assert torch.equal(from_int6(packed, scale, "x", (2, 252)), rows * 0.25)


@pytest.mark.parametrize("most", [127, 31])
def test_rows_too_small_for_a_scale_are_zeros(most):
    back, scale = restored(torch.full((2, 4), 1e-40), most)
    assert not back.any() and not scale.any()


@with_and_without_6_bits
def test_large_tensors_alone_are_rounded_and_load_as_floats(saved, six_bit):
    network, folder = saved
    stored, before = load_file(folder / hub.WEIGHTS), network.state_dict()
    in_6 = IN_6_BITS if six_bit else set()
    assert {key.removesuffix(INT6) for key in stored if key.endswith(INT6)} == in_6
    assert {key.removesuffix(INT8) for key in stored if key.endswith(INT8)} == LARGE - in_6
    for key in in_6:
        assert stored[key + INT6].nbytes * 4 == before[key].numel() * 3
    assert {key.removesuffix(SCALE) for key in stored if key.endswith(SCALE)} == LARGE
    loaded = hub.load_network(Mixed, folder)
    assert {p.dtype for p in loaded.parameters()} == {torch.float32} and not loaded.training
    for key, value in loaded.state_dict().items():
        if key in LARGE:
            expected, _ = restored(before[key], 31 if key in in_6 else 127)  # of weights themselves, not their halves
        else:
            expected = before[key].half().float() if before[key].is_floating_point() else before[key]
        assert torch.equal(value, expected), key
    bfloat = hub.load_network(Mixed, folder, dtype=torch.bfloat16).linear.weight
    assert torch.equal(bfloat, loaded.linear.weight.bfloat16())


@with_and_without_6_bits
def test_the_same_weights_are_the_same_bytes(saved, six_bit, tmp_path):
    network, folder = saved
    how = dict(dtype=torch.float16, eight_bit=True, six_bit=six_bit)
    again = hub.save_network(network, tmp_path / "again", **how)
    loaded = hub.load_network(Mixed, folder)
    round_trip = hub.save_network(loaded, tmp_path / "round", **how)
    for other in (again, round_trip):
        for name in (hub.CONFIG, hub.WEIGHTS):
            assert (other / name).read_bytes() == (folder / name).read_bytes(), name


def test_an_empty_prefix_is_all_that_can_be_in_6_bits(tmp_path):
    folder = hub.save_network(Mixed(), tmp_path / "net", eight_bit=True, six_bit=("",))
    stored = load_file(folder / hub.WEIGHTS)
    assert {key.removesuffix(INT6) for key in stored if key.endswith(INT6)} == LARGE - {"uneven"}
    assert {key.removesuffix(INT8) for key in stored if key.endswith(INT8)} == {"uneven"}


@with_and_without_6_bits
def test_a_loaded_network_does_not_remember_how_it_was_stored(saved, tmp_path):
    loaded = hub.load_network(Mixed, saved[1])
    ours = hub.save_network(loaded, tmp_path / "ours")
    loaded.save_pretrained(tmp_path / "theirs")
    for folder in (ours, tmp_path / "theirs"):
        assert MARK not in json.loads((folder / hub.CONFIG).read_text())
        assert torch.equal(Mixed.from_pretrained(folder).linear.weight, loaded.linear.weight)


@with_and_without_6_bits
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


def refuses(folder, edit, message):
    """Edited tensors are refused with this message."""
    tensors = load_file(folder / hub.WEIGHTS)
    edit(tensors)
    save_file(tensors, folder / hub.WEIGHTS)
    with pytest.raises(CheckpointError, match=message):
        hub.load_network(Mixed, folder)


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
    refuses(folder, edit, message)


@in_6_bits
@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda t: t.pop(W + SCALE), r"1 missing \(linear.weight..scale\)"),
        (lambda t: t.pop(W + INT6), r"1 missing \(linear.weight..int8\)"),  # either kind would do
        (lambda t: t.update({W: torch.zeros(48, 100)}), r"1 unexpected \(linear.weight\)"),
        (lambda t: t.update({W + INT8: torch.zeros(48, 100).char()}), r"1 unexpected \(linear.weight..int8\)"),
        (lambda t: t.update({"small.weight" + INT6: torch.zeros(48).byte()}), r"1 unexpected \(small.weight..int6\)"),
        (
            lambda t: t.update({"uneven" + INT6: torch.zeros(3366).byte()}) or t.pop("uneven" + INT8),
            r"1 missing \(uneven..int8\) and 1 unexpected \(uneven..int6\)",
        ),
        (
            lambda t: t.update({W + INT6: t[W + INT6][3:].clone()}),
            r"linear.weight..int6 has shape \(3597,\).* \(3600,\)",
        ),
        (lambda t: t.update({W + INT6: t[W + INT6].reshape(48, 75)}), r"linear.weight..int6 has shape \(48, 75\)"),
        (lambda t: t.update({W + SCALE: torch.ones(100)}), r"linear.weight..scale has shape \(100,\).* needs \(48,\)"),
        (lambda t: t.update({W + INT6: torch.zeros(3600)}), "linear.weight..int6 is stored as F32"),
        (
            lambda t: t.update({W + INT6: t[W + INT6].char()}),
            "linear.weight is torch.int8 with .* 6-bit weights are uint8",
        ),
        (
            lambda t: t.update({W + SCALE: t[W + SCALE].half()}),
            "linear.weight is torch.uint8 with scales of torch.float16",
        ),
        (lambda t: t[W + SCALE][5:6].fill_(torch.nan), "linear.weight: its scales hold NaN"),
        (lambda t: t[W + SCALE].neg_(), "linear.weight: its scales hold NaN, infinity or negative"),
        (lambda t: t[W + SCALE].fill_(3e38), "linear.weight holds NaN or infinity as torch.float32"),
        (lambda t: t[W + SCALE].zero_(), "linear.weight holds -32, or values in rows of scale 0"),
        (lambda t: t[W + INT6][:1].bitwise_and_(0b11000000), "linear.weight holds -32"),  # one code 0 in each place
        (
            lambda t: t[W + INT6][:2].bitwise_and_(torch.tensor([0b111111, 0b11110000]).byte()),
            "linear.weight holds -32",
        ),
        (lambda t: t[W + INT6][1:3].bitwise_and_(torch.tensor([0b1111, 0b11111100]).byte()), "linear.weight holds -32"),
        (lambda t: t[W + INT6][-1:].bitwise_and_(0b11), "linear.weight holds -32"),
        (lambda t: t[W + INT6][225:226].add_(1), "linear.weight holds -32, or values in rows of scale 0"),  # row 3
        (lambda t: t["conv.weight" + INT8][:1].fill_(-128), "conv.weight holds -128"),
    ],
)
def test_damaged_tensors_in_6_bits_are_named(saved, edit, message):
    _, folder = saved
    refuses(folder, edit, message)


def test_a_file_that_is_cut_off_is_damaged(saved):
    _, folder = saved
    content = (folder / hub.WEIGHTS).read_bytes()
    (folder / hub.WEIGHTS).write_bytes(content[:-1])
    with pytest.raises(CheckpointError, match="a safetensors file is damaged"):
        hub.load_network(Mixed, folder)


@in_6_bits
def test_readers_of_8_bits_alone_refuse_6(saved):
    """By its configuration; they know one entry, which pure 8-bit files still have."""
    config = json.loads((saved[1] / hub.CONFIG).read_text())
    assert config[MARK] == ENTRY_INT6 == {"quant_method": METHOD, "format": 2}
    assert ENTRY == {"quant_method": METHOD, "format": 1}
    assert METHOD == "infinitemesh-int8, which infinitemesh.hub.load_network reads"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (None, r"4 missing \(conv.weight, linear.weight, table, uneven\) and 8 unexpected"),
        ({**ENTRY, "format": 3}, r"'format': 3\}; this version reads floats, or 8 bits as .*'format': 1.* format 2"),
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


@with_and_without_6_bits
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


def test_what_cannot_be_stored_in_6_bits_is_not(tmp_path):
    network = Mixed()
    with pytest.raises(InputError, match=r"six_bit says what eight_bit=True stores in less"):
        hub.save_network(network, tmp_path / "net", six_bit=SIX_BIT)
    for prefix in ("line.", "linear.bias", "small.", "uneven"):
        with pytest.raises(
            InputError, match=rf"this Mixed stores no tensor {prefix}\* .* are table, linear.weight, conv"
        ):
            hub.save_network(network, tmp_path / "net", eight_bit=True, six_bit=("linear.", prefix))
    with pytest.raises(InputError, match=r"no tensor linear.\*"):  # it lies with another network
        hub.save_network(network, tmp_path / "net", eight_bit=True, six_bit=("linear.",), without=("linear",))
    with pytest.raises(InputError, match=r"is the text 'table'.*write \('table',\)"):
        hub.save_network(network, tmp_path / "net", eight_bit=True, six_bit="table")
    pipeline = tiny_pipeline()
    for name in ("recons", "multiview_unet"):
        with pytest.raises(
            InputError, match=rf"'{name}' is for 6 bits, but .* 8 bits are reconstruction: name it there"
        ):
            six_bit = {"reconstruction": [""], name: [""]}
            pipeline.save_pretrained(tmp_path / "pipeline", eight_bit=["reconstruction"], six_bit=six_bit)
    with pytest.raises(InputError, match=r"this LargeReconstructionModel stores no tensor lift.\*"):
        six_bit = {"reconstruction": ["lift."]}
        pipeline.save_pretrained(tmp_path / "pipeline", eight_bit=["reconstruction"], six_bit=six_bit)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("six_bit", [None, {"reconstruction": ["projection_lift."]}], ids=["8", "8-and-6"])
def test_a_pipeline_in_8_bits_makes_the_meshes_of_its_float_self(tmp_path, six_bit):
    """From a photograph and exactly; and saved without being asked for 8 bits, it is in half precision."""
    names = ("autoencoder", "image_encoder", "multiview_unet", "reconstruction")
    pipeline = tiny_pipeline()
    pipeline.save_pretrained(tmp_path / "eight", eight_bit=names, six_bit=six_bit)
    eight = InfiniteMeshPipeline.from_pretrained(tmp_path / "eight")
    stored = load_file(tmp_path / "eight" / "reconstruction" / hub.WEIGHTS)
    assert any(key.endswith(INT8) for key in stored)
    before = pipeline.reconstruction.network.state_dict()
    large = {key for key, value in before.items() if six_bit and key.startswith("projection_lift.") and is_large(value)}
    assert {key.removesuffix(INT6) for key in stored if key.endswith(INT6)} == large and bool(large) == bool(six_bit)
    for key in large:
        assert torch.equal(eight.reconstruction.network.state_dict()[key], restored(before[key], 31)[0]), key
    again = eight.save_pretrained(tmp_path / "again", eight_bit=names, six_bit=six_bit)
    assert hub.sha256_of(again) == hub.sha256_of(tmp_path / "eight")
    eight.save_pretrained(tmp_path / "floats", dtype=None)
    floats = InfiniteMeshPipeline.from_pretrained(tmp_path / "floats")
    mesh, same = eight(cut_out()), floats(cut_out())
    assert torch.equal(mesh.vertices, same.vertices) and torch.equal(mesh.faces, same.faces)
    assert torch.equal(mesh.texture, same.texture)
    assert mesh.metadata["infinitemesh"]["weights"] != same.metadata["infinitemesh"]["weights"]
    half = InfiniteMeshPipeline.from_pretrained(eight.save_pretrained(tmp_path / "half")).reconstruction.network
    for key, value in eight.reconstruction.network.state_dict().items():
        assert torch.equal(half.state_dict()[key], value.half().float()), key
