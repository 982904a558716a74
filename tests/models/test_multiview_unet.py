import json
import logging
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file

from infinitemesh.errors import CheckpointError, InputError
from infinitemesh.models.multiview_block import MultiViewBlock
from infinitemesh.models.multiview_unet import MultiViewUNet

FIXTURES = Path(__file__).parents[1] / "fixtures"
RELEASED_CONFIG = json.loads((FIXTURES / "mvunet" / "unet_config.json").read_text())


def case(name):
    tensors = load_file(FIXTURES / "mvunet" / "unet_cases.safetensors")
    return {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}


def published_unet(**changes):
    unet = MultiViewUNet.from_config({**RELEASED_CONFIG, **changes})
    weights = load_file(FIXTURES / "mvunet" / "unet_tiny.safetensors")
    if not unet.config["cross_domain"]:
        weights = {key: value for key, value in weights.items() if "joint_mid" not in key}
    unet.load_state_dict(weights, strict=True)
    return unet.eval()


@torch.no_grad()
def predict(unet, c, **layout):
    return unet(c["sample"], c["timestep"], c["encoder_hidden_states"], c["class_labels"], **layout).sample


def relative_error(a, b):
    return float((a - b).norm() / b.norm())


def test_two_domains_of_six_views_equal_the_published_network():
    unet, c = published_unet(), case("joint_6v")
    seen = {}
    for name in (key.removeprefix("act.") for key in c if key.startswith("act.")):
        unet.get_submodule(name).register_forward_hook(lambda _m, _i, out, name=name: seen.update({name: out}))
    torch.testing.assert_close(predict(unet, c), c["out"], atol=1e-4, rtol=0)
    block = "down_blocks.0.attentions.0.transformer_blocks.0"
    for name in ("class_embedding", "time_embedding", "mid_block", block):
        torch.testing.assert_close(seen[name], c[f"act.{name}"].reshape(seen[name].shape), atol=1e-4, rtol=0)


def test_two_objects_without_cross_domain_layers_equal_the_published_network():
    unet, c = published_unet(cd_attention_mid=False), case("mv_only_6v")
    torch.testing.assert_close(predict(unet, c), c["out"], atol=1e-4, rtol=0)


def test_stock_processors_do_not_remove_the_multi_view_attention():
    unet, c = published_unet(), case("joint_6v")
    unet.set_default_attn_processor()
    torch.testing.assert_close(predict(unet, c), c["out"], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "changes, layout, at_least",
    [({}, {"num_views": 3}, 0.2), ({"cd_attention_mid": False}, {"num_domains": 2}, 0.2)],
    ids=["wrong view grouping", "no cross-domain layers"],
)
def test_another_layout_is_another_function(changes, layout, at_least):
    c = case("joint_6v")
    assert relative_error(predict(published_unet(**changes), c, **layout), c["out"]) > at_least


def test_the_paper_preset_has_exactly_the_public_tensors():
    public = json.loads((FIXTURES / "manifests" / "wonder3d_unet.json").read_text())
    with torch.device("meta"):
        ours = MultiViewUNet.preset("paper").state_dict()
        stage_one = MultiViewUNet.preset("paper", cross_domain=False).state_dict()
    assert {key: list(value.shape) for key, value in ours.items()} == public
    assert list(stage_one) == [key for key in public if "joint_mid" not in key] and len(stage_one) == 690


def test_the_published_config_file_loads_by_itself(tmp_path, caplog):
    unet = published_unet()
    unet.save_pretrained(tmp_path)
    stale = {"cross_domain_attention": False, "joint_attention": False, "joint_attention_twice": True, "act_fn": "silu"}
    (tmp_path / "config.json").write_text(json.dumps(RELEASED_CONFIG | stale))
    with caplog.at_level(logging.WARNING, logger="diffusers"):
        loaded, report = MultiViewUNet.from_pretrained(tmp_path, output_loading_info=True)
    assert not caplog.records and not any(report.values())
    torch.testing.assert_close(loaded.state_dict(), unet.state_dict(), atol=0, rtol=0)


def test_a_config_of_another_network_is_refused():
    with pytest.raises(CheckpointError, match="sparse_mv_attention"):
        MultiViewUNet.from_config(RELEASED_CONFIG | {"sparse_mv_attention": True})


def tiny(**changes):
    torch.manual_seed(0)
    return MultiViewUNet.preset("tiny", **changes).eval()


def tiny_rows(rows, seed=0, size=8, dim=16):
    generator = torch.Generator().manual_seed(seed)
    return {
        "sample": torch.randn(rows, 42, size, size, generator=generator),
        "timestep": torch.tensor(500),
        "encoder_hidden_states": torch.randn(rows, 1, dim, generator=generator),
        "class_labels": torch.randn(rows, 10, generator=generator),
    }


@pytest.mark.parametrize("num_views", [1, 2, 5])
@pytest.mark.parametrize("row_attention", [False, True, (False, True, False)])
def test_views_see_their_own_object_and_nothing_else(num_views, row_attention):
    unet, c = tiny(row_attention=row_attention), tiny_rows(2 * num_views)
    before = predict(unet, c, num_views=num_views)
    c["sample"][0] += 1  # the first view of the first object
    moved = (predict(unet, c, num_views=num_views) - before).flatten(1).norm(dim=1) > 0
    assert moved.tolist() == [True] * num_views + [False] * num_views


def test_the_order_of_the_views_does_not_matter():
    unet, c = tiny(), tiny_rows(4)
    order = torch.tensor([2, 0, 3, 1])
    shuffled = {key: value[order] if value.ndim else value for key, value in c.items()}
    torch.testing.assert_close(predict(unet, shuffled), predict(unet, c)[order], atol=1e-5, rtol=0)


def test_row_attention_hands_a_change_in_one_image_row_to_that_row_of_the_other_views_only():
    torch.manual_seed(0)
    block = MultiViewBlock(16, 2, 8, cross_attention_dim=4)
    MultiViewBlock.graft(block, cross_domain=False, row_attention=True)
    tokens, context = torch.randn(3, 6 * 6, 16), torch.randn(3, 1, 4)

    def run(x):
        return block(x, None, context, cross_attention_kwargs={"num_views": 3, "num_domains": 1})

    moved = tokens.clone()
    moved[0, 2 * 6 + 1] = torch.randn(16)
    changed = (run(moved) - run(tokens)).abs().amax(-1).reshape(3, 6, 6) > 1e-6
    assert changed[1:, 2].all() and not changed[1:, [0, 1, 3, 4, 5]].any()


def test_cross_domain_layers_start_as_a_constant_that_no_other_row_enters():
    unet, c = tiny(cross_domain=True), tiny_rows(8)
    before = predict(unet, c)
    c["sample"][:4] += 1
    torch.testing.assert_close(predict(unet, c)[4:], before[4:], atol=0, rtol=0)


def test_it_is_diffusers_own_network_where_views_do_not_meet():
    unet, c = tiny(row_attention=False), tiny_rows(3)
    config = {key: value for key, value in unet.config.items() if not key.startswith("_")}
    for ours in ("num_views", "cross_domain", "row_attention"):
        config.pop(ours)
    stock = UNet2DConditionModel(**config).eval()
    stock.load_state_dict(unet.state_dict(), strict=True)
    with torch.no_grad():
        torch.testing.assert_close(predict(unet, c, num_views=1), stock(**c).sample, atol=1e-6, rtol=0)


def test_checkpointing_leaves_gradients_as_they_are():
    gradients = []
    for checkpointing in (False, True):
        unet = tiny(cross_domain=True).train()
        if checkpointing:
            unet.enable_gradient_checkpointing()
        unet(**tiny_rows(8)).sample.square().mean().backward()
        gradients.append({name: p.grad for name, p in unet.named_parameters()})
    torch.testing.assert_close(*gradients, atol=0, rtol=0)


def test_each_row_may_have_its_own_timestep():
    unet, c = tiny(), tiny_rows(4)
    c["timestep"] = torch.tensor([0, 500, 500, 500])
    assert predict(unet, c).shape == (4, 8, 8, 8)


def test_rows_that_are_not_whole_objects_are_refused():
    with pytest.raises(InputError, match="6 rows"):
        predict(tiny(), tiny_rows(6))
    with pytest.raises(InputError, match="tiny, small, paper"):
        MultiViewUNet.preset("huge")
