import pytest
import torch

from infinitemesh.data.materials import MaterialChances, random_materials
from infinitemesh.data.points import PointOptions, cache_points, draw_points
from infinitemesh.data.rigs import frame_like_inference, random_rigs, random_rotations
from infinitemesh.data.surface import nearest_on_triangles
from infinitemesh.data.training_views import render_batch
from infinitemesh.data.view_cameras import orbit_cameras

SMALL = PointOptions(points=2000, surface_samples=4096, directions=24, depth_px=96)


@pytest.fixture(scope="module")
def cache(pack):
    return cache_points(pack, options=SMALL)


def box_distance(points: torch.Tensor, half: torch.Tensor) -> torch.Tensor:
    beyond = points.abs() - half
    return beyond.clamp(min=0).norm(dim=-1) + beyond.amax(-1).clamp(max=0)


def test_distances_to_a_ball_and_boxes_are_exact(cache):
    ball = cache.points[0].float().norm(dim=-1) - 0.5
    torch.testing.assert_close(cache.distance[0].float(), ball, atol=3e-3, rtol=2e-3)  # facets lie 0.001 inside
    for row, half in ((1, [0.5, 0.25, 0.125]), (3, [0.5, 0.5, 0.5])):
        true = box_distance(cache.points[row].float(), torch.tensor(half))
        wrong = ((cache.distance[row].float() - true).abs() > 1e-3 + 2e-3 * true.abs()).float().mean()
        assert wrong < 0.003  # in creases a sample of the other face may be nearer


def test_normals_and_nearest_points_lie_on_the_surface(cache):
    nearest, normal = cache.nearest[0].float(), cache.normal[0].float() / 127
    assert (nearest.norm(dim=-1) - 0.5).abs().max() < 2e-3
    assert ((nearest / 0.5) * normal).sum(-1).min() > 0.99
    offset = cache.points[0].float() - nearest
    torch.testing.assert_close(offset.norm(dim=-1), cache.distance[0].float().abs(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("framing", ["random", "inference"])
def test_points_over_an_empty_pixel_are_outside_and_points_inside_are_covered(pack, cache, framing):
    ids = torch.tensor([0, 1, 2, 3])
    generator = torch.Generator().manual_seed(1)
    rotation = random_rotations(4, generator)
    rig = random_rigs(pack, ids, generator) if framing == "random" else frame_like_inference(pack, ids, rotation)
    azimuth = torch.tensor([0.0, 50.0, 130.0, 260.0]).expand(4, 4)
    camera = orbit_cameras(azimuth, torch.tensor([0.0, 25.0, -25.0, 10.0]).expand(4, 4))
    alpha = render_batch(pack, ids, rig, camera, size=96).alpha
    batch = draw_points(cache, pack, ids, rig, 1000, generator)
    for i in range(4):
        for v in range(4):
            uv, _ = camera[i, v].project(batch.points[i])
            column, row = (uv * 96).long().clamp(0, 95).unbind(-1)
            empty = alpha[i, v, 0, row, column] == 0
            assert (batch.distance[i][empty] > -0.25 * 1.8 / 96).all()  # a sliver between samples of a pixel
            wide_empty = torch.nn.functional.max_pool2d(alpha[i, v], 3, 1, 1)[0, row, column] == 0
            assert (batch.distance[i][wide_empty] > 0).all()
            assert wide_empty.any() and (batch.distance[i] < 0).any()


def test_colours_and_normals_are_those_of_the_pictures(pack, cache):
    ids = torch.tensor([0, 1, 2])
    generator = torch.Generator().manual_seed(2)
    rig = random_rigs(pack, ids, generator)
    camera = orbit_cameras(torch.zeros(3, 1), torch.zeros(3, 1))
    for chances in (None, MaterialChances(new_texture=1.0)):
        materials = random_materials(pack, ids, generator, chances) if chances else None
        picture = render_batch(pack, ids, rig, camera, size=128, supersample=1, materials=materials)
        batch = draw_points(cache, pack, ids, rig, 1600, generator, near_share=1.0, materials=materials)
        for i in range(3):
            place = batch.points[i] - batch.distance[i, :, None] * batch.normal[i]
            uv, depth = camera[i, 0].project(place)
            column, row = (uv * 128).long().clamp(0, 127).unbind(-1)
            in_sight = (picture.depth[i, 0, 0, row, column] - depth).abs() < 0.01
            assert in_sight.sum() > 50
            colour = picture.rgb[i, 0, :, row, column].T[in_sight]
            assert (colour - batch.rgb[i][in_sight]).abs().mean() < 0.04
            agreement = (picture.normal[i, 0, :, row, column].T * batch.normal[i])[in_sight].sum(-1)
            assert (agreement > 0.9).float().mean() > 0.9  # not beside edges


def test_same_seed_same_points_whatever_the_memory(pack, cache):
    again = cache_points(pack, options=SMALL, max_elements=1 << 18)
    assert torch.equal(cache.points, again.points) and torch.equal(cache.distance, again.distance)
    assert not torch.equal(cache.points, cache_points(pack, options=SMALL, seed=1).points)


def test_rigs_scale_distances_with_the_object(pack, cache):
    ids = torch.tensor([0, 0])
    rig = random_rigs(pack, ids, torch.Generator().manual_seed(3))
    batch = draw_points(cache, pack, ids, rig, 500, torch.Generator().manual_seed(4))
    true = (batch.points - rig.offset[:, None]).norm(dim=-1) - 0.5 * rig.scale[:, None]
    torch.testing.assert_close(batch.distance, true, atol=3e-3, rtol=3e-3)


def test_nearest_points_beat_every_other_point_of_the_triangle():
    generator = torch.Generator().manual_seed(0)
    triangles = torch.randn(200, 3, 3, generator=generator)
    triangles[:20, 2] = triangles[:20, 1]  # without area
    points = torch.randn(200, 3, generator=generator) * 1.5
    nearest, barycentric = nearest_on_triangles(points, triangles)
    torch.testing.assert_close(torch.einsum("pk,pkc->pc", barycentric, triangles), nearest)
    assert barycentric.min() >= 0
    weights = torch.distributions.Dirichlet(torch.full((3,), 0.5)).sample((200, 400))
    rivals = (weights @ triangles - points[:, None]).norm(dim=-1).amin(-1)
    assert ((nearest - points).norm(dim=-1) <= rivals + 1e-5).all()
