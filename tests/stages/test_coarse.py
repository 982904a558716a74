"""Coarse renders: each of two networks has its share, and level views of one object end in the same rows."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from infinitemesh.errors import InputError
from infinitemesh.models.lrm import LargeReconstructionModel
from infinitemesh.stages.coarse import TRUNCATION, CoarseRenderer, with_rows_of
from infinitemesh.stages.grid_march import grid_points
from infinitemesh.stages.reconstruction import TriplaneReconstruction
from infinitemesh.types import Camera, ViewSet

SIZE = 64
LEVEL, TILTED = 0.0, 12.0


def picture_set(alpha: Tensor, camera: Camera) -> ViewSet:
    rgb = torch.rand(len(alpha), 3, *alpha.shape[-2:])
    return ViewSet(rgb, alpha, camera, torch.zeros(len(alpha), dtype=torch.bool))


def egg(top: float, bottom: float, *, width: float = 30.0, middle: float = SIZE / 2, size: int = SIZE) -> Tensor:
    """The outline of an egg that stands from row to row, with a one-pixel ramp."""
    at = torch.arange(size) + 0.5
    y, x = (at[:, None] - (top + bottom) / 2) / ((bottom - top) / 2), (at - middle) / (width / 2)
    radius = torch.hypot(y, x)
    return (0.5 + (1 - radius) * min(bottom - top, width) / 2).clamp(0, 1)[None]


def rows(alpha: Tensor) -> list[int]:
    """The first row of the object and the one after its last."""
    shown = (alpha > 0.5).any(-1).flatten().nonzero()[:, 0]
    return [int(shown[0]), int(shown[-1]) + 1]


def columns(alpha: Tensor) -> list[int]:
    return rows(alpha.transpose(-1, -2))


def front(top: float, bottom: float, *, size: int = SIZE) -> ViewSet:
    return picture_set(egg(top, bottom, width=20, size=size)[None], Camera.orbit([0.0]))


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
    seen, cameras = front(10, 50), Camera.orbit([90.0, 215.0], [0.0, 20.0])
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
    seen, cameras = front(10, 50), Camera.orbit([90.0])
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


@pytest.mark.parametrize("given_size", [SIZE, 2 * SIZE, 48])
@pytest.mark.parametrize("stood", [(20, 44), (6, 60), (30, 36), (12, 63), (0, 64)])
@pytest.mark.parametrize("stands", [(8, 56), (25.0, 41.0), (2, 30), (40, 61), (0, 64)])
def test_level_views_get_the_given_rows_and_keep_their_columns(stood, stands, given_size):
    part = given_size / SIZE
    given = front(stands[0] * part, stands[1] * part, size=given_size)
    shapes = [egg(*stood, width=width, middle=middle) for width, middle in ((40, 32), (24, 14), (31, 45))]
    views = picture_set(torch.stack(shapes), Camera.orbit([90.0, 180.0, 301.0], [0.0, 0.4, -0.4]))
    made = with_rows_of(given, views)
    wanted = [edge / part for edge in rows(given.alpha)]
    for k in range(len(views)):
        for found, edge in zip(rows(made.alpha[k]), wanted, strict=True):
            assert abs(found - edge) <= 1
        for found, edge in zip(columns(made.alpha[k]), columns(views.alpha[k]), strict=True):
            assert abs(found - edge) <= 1  # a ramp at the widest row is mixed with its neighbours
    assert made.rgb.min() >= 0 and made.rgb.max() <= 1 and made.alpha.max() <= 1 + 1e-6
    assert made.camera is views.camera and made.is_main is views.is_main


def test_columns_are_the_same_pixels_and_colours_move_with_the_object():
    bars = torch.zeros(1, 1, SIZE, SIZE)
    for column, top, bottom in ((10, 20, 40), (11, 20, 40), (30, 20, 30), (50, 30, 40)):
        bars[..., top:bottom, column] = 1
    views = picture_set(bars, Camera.orbit([90.0]))
    across = torch.arange(SIZE) / SIZE
    down = (torch.arange(SIZE) + 0.5 - 20) / 20  # of the object, from its top
    views.rgb[0] = torch.stack([across.expand(SIZE, SIZE), down[:, None].expand(SIZE, SIZE), torch.ones(SIZE, SIZE)])
    box = torch.zeros(1, 1, SIZE, SIZE)
    box[..., 4:52, 5:9] = 1  # 48 rows of 20
    made = with_rows_of(picture_set(box, Camera.orbit([0.0])), views)
    expected = torch.zeros(SIZE, SIZE)
    for column, top, bottom in ((10, 4, 52), (11, 4, 52), (30, 4, 28), (50, 28, 52)):
        expected[top:bottom, column] = 1
    assert torch.equal(made.alpha[0, 0] > 0.5, expected > 0.5)
    assert (made.alpha[0, 0, :, expected.amax(0) == 0]).abs().max() < 1e-4
    inside = (expected > 0) & (made.alpha[0, 0] > 1 - 1e-4)
    assert inside.float().sum() > 0.9 * expected.sum()
    stretched = (torch.arange(SIZE) + 0.5 - 4) / 48
    for channel, exact in ((0, across.expand(SIZE, SIZE)), (1, stretched[:, None].expand(SIZE, SIZE))):
        assert_close(made.rgb[0, channel][inside], exact[inside], atol=1e-4, rtol=0)


def test_only_level_views_that_show_an_object_are_touched():
    shapes = [egg(20, 44), egg(20, 44), torch.zeros(1, SIZE, SIZE), egg(20, 44), egg(20, 44) * 0.4]
    views = picture_set(torch.stack(shapes), Camera.orbit([90.0] * 5, [LEVEL, TILTED, LEVEL, -0.6, LEVEL]))
    made = with_rows_of(front(8, 56), views)
    assert rows(made.alpha[0]) == [8, 56]
    assert_same(made[1:], views[1:])


def test_perspective_views_and_views_of_unknown_rows_are_untouched():
    level = picture_set(egg(20, 44)[None], Camera.orbit([90.0]))
    perspective = picture_set(egg(20, 44)[None], Camera.orbit([90.0], projection="perspective"))
    tilted_front = picture_set(egg(8, 56)[None], Camera.orbit([0.0], TILTED))
    perspective_front = picture_set(egg(8, 56)[None], Camera.orbit([0.0], projection="perspective"))
    empty_front = picture_set(torch.zeros(1, 1, SIZE, SIZE), Camera.orbit([0.0]))
    assert_same(with_rows_of(front(8, 56), perspective), perspective)
    for given in (tilted_front, perspective_front, empty_front):
        assert_same(with_rows_of(given, level), level)


def test_tilted_views_among_the_given_say_nothing():
    alpha = torch.stack([egg(8, 50, width=20), egg(1, 63, width=20), egg(12, 56, width=20)])
    given = picture_set(alpha, Camera.orbit([0.0, 90.0, 180.0], [LEVEL, TILTED, LEVEL]))
    made = with_rows_of(given, picture_set(egg(20, 44)[None], Camera.orbit([270.0])))
    assert rows(made.alpha) == [8, 56], "what any level view shows belongs to the object"


def test_a_rings_own_rows_are_left_alone():
    shapes = torch.stack([egg(9, 51, width=width, middle=middle) for width, middle in ((40, 32), (24, 30), (31, 35))])
    ring = picture_set(shapes, Camera.orbit([0.0, 120.0, 240.0]))
    made = with_rows_of(ring, ring)
    assert_close(made.alpha, ring.alpha, atol=1e-5, rtol=0)
    assert_close(made.composite(), ring.composite(), atol=1e-5, rtol=0)


def test_a_renderer_that_fits_rows_changes_nothing_else():
    cameras = Camera.orbit([90.0, 180.0, 45.0], [LEVEL, LEVEL, 25.0])
    fronts = [front(8, 56), front(30, 41), front(2, 34)]
    network = random_network(fronts[0])
    plain = CoarseRenderer(network, resolution=16).batch(fronts, [cameras] * 3)
    fitted = CoarseRenderer(network, fit_rows=True, resolution=16).batch(fronts, [cameras] * 3)
    for seen, before, after in zip(fronts, plain, fitted, strict=True):
        assert_same(after, with_rows_of(seen, before))
        assert_same(after[2:], before[2:])
        for k in (0, 1):
            assert rows(before.alpha[k]) != rows(seen.alpha)
            assert all(abs(a - b) <= 1 for a, b in zip(rows(after.alpha[k]), rows(seen.alpha), strict=True))
