import pytest
import torch
from torch import Tensor

from infinitemesh.render.volume import LaplaceOpacity, LogisticOpacity, SoftplusOpacity, render_volume
from infinitemesh.types import Camera

RADIUS = 0.5
COLOUR = torch.tensor([0.2, 0.6, 0.4])
SHARP = [LaplaceOpacity(0.003), LogisticOpacity(400.0), SoftplusOpacity()]


def ball(points: Tensor) -> tuple[Tensor, Tensor]:
    return points.norm(dim=-1) - RADIUS, COLOUR.expand(len(points), 3)


def dense_ball(points: Tensor) -> tuple[Tensor, Tensor]:
    distance, colour = ball(points)
    return -2e4 * distance, colour


def rays(camera: Camera, size: int = 32) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Origins, directions, the squared half chord through the ball, and the distance to its near side."""
    origins, directions = (x.reshape(-1, 3) for x in camera.rays(size))
    towards = -(origins * directions).sum(-1)
    half_chord = RADIUS**2 - (origins**2).sum(-1) + towards**2
    return origins, directions, half_chord, towards - half_chord.clamp(min=0).sqrt()


@pytest.mark.parametrize("projection", ["orthographic", "perspective"])
@pytest.mark.parametrize("opacity", SHARP, ids=lambda o: type(o).__name__)
def test_a_ball_has_its_analytic_outline_and_depth(opacity, projection):
    origins, directions, half_chord, distance = rays(Camera.orbit([30.0], [20.0], projection=projection))
    field = dense_ball if isinstance(opacity, SoftplusOpacity) else ball
    rgb, seen, depth = render_volume(
        field, origins, directions, half_extent=0.9, samples=96, importance=96, opacity=opacity, background=0.0
    )
    inner, outer = half_chord > 0.03, half_chord < -0.03
    assert inner.sum() > 100 and outer.sum() > 100
    assert seen[inner].min() > 0.98 and seen[outer].max() < 0.02
    torch.testing.assert_close(depth[inner] / seen[inner], distance[inner], atol=0.02, rtol=0)
    torch.testing.assert_close(rgb, seen[:, None] * COLOUR, atol=1e-5, rtol=0)
    assert (depth[outer] < 0.1).all()


def test_rays_beside_the_cube_see_the_background_only():
    origins, directions = (
        torch.tensor([[5.0, 0.0, 2.0], [0.0, 0.0, -2.0]]),
        torch.tensor([[0.0, 0.0, -1.0]]).repeat(2, 1),
    )
    rgb, seen, depth = render_volume(
        ball, origins, directions, half_extent=0.9, background=torch.tensor([0.1, 0.2, 0.3])
    )
    assert (seen == 0).all() and (depth == 0).all()
    torch.testing.assert_close(rgb, torch.tensor([[0.1, 0.2, 0.3]]).expand(2, 3))


@pytest.mark.parametrize("opacity", [LaplaceOpacity(0.05), LogisticOpacity(30.0), SoftplusOpacity()])
def test_gradients_reach_the_field_as_finite_differences_say(opacity):
    """Without importance samples, whose places are not differentiated, the gradient is exact."""
    origins, directions, *_ = rays(Camera.orbit([30.0]), 12)
    origins, directions = origins.double(), directions.double()

    def loss(radius: Tensor) -> Tensor:
        def field(points):
            scale = -50.0 if isinstance(opacity, SoftplusOpacity) else 1.0
            return scale * (points.norm(dim=-1) - radius), points * radius

        rgb, seen, depth = render_volume(
            field, origins, directions, half_extent=0.9, samples=32, importance=0, opacity=opacity
        )
        return rgb.square().sum() + seen.sum() + depth.sum()

    radius = torch.tensor(RADIUS, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss(radius), radius)
    expected = (loss(radius + 1e-5) - loss(radius - 1e-5)) / 2e-5
    torch.testing.assert_close(gradient, expected.detach(), rtol=1e-4, atol=1e-6)


def test_importance_samples_find_a_thin_wall_and_the_seed_decides_the_noise():
    origins, directions, half_chord, distance = rays(Camera.orbit([0.0]))
    inner = half_chord > 0.05

    def error(importance: int) -> float:
        _, _, depth = render_volume(
            ball, origins, directions, half_extent=0.9, samples=24, importance=importance, opacity=LaplaceOpacity(0.002)
        )
        return (depth[inner] - distance[inner]).abs().mean().item()

    assert error(48) < 0.25 * error(0)

    def draw(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return render_volume(ball, origins, directions, half_extent=0.9, generator=generator)[0]

    assert torch.equal(draw(0), draw(0)) and not torch.equal(draw(0), draw(1))


def test_a_field_is_asked_ray_by_ray():
    """So that one call can serve rays of several fields."""
    origins, directions, *_ = rays(Camera.orbit([0.0]), 4)
    asked = []

    def field(points):
        asked.append(points.reshape(16, -1, 3))
        return ball(points)

    render_volume(field, origins, directions, half_extent=0.9, samples=8, importance=4)
    assert [a.shape[1] for a in asked] == [8, 4]
    for points in asked:
        torch.testing.assert_close(points[..., :2], origins[:, None, :2].expand(-1, points.shape[1], -1))
