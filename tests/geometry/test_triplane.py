"""Triplane look-ups: both ways (grid_sample; gathered rows) obey the same laws and agree."""

import pytest
import torch
from torch.testing import assert_close

from infinitemesh.geometry.bilinear import gather_bilinear
from infinitemesh.geometry.triplane import PLANE_AXES, sample_triplane

PADDINGS = ("zeros", "border")


@pytest.fixture(params=["gathered", "grid_sample"])
def sample(request):
    """One of the two ways: on the CPU, planes that want a gradient go through grid_sample."""

    def way(planes, points, **options):
        return sample_triplane(planes.clone().requires_grad_(request.param == "grid_sample"), points, **options)

    return way


def coordinate_planes(size: int) -> torch.Tensor:
    """Planes whose two channels are their own column and row coordinate."""
    at = (torch.arange(size) + 0.5) / size * 2 - 1  # pixel centres, align_corners False
    row, column = torch.meshgrid(at, at, indexing="ij")
    return torch.stack([column, row]).expand(1, 3, 2, size, size)


@pytest.mark.parametrize("padding", PADDINGS)
def test_planes_that_store_their_own_coordinates_give_them_back(sample, padding):
    points = torch.rand(1, 100, 3) * 1.9 - 0.95
    expected = torch.cat([points[..., list(axes)] for axes in PLANE_AXES], dim=-1)
    assert_close(sample(coordinate_planes(32), points, padding=padding), expected, atol=1e-5, rtol=0)


def test_beyond_the_planes_there_is_nothing_or_the_border(sample):
    planes = coordinate_planes(8)
    outside = torch.tensor([[[3.0, 0.3, -0.2], [-1.3, 9.0, 1.5]]])
    border = sample(planes, outside, padding="border")
    assert_close(border, sample(planes, outside.clamp(-7 / 8, 7 / 8), padding="border"), atol=1e-6, rtol=0)
    zeros = sample(planes, outside, padding="zeros")
    assert torch.equal(zeros[0, 1], torch.zeros(6))  # y and z are outside, and every plane has one of them
    assert torch.equal(zeros[0, 0, :4], torch.zeros(4)) and bool((zeros[0, 0, 4:] != 0).all())  # only zy lacks x


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("size", [1, 2, 7, 48, 64])
def test_both_ways_agree_inside_outside_and_on_every_edge(padding, size):
    planes = torch.randn(2, 3, 5, size, size)
    at = torch.cat([torch.linspace(-1.5, 1.5, 25), (torch.arange(-1, size + 1) + 0.5) / size * 2 - 1])
    on_edges = at[torch.randint(len(at), (2, 800, 3))]
    points = torch.cat([on_edges, torch.rand(2, 800, 3) * 2.4 - 1.2, torch.full((2, 1, 3), 1e30)], dim=1)
    gathered = sample_triplane(planes, points, padding=padding)
    interpolated = sample_triplane(planes.requires_grad_(), points, padding=padding)
    assert interpolated.requires_grad and not gathered.requires_grad
    assert_close(gathered, interpolated.detach(), atol=2e-5, rtol=0)


def test_gradients_reach_planes_and_points_and_values_are_those_without_gradient():
    planes, points = torch.randn(1, 3, 4, 8, 8), torch.rand(1, 50, 3) * 2 - 1
    for wanting in (planes, points):
        wanting.requires_grad_()
        found = sample_triplane(planes, points)
        found.square().sum().backward()
        assert wanting.grad.abs().max() > 0
        with torch.no_grad():
            assert_close(sample_triplane(planes, points), found, atol=1e-6, rtol=0)
        wanting.requires_grad_(False)


def test_half_precision_planes_are_read_with_full_precision_coordinates():
    points = torch.rand(1, 100, 3) * 1.9 - 0.95
    planes = coordinate_planes(64).half()
    assert_close(sample_triplane(planes, points), sample_triplane(planes.float(), points), atol=0, rtol=0)


def test_no_points_have_no_features():
    assert sample_triplane(torch.randn(1, 3, 4, 8, 8), torch.zeros(1, 0, 3)).shape == (1, 0, 12)


def test_other_paddings_are_left_to_grid_sample():
    planes, points = torch.randn(1, 3, 2, 8, 8), torch.rand(1, 9, 3) * 3 - 1.5
    with pytest.raises(ValueError, match="padding"):
        sample_triplane(planes, points, padding="nearest")
    reflected = sample_triplane(planes, points, padding="reflection")
    assert_close(reflected, sample_triplane(planes, 2 - points, padding="reflection"), atol=1e-5, rtol=0)


def test_every_point_may_ask_its_own_image_of_any_shape():
    images = torch.randn(3, 2, 4, 6)
    which, rows, columns = torch.randint(3, (40,)), torch.randint(4, (40,)), torch.randint(6, (40,))
    u, v = (columns + 0.5) / 6 * 2 - 1, (rows + 0.5) / 4 * 2 - 1
    assert_close(gather_bilinear(images, which, u, v), images[which, :, rows, columns], atol=1e-5, rtol=0)
