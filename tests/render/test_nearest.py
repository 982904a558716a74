"""The torch way, which serves GPUs, finds cells at the same distances as scipy does."""

import pytest
import torch

from infinitemesh.render.nearest import _nearest, _torch_distance_to_false, distance_to_false, nearest_true


def squares(index, height, width):
    row, column = torch.arange(height)[:, None], torch.arange(width)
    return (index // width - row) ** 2 + (index % width - column) ** 2


@pytest.mark.parametrize("size", [(40, 50), (1, 9), (9, 1), (150, 20)])
@pytest.mark.parametrize("share", [0.5, 0.02, 0.0])
def test_no_true_cell_is_nearer(size, share):
    masks = torch.rand(3, *size, generator=torch.Generator().manual_seed(0)) < share
    masks[0] = False
    masks[0, size[0] // 2, size[1] // 2] = True  # farther from most cells than the first reaches
    for found in (nearest_true(masks), _nearest(masks)):
        for index, mask in zip(found, masks, strict=True):
            if not mask.any():
                assert (index == 0).all()
                continue
            assert mask.flatten()[index].all()
            to_all = torch.cdist(torch.ones_like(mask).nonzero().float(), mask.nonzero().float()).amin(-1)
            torch.testing.assert_close(squares(index, *size).float().sqrt().flatten(), to_all)


def test_masks_in_a_stack_do_not_see_each_other():
    masks = torch.rand(4, 30, 20, generator=torch.Generator().manual_seed(1)) < 0.03
    assert torch.equal(_nearest(masks), torch.cat([_nearest(mask[None]) for mask in masks]))
    assert torch.equal(nearest_true(masks), torch.stack([nearest_true(mask) for mask in masks]))


def test_beyond_the_border_all_is_false():
    masks = torch.ones(2, 5, 7, dtype=torch.bool)
    masks[1, 2, 3] = False
    for found in (distance_to_false(masks), _torch_distance_to_false(masks)):
        assert found[0].amax() == 3 and found[0, 0].amax() == 1
        assert found[1, 2, 3] == 0 and found[1, 2, 5] == 2


def test_both_ways_give_the_same_distances():
    masks = torch.rand(3, 60, 45, generator=torch.Generator().manual_seed(2)) < 0.97
    torch.testing.assert_close(distance_to_false(masks), _torch_distance_to_false(masks))


@pytest.mark.parametrize("within", [1, 4, 30])
def test_looking_no_farther_is_exact_as_far_as_that(within):
    masks = torch.rand(4, 50, 40, generator=torch.Generator().manual_seed(3)) < 0.01
    masks[3] = False
    exact, found = distance_to_false(~masks), _torch_distance_to_false(~masks, within)
    near = exact <= within
    torch.testing.assert_close(found[near], exact[near])
    assert (found[~near] > within).all()
    for mask, index in zip(masks[:3], _nearest(masks, within), strict=False):
        to_true = squares(nearest_true(mask), 50, 40)
        near = to_true <= within**2
        assert torch.equal(squares(index, 50, 40)[near], to_true[near]) and index.min() >= 0 and index.max() < 2000
