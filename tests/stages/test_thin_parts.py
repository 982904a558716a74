from dataclasses import replace

import pytest
import torch
from test_surface import blob, drawn_outlines
from torch import Tensor
from torch.testing import assert_close

from infinitemesh.geometry.report import mesh_report
from infinitemesh.render.outlines import Outlines
from infinitemesh.stages.surface import FlexiCubesSurface
from infinitemesh.stages.thin_parts import HALF_THICKNESS, thin_parts
from infinitemesh.types import Camera, ViewSet

SIZE = 192
ROD = 0.03  # its radius; it stands on the ball's top, off the middle of the field


def ball(points: Tensor) -> Tensor:
    return points.norm(dim=-1) - 0.3


def rod(points: Tensor) -> Tensor:
    off = torch.stack([points[:, 0], points[:, 2] + 0.1], dim=-1).norm(dim=-1) - ROD
    return torch.maximum(off, (points[:, 1] - 0.35).abs() - 0.25)


def outline(camera: Camera) -> Outlines:
    """Of ball and rod, by rays."""
    origin, direction = (rays[0].reshape(-1, 1, 3) for rays in camera.rays(SIZE))
    along = torch.linspace(-0.8, 0.8, 200)[:, None] - (origin * direction).sum(-1, keepdim=True)
    points = (origin + along * direction).reshape(-1, 3)
    least = torch.minimum(ball(points), rod(points)).reshape(SIZE * SIZE, 200).amin(1)
    alpha = (0.5 - least * SIZE / 1.8).clamp(0, 1).reshape(1, 1, SIZE, SIZE)
    return Outlines.of(ViewSet(alpha.expand(-1, 3, -1, -1), alpha, camera, torch.ones(1, dtype=torch.bool)))


@pytest.mark.parametrize("projection", ["orthographic", "perspective"])
@pytest.mark.parametrize("azimuth", [0.0, 90.0])
def test_a_rod_that_the_field_lost_is_put_where_the_field_comes_closest_to_it(azimuth, projection):
    camera = Camera.orbit([azimuth], projection=projection)
    sheet = thin_parts(lambda points: torch.minimum(ball(points), rod(points) + 0.05), outline(camera), chunk=1 << 16)
    assert sheet is not None
    height = torch.linspace(0.43, 0.55, 6)  # below, it is drawn to the ball's depth
    axis = torch.stack([torch.zeros_like(height), height, torch.full_like(height, -0.1)], dim=-1)
    assert (sheet.distance(axis) < -0.5 * HALF_THICKNESS).all()  # it runs along the rod's axis,
    turn = torch.linspace(0, 2 * torch.pi, 50)
    around = axis[:, None] + torch.stack([turn.cos(), torch.zeros_like(turn), turn.sin()], dim=-1) * 0.06
    assert (sheet.distance(around.reshape(-1, 3)) > 0).all()  # nowhere else,
    inside = torch.nn.functional.normalize(torch.randn(100, 3), dim=-1) * torch.rand(100, 1) * 0.2
    assert (sheet.distance(inside) > 0).all()  # and not where rays meet the ball


def test_nothing_is_put_in_where_every_ray_meets_the_field():
    camera = Camera.orbit([0.0])
    assert thin_parts(lambda points: torch.minimum(ball(points), rod(points)), outline(camera), chunk=1000) is None
    empty = ViewSet(torch.zeros(1, 3, 32, 32), torch.zeros(1, 1, 32, 32), camera, torch.ones(1, dtype=torch.bool))
    assert thin_parts(ball, Outlines.of(empty), chunk=1000) is None


@pytest.mark.parametrize("frame", ["gltf", "instantmesh"])
@pytest.mark.parametrize("coarse_stride", [1, 4])
def test_the_mesh_fills_the_outline_of_its_photograph(coarse_stride, frame):
    decoders, triplane = blob(0.4)  # 0.36 world units
    camera = Camera.orbit([0.0])
    wide = replace(triplane, photograph=drawn_outlines(camera, 0.45), frame=frame)
    surface = FlexiCubesSurface(decoders, resolution=64, target_faces=None, coarse_stride=coarse_stride)
    mesh, plain = surface(wide), surface(replace(wide, photograph=None))
    assert mesh_report(mesh).watertight and mesh.metadata["surface"]["thin_parts"] is True
    side = mesh.vertices[:, :2].norm(dim=-1)
    assert_close(side.max(), torch.tensor(0.45), atol=1.5 * 1.8 / 64, rtol=0)
    brim = mesh.vertices[side > 0.42]
    assert brim[:, 2].abs().max() < HALF_THICKNESS + 1.8 / 64  # a brim about the ball's middle
    assert_close(mesh.vertices[:, 2].max(), plain.vertices[:, 2].max(), atol=1e-5, rtol=0)
    exact = surface(replace(triplane, photograph=drawn_outlines(camera, 0.3), frame=frame))
    assert torch.equal(exact.vertices, surface(replace(triplane, frame=frame)).vertices)
    assert exact.metadata["surface"]["thin_parts"] is False


@pytest.mark.parametrize("resolution", [24, 32, 48])
def test_a_sheet_is_as_thick_as_the_grid_can_hold(resolution):
    decoders, triplane = blob(0.4)
    camera = Camera.orbit([45.0])  # askew to the grid
    outline = drawn_outlines(camera, 0.45)
    surface = FlexiCubesSurface(decoders, resolution=resolution, target_faces=None)
    mesh = surface(replace(triplane, photograph=outline))
    shown = mesh.render(camera, 128).alpha[0, 0] > 0.5
    asked = outline.distances[0, 0] < 0
    assert (shown & asked).sum() > 0.9 * asked.sum() and mesh.metadata["surface"]["components"] == 1


def test_a_wall_between_two_samples_of_a_ray_is_not_missed():
    camera = Camera.orbit([0.0])

    def wall(points: Tensor) -> Tensor:  # 0.01 thick, at depths that the samples do not meet
        flat = (points[:, 2] - 0.2125 - 0.03 * points[:, 0]).abs() - 0.005
        return torch.maximum(flat, points[:, :2].norm(dim=-1) - 0.45)

    assert thin_parts(wall, drawn_outlines(camera, 0.4), chunk=1 << 16) is None
