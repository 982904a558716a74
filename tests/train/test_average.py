"""Averages of weights: the ends are the networks themselves, and what one is without counts as zero."""

import pytest
import torch
from torch.testing import assert_close

from infinitemesh.errors import CheckpointError, InputError
from infinitemesh.hub import save_network
from infinitemesh.models.image_encoder import ImageEncoder
from infinitemesh.models.lrm import LargeReconstructionModel
from infinitemesh.models.multiview_unet import MultiViewUNet
from infinitemesh.train.average import averaged, main

SEMANTICS = {"semantic_layers": 2, "semantic_dim": 16, "semantic_heads": 2, "semantic_size": 28}


@pytest.fixture
def folders(tmp_path):
    torch.manual_seed(0)
    first = LargeReconstructionModel.preset("tiny")
    second = LargeReconstructionModel.preset("tiny", **SEMANTICS)
    torch.nn.init.normal_(second.semantics.to_tokens.weight)
    return save_network(first, tmp_path / "first"), save_network(second, tmp_path / "second"), first, second


def test_the_ends_are_the_networks_and_the_middle_lies_between(folders):
    first, second, before, after = folders
    start, middle, end = (averaged(first, second, share).state_dict() for share in (0.0, 0.5, 1.0))
    for name, tensor in after.state_dict().items():
        assert torch.equal(end[name], tensor)
        if name.startswith("semantics.backbone."):
            assert torch.equal(middle[name], tensor)
            continue
        other = before.state_dict().get(name, torch.zeros_like(tensor))
        assert torch.equal(start[name], other)
        assert_close(middle[name], (tensor + other) / 2)


def test_networks_that_do_not_fit_are_refused_and_nothing_is_written(folders, tmp_path):
    first, second, *_ = folders
    with pytest.raises(InputError, match=r"\[0, 1\]"):
        averaged(first, second, 1.5)
    other = save_network(LargeReconstructionModel.preset("tiny", transformer_layers=2), tmp_path / "other")
    with pytest.raises(CheckpointError, match="was not trained on from"):
        main([str(first), str(other), str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
    main([str(first), str(second), str(tmp_path / "out"), "--share", "0.25"])
    assert (tmp_path / "out" / "config.json").exists()


@pytest.mark.parametrize("network", [MultiViewUNet, ImageEncoder])
def test_networks_of_the_front_half_have_means_too(network, tmp_path):
    torch.manual_seed(0)
    both = [network.preset("tiny") for _ in range(2)]
    first, second = (save_network(each, tmp_path / str(k)) for k, each in enumerate(both))
    mean = averaged(first, second, 0.25)
    assert type(mean) is network
    before, after = (each.state_dict() for each in both)
    for name, tensor in mean.state_dict().items():
        assert_close(tensor, before[name] * 0.75 + after[name] * 0.25)
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_networks_of_two_kinds_have_no_mean(tmp_path):
    first = save_network(ImageEncoder.preset("tiny"), tmp_path / "a")
    second = save_network(MultiViewUNet.preset("tiny"), tmp_path / "b")
    with pytest.raises(CheckpointError, match=r"ImageEncoder.*MultiViewUNet"):
        averaged(first, second)
