"""The single-view network: one view, fewer tokens, planes of the same size, and a backbone that it may share."""

import pytest
import torch

from infinitemesh.eight_bit import fits_int6, from_int6, to_int6
from infinitemesh.errors import CheckpointError, InputError
from infinitemesh.models.lrm import LargeReconstructionModel
from infinitemesh.models.single_view import PRESETS, SingleViewModel, share_backbone
from infinitemesh.types import Camera

SEMANTICS = dict(semantic_layers=3, semantic_dim=12, semantic_heads=2, semantic_size=28)


def orbit(*azimuths_deg: float) -> Camera:
    return Camera.orbit(torch.tensor([azimuths_deg]))


def test_small_has_a_quarter_of_the_tokens_and_planes_of_the_same_size():
    from accelerate import init_empty_weights

    with init_empty_weights():
        single, many = SingleViewModel.preset("small"), LargeReconstructionModel.preset("small")
    assert 4 * single.transformer.pos_embed.shape[1] == many.transformer.pos_embed.shape[1]
    cells = single.config["triplane_low_res"] * single.config["plane_upsampling"]
    assert cells == many.config["triplane_low_res"] * many.config["plane_upsampling"] == 64
    assert sum(p.numel() for p in single.parameters()) < 17e6
    assert set(PRESETS) == {"tiny", "small"}
    with pytest.raises(InputError, match=r"no single-view network of size 'smal'\. Did you mean `small`"):
        SingleViewModel.preset("smal")


def test_one_view_makes_planes_and_cells_know_their_neighbours():
    torch.manual_seed(0)
    network = SingleViewModel.preset("tiny").eval()
    planes = network(torch.rand(2, 1, 4, 32, 32), orbit(0.0)[[0, 0]])
    assert planes.shape == (2, 3, 8, 16, 16)
    with pytest.raises(InputError, match="takes one view of an object, got 2"):
        network(torch.rand(1, 2, 4, 32, 32), orbit(0.0, 90.0))
    refine = network.transformer.refine
    assert refine is not None
    before = torch.zeros(1, 8, 16, 16)
    spot = before.clone()
    spot[..., 3, 4] = 1.0  # the border of a token's 4 x 4 cells
    moved = (refine(spot) - refine(before)).abs().sum((0, 1)) > 0
    assert moved[3, 4] and moved[5, 6] and moved[4, 3] and not moved[6, 4]


def test_the_published_transformer_has_no_tensors_of_this():
    names = LargeReconstructionModel.preset("tiny").state_dict()
    assert not any("refine" in name for name in names)


def test_a_backbone_is_shared_where_it_is_the_same_but_for_rounding():
    torch.manual_seed(0)
    many = LargeReconstructionModel.preset("tiny", **SEMANTICS)
    single = SingleViewModel.preset("tiny", **SEMANTICS)
    assert many.semantics is not None and single.semantics is not None
    with pytest.raises(CheckpointError, match="trained over different backbones"):
        share_backbone(single, many)
    rounded = {name: value * (1 + 1e-3) for name, value in many.semantics.backbone.state_dict().items()}
    single.semantics.backbone.load_state_dict(rounded)
    share_backbone(single, many)
    assert single.semantics.backbone is many.semantics.backbone
    wide = SEMANTICS | dict(semantic_dim=48)
    torch.nn.init.normal_((many := LargeReconstructionModel.preset("tiny", **wide)).semantics.to_tokens.weight)
    single = SingleViewModel.preset("tiny", **wide)
    rounded = dict(many.semantics.backbone.state_dict())
    for name, value in rounded.items():
        if fits_int6(value):
            rounded[name] = from_int6(*to_int6(value), name, value.shape)
    single.semantics.backbone.load_state_dict(rounded)
    share_backbone(single, many)
    share_backbone(SingleViewModel.preset("tiny"), many)  # without semantics there is nothing to share
