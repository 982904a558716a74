"""A ball on a grid looks like a ball from everywhere."""

import pytest
import torch

from infinitemesh.stages.grid_march import grid_points, march_grid
from infinitemesh.types import Camera

RADIUS = 0.5


def ball(resolution: int = 48, scale: float = 1.0) -> torch.Tensor:
    points = grid_points(resolution, 0.9)
    return ((points.norm(dim=-1) - RADIUS) * scale).reshape(resolution, resolution, resolution)


@pytest.mark.parametrize("projection", ["orthographic", "perspective"])
def test_a_ball_has_its_outline_its_surface_and_its_normals(projection: str):
    camera = Camera.orbit([0.0, 33.0, 200.0], [0.0, 25.0, -40.0], projection=projection)
    hits = march_grid(ball(), camera, 64, half_extent=0.9)
    if projection == "orthographic":
        area = hits.coverage.sum((1, 2)) * (1.8 / 64) ** 2
        torch.testing.assert_close(area, torch.full((3,), torch.pi * RADIUS**2), rtol=0.01, atol=0)
    edge = ((hits.coverage > 0) & (hits.coverage < 1)).sum((1, 2))
    rim = 2 * (torch.pi * hits.coverage.sum((1, 2))).sqrt()  # in pixels: the ramp is one pixel wide
    assert ((edge > 0.8 * rim) & (edge < 2 * rim)).all()
    solid = hits.coverage == 1
    assert solid.sum() > 1000
    torch.testing.assert_close(
        hits.point[solid].norm(dim=-1), torch.full((int(solid.sum()),), RADIUS), atol=6e-3, rtol=0
    )
    assert ((hits.normal * hits.point).sum(-1)[solid] / RADIUS > 0.99).all()
    towards = (hits.point * camera.backward[:, None, None]).sum(-1)
    assert (towards[solid] > -0.05).all()  # the near side is seen


def test_units_of_the_values_do_not_matter():
    camera = Camera.orbit([20.0], [10.0])
    one, other = (march_grid(ball(scale=s), camera, 32, half_extent=0.9) for s in (1.0, 37.0))
    torch.testing.assert_close(one.coverage, other.coverage, atol=1e-3, rtol=0)


def test_the_axes_are_x_y_z():
    values = torch.ones(32, 32, 32)
    values[24:28, 8:12, 15:18] = -1  # +x, -y, z about 0
    hits = march_grid(values, Camera.orbit([0.0, 90.0]), 32, half_extent=0.9)
    row, column = (hits.coverage[0] > 0.5).nonzero().float().mean(0)
    assert column > 20 and row > 20  # seen from the front: right and below
    assert abs(float((hits.coverage[1] > 0.5).nonzero()[:, 1].float().mean()) - 15.5) < 1.5  # from +X: in the middle


def test_nothing_inside_is_an_empty_picture():
    hits = march_grid(torch.ones(8, 8, 8), Camera.orbit([0.0]), 16, half_extent=0.9)
    assert hits.coverage.sum() == 0 and hits.point.abs().sum() == 0
