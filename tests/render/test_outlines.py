from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from infinitemesh.render.nearest import _nearest
from infinitemesh.render.outlines import AGREEMENT, REACH, Outlines
from infinitemesh.types import Camera, ViewSet

SIZE = 96
PIXEL = 1.8 / SIZE  # world units
RADIUS, CENTRE = 0.4, torch.tensor([0.1, -0.05, 0.15])
RING = [30.0 * k for k in range(12)]


def pictures(camera: Camera, inside, size: int = SIZE, supersample: int = 8) -> ViewSet:
    """Antialiased masks; `inside` takes rays, origins and directions, and says which of them meet the object."""
    alpha = inside(*camera.rays(size * supersample)).float()[:, None]
    alpha = torch.nn.functional.avg_pool2d(alpha, supersample)
    return ViewSet(alpha.expand(-1, 3, -1, -1), alpha, camera, torch.ones(len(alpha), dtype=torch.bool))


def in_ball(origin: torch.Tensor, direction: torch.Tensor) -> torch.Tensor:
    return torch.linalg.cross(CENTRE - origin, direction).norm(dim=-1) < RADIUS


def in_box(origin: torch.Tensor, direction: torch.Tensor, half=(0.3, 0.2, 0.25)) -> torch.Tensor:
    ends = [(sign * torch.tensor(half) - origin) / (direction + 1e-9) for sign in (-1, 1)]
    return torch.minimum(*ends).amax(-1) < torch.maximum(*ends).amin(-1)


def assert_same_distances(found: torch.Tensor, exact: torch.Tensor) -> None:
    """A seventh of a pixel beside the outline, half of one as far as distances reach, the right side everywhere."""
    beside, near = exact.abs() < PIXEL, exact.abs() < 0.8 * 1.8 * REACH
    assert beside.sum() > 50
    assert_close(found[beside], exact[beside], atol=PIXEL / 7, rtol=0)
    assert_close(found[near], exact[near], atol=PIXEL / 2, rtol=0)
    assert (found[~near].sign() == exact[~near].sign()).all()


@pytest.mark.parametrize("azimuth_deg", [0.0, 50.0])
def test_an_orthographic_view_of_a_ball_gives_the_distance_from_its_cylinder(azimuth_deg: float):
    camera = Camera.orbit([azimuth_deg], 20.0)
    points = torch.rand(4000, 3) * 1.4 - 0.7
    away = points - CENTRE
    across = (away - (away @ camera.backward[0])[:, None] * camera.backward[0]).norm(dim=-1)
    exact = across - RADIUS
    assert_same_distances(Outlines.of(pictures(camera, in_ball)).distance(points), exact)


def test_a_perspective_view_of_a_ball_in_the_middle_gives_the_distance_from_its_cone():
    camera = Camera.orbit([40.0], projection="perspective", fov_deg=40.0)
    distance = float(camera.position.norm())
    points = torch.rand(4000, 3) * 1.2 - 0.6
    uv, depth = camera.project(points)
    across = (uv[0] - 0.5).norm(dim=-1) / camera.intrinsics[0, 0, 0] * depth[0]
    exact = across - depth[0] * RADIUS / (distance**2 - RADIUS**2) ** 0.5
    views = pictures(camera, lambda origin, direction: in_ball(origin + CENTRE, direction))
    assert_same_distances(Outlines.of(views).distance(points), exact)


def test_the_views_that_face_a_box_s_sides_give_the_distance_from_its_sides():
    """Away from corners, where a pixel's plane is no corner: the sides are not on pixel borders."""
    outlines = Outlines.of(pictures(Camera.orbit([0.0, 90.0]), in_box))
    points = torch.rand(4000, 3) * 0.8 - 0.4
    over = points.abs() - torch.tensor([0.3, 0.2, 0.25])
    exact = over.amax(-1)
    beside = (over > -0.08).sum(-1) == 1
    assert beside.sum() > 300
    assert_same_distances(outlines.distance(points)[beside], exact[beside])


@pytest.mark.parametrize("projection", ["orthographic", "perspective"])
@pytest.mark.parametrize("inside", [in_ball, in_box])
def test_true_outlines_never_exclude_the_object_and_agree(projection, inside):
    camera = Camera.orbit(RING, [-10.0, 0.0, 25.0] * 4, projection=projection)
    outlines = Outlines.of(pictures(camera, inside, supersample=4))
    half = torch.tensor([0.3, 0.2, 0.25])
    box = (torch.rand(3000, 3) * 2 - 1) * half
    ball = torch.nn.functional.normalize(torch.randn(3000, 3), dim=-1) * RADIUS * torch.rand(3000, 1) + CENTRE
    assert outlines.distance(ball if inside is in_ball else box).max() < PIXEL / 5
    assert outlines.agreement == 1.0 and outlines.agree


@pytest.mark.parametrize("hard", [False, True])
def test_half_resolution_and_hard_masks_of_one_object_agree(hard):
    views = pictures(Camera.orbit(RING), in_box, size=48, supersample=4)
    assert Outlines.of(replace(views, alpha=views.alpha.round()) if hard else views).agree


def test_outlines_of_different_objects_contradict_each_other():
    views = pictures(Camera.orbit(RING), in_box, supersample=4)
    shifted = replace(views, alpha=torch.cat([views.alpha[:1].roll(6, dims=2), views.alpha[1:]]))
    outlines = Outlines.of(shifted)  # one view is 6 of 21 pixels higher than the others
    assert 0.6 < outlines.agreement < 0.8 and not outlines.agree
    turned = replace(views, camera=Camera.orbit([3 * azimuth for azimuth in RING]))
    assert not Outlines.of(turned).agree
    assert AGREEMENT < 1


def test_a_plate_that_some_views_see_edge_on_and_a_rod_agree():
    for half in ((0.4, 0.4, 0.015), (0.02, 0.6, 0.02)):
        views = pictures(Camera.orbit(RING[:4]), lambda origin, direction, half=half: in_box(origin, direction, half))
        assert Outlines.of(views).agree


def test_a_view_that_shows_nothing_contradicts_the_others():
    views = pictures(Camera.orbit(RING[:4]), in_box, supersample=2)
    empty = replace(views, alpha=views.alpha * torch.tensor([0.0, 1, 1, 1])[:, None, None, None])
    assert Outlines.of(empty).agreement == 0.0
    assert Outlines.of(replace(views, alpha=torch.zeros_like(views.alpha))).agreement == 0.0


def test_a_picture_goes_on_beyond_its_border_as_it_ends():
    """A column that leaves the picture above and below is not cut off there; beside it all stays outside."""
    views = pictures(Camera.orbit([0.0]), lambda origin, _: origin[..., 0].abs() < 0.2)
    found = Outlines.of(views).distance(torch.tensor([[0.0, 1.2, 0.0], [0.0, -3.0, 0.0], [1.5, 0.0, 0.0]]))
    assert (found[:2] < 0).all() and found[2] > 0


def test_nothing_is_excluded_behind_a_perspective_camera():
    camera = Camera.orbit([0.0], projection="perspective", fov_deg=60.0)
    behind = camera.position + torch.tensor([[0.5, 0.0, 0.5]])
    assert Outlines.of(pictures(camera, in_ball)).distance(behind) < 0


def test_a_gpu_s_nearest_pixels_give_the_same_distances(monkeypatch):
    views = pictures(Camera.orbit(RING[:3]), in_ball, size=48)
    plain = Outlines.of(views)
    monkeypatch.setattr("infinitemesh.render.outlines.nearest_true", lambda masks, within: _nearest(masks, within))
    assert_close(Outlines.of(views).distances, plain.distances, atol=0.5 / 48, rtol=0)
