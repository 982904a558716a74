"""Coarse renders of two networks: each has its share of the field and of the colours."""

import pytest
import torch

from infinitemesh.errors import InputError
from infinitemesh.models.lrm import LargeReconstructionModel
from infinitemesh.stages.coarse import TRUNCATION, CoarseRenderer
from infinitemesh.stages.grid_march import grid_points
from infinitemesh.stages.reconstruction import TriplaneReconstruction
from infinitemesh.types import Camera, ViewSet

SIZE = 64


def front() -> ViewSet:
    """Of a ball."""
    at = (torch.arange(SIZE) + 0.5) / SIZE * 2 - 1
    alpha = (0.6 - torch.hypot(at[:, None], at)).mul(SIZE / 2).add(0.5).clamp(0, 1)[None, None]
    return ViewSet(torch.rand(1, 3, SIZE, SIZE), alpha, Camera.orbit([0.0]), torch.ones(1, dtype=torch.bool))


@torch.no_grad()
def random_network(seen: ViewSet, *, spread: float = 0.01) -> LargeReconstructionModel:
    """Of `seen` it makes lumps, a third of the cube, with distances of this deviation, in many colours."""
    network = LargeReconstructionModel.preset("tiny").eval()
    planes = TriplaneReconstruction(network, hold_outlines=False)(seen).planes[None]
    distance = network.decoders.sdf(planes, grid_points(12, 1.0)[None])
    last = network.decoders.net_sdf[-1]
    last.weight.mul_(spread / distance.std())
    last.bias.fill_(-float(distance.quantile(0.33) / distance.std()) * spread)
    network.decoders.net_rgb[-1].weight.mul_(20)
    return network


def assert_same(found: ViewSet, expected: ViewSet) -> None:
    assert torch.equal(found.rgb, expected.rgb) and torch.equal(found.alpha, expected.alpha)


@pytest.mark.parametrize("spread", [0.01, 0.3])
def test_the_ends_of_the_share_are_the_networks_up_to_the_truncation(spread):
    seen, cameras = front(), Camera.orbit([90.0, 215.0], [0.0, 20.0])
    one, other = (random_network(seen, spread=spread) for _ in range(2))
    first, second = (
        CoarseRenderer(one, second=other, second_share=s, resolution=16)(seen, cameras) for s in (0.0, 1.0)
    )
    assert 0.05 < first.alpha.mean() < 0.95 and (first.alpha - second.alpha).abs().mean() > 0.05
    for made, network in ((first, one), (second, other)):
        truncated = CoarseRenderer(network, second=network, resolution=16)(seen, cameras)
        assert_same(made, truncated)
        alone = CoarseRenderer(network, resolution=16)(seen, cameras)
        if spread < TRUNCATION / 5:
            assert_same(made, alone)
        else:  # what is further away is not told, so surfaces move within their cells
            assert not torch.equal(made.alpha, alone.alpha)
            assert ((made.alpha > 0.5) != (alone.alpha > 0.5)).float().mean() < 0.1


def test_the_surface_is_where_the_shared_mean_of_distances_vanishes():
    seen, cameras = front(), Camera.orbit([90.0])
    one, other = (random_network(seen) for _ in range(2))
    with torch.no_grad():
        for network, bias in ((one, -0.08), (other, 0.05)):
            network.decoders.net_sdf[-1].weight.zero_()
            network.decoders.net_sdf[-1].bias.fill_(bias)
    vanishes = 0.08 / (0.08 + 0.05)
    for share, solid in ((0.0, True), (vanishes - 0.01, True), (vanishes + 0.01, False), (1.0, False)):
        made = CoarseRenderer(one, second=other, second_share=share, resolution=8)(seen, cameras)
        assert (made.alpha[0, 0, 32, 32] == 1.0) == solid and (made.alpha.max() == 0) != solid
    with torch.no_grad():
        one.decoders.net_sdf[-1].bias.fill_(-5.0)  # as much as -TRUNCATION
    vanishes = TRUNCATION / (TRUNCATION + 0.05)
    for share, solid in ((vanishes - 0.01, True), (vanishes + 0.01, False)):
        made = CoarseRenderer(one, second=other, second_share=share, resolution=8)(seen, cameras)
        assert (made.alpha.max() > 0) == solid


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_outside_of_0_to_1_is_refused(share):
    with pytest.raises(InputError, match=r"second_share is a share in \[0, 1\]"):
        CoarseRenderer(LargeReconstructionModel.preset("tiny"), second_share=share)
