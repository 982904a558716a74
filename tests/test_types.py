import math
from dataclasses import FrozenInstanceError, replace

import pytest
import torch
from torch.testing import assert_close

from infinitemesh.errors import InputError
from infinitemesh.render.outlines import Outlines
from infinitemesh.types import FIELD_HALF_EXTENT, MAIN_AZIMUTHS_DEG, Camera, Mesh, Triplane, ViewSet

PROJECTIONS = ("orthographic", "perspective")
AZIMUTHS = torch.tensor([0.0, 37.0, 90.0, 179.0, 200.0, 270.0, 359.0])
ELEVATIONS = torch.tensor([0.0, 30.0, -45.0, 80.0, -80.0, 15.0, -1.0])


def orbit(projection: str, **kwargs) -> Camera:
    return Camera.orbit(AZIMUTHS, ELEVATIONS, projection=projection, **kwargs)


def off_centre(camera: Camera) -> Camera:
    """With unequal focal lengths and a shifted principal point, so that no law holds by symmetry."""
    intrinsics = camera.intrinsics.clone()
    intrinsics[..., 0, 0] *= 1.2
    intrinsics[..., 0, 2], intrinsics[..., 1, 2] = 0.43, 0.61
    return replace(camera, intrinsics=intrinsics)


def points_in_field(count: int = 50) -> torch.Tensor:
    return (torch.rand(count, 3) * 2 - 1) * FIELD_HALF_EXTENT


@pytest.mark.parametrize("projection", PROJECTIONS)
def test_orbit_angles_come_back(projection):
    camera = orbit(projection)
    assert_close(camera.azimuth_deg, AZIMUTHS, atol=2e-3, rtol=0)
    assert_close(camera.elevation_deg, ELEVATIONS, atol=2e-3, rtol=0)


@pytest.mark.parametrize("projection", PROJECTIONS)
def test_orbit_is_a_rigid_upright_look_at_the_origin(projection):
    camera = orbit(projection)
    rotation = camera.cam_from_world[:, :3, :3]
    assert_close(rotation @ rotation.mT, torch.eye(3).expand(7, 3, 3), atol=1e-6, rtol=0)
    assert_close(torch.linalg.det(rotation), torch.ones(7))
    assert_close(rotation[:, 0, 1], torch.zeros(7))  # right is level
    assert (rotation[:, 1, 1] > 0).all()  # up is up
    assert_close(camera.position, camera.backward * camera.position.norm(dim=-1, keepdim=True), atol=1e-6, rtol=0)
    image_point, depth = camera.project(torch.zeros(1, 3))
    assert_close(image_point, torch.full((7, 1, 2), 0.5), atol=1e-6, rtol=0)
    assert_close(depth[:, 0], camera.position.norm(dim=-1))


@pytest.mark.parametrize(
    ("azimuth", "stands_on", "right"),
    [
        (0, (0, 0, 1), (1, 0, 0)),
        (90, (1, 0, 0), (0, 0, -1)),
        (180, (0, 0, -1), (-1, 0, 0)),
        (270, (-1, 0, 0), (0, 0, 1)),
    ],
)
def test_the_frame_is_the_documented_one(azimuth, stands_on, right):
    camera = Camera.orbit(azimuth)
    assert_close(camera.backward, torch.tensor(stands_on, dtype=torch.float32), atol=1e-6, rtol=0)
    assert_close(camera.cam_from_world[0, :3], torch.tensor(right, dtype=torch.float32), atol=1e-6, rtol=0)
    assert Camera.orbit(azimuth, 90).position[1] > 1.99  # elevation grows upwards
    assert float(azimuth) in MAIN_AZIMUTHS_DEG


def test_the_front_view_shows_x_to_the_right_and_y_upwards():
    uv, _ = Camera.orbit(0).project(torch.tensor([[0.45, 0.0, 0.0], [0.0, 0.45, 0.0]]))
    assert_close(uv, torch.tensor([[0.75, 0.5], [0.5, 0.25]]))


@pytest.mark.parametrize("projection", PROJECTIONS)
def test_angles_broadcast_and_scalars_make_one_camera(projection):
    assert Camera.orbit(30, projection=projection).cam_from_world.shape == (4, 4)
    ring = Camera.orbit([0, 90, 180], 20, projection=projection)
    assert len(ring) == 3
    assert_close(ring.elevation_deg, torch.full((3,), 20.0), atol=1e-3, rtol=0)
    assert_close(ring[1].cam_from_world, Camera.orbit(90, 20, projection=projection).cam_from_world)


@pytest.mark.parametrize("projection", PROJECTIONS)
def test_project_equals_clip_from_world(projection):
    camera, points = off_centre(orbit(projection)), points_in_field()
    near, far = 0.1, 10.0
    homogeneous = torch.cat([points, torch.ones(50, 1)], dim=1)
    clip = homogeneous @ camera.clip_from_world(near, far).mT
    ndc = clip[..., :3] / clip[..., 3:]
    uv, depth = camera.project(points)
    assert_close((ndc[..., :2] + 1) / 2, uv, atol=1e-5, rtol=0)  # clip y = -1 is row 0
    assert ((ndc[..., 2] > -1) & (ndc[..., 2] < 1)).all()
    nearer = depth[:, :25] < depth[:, 25:]
    assert torch.equal(ndc[:, :25, 2] < ndc[:, 25:, 2], nearer)


@pytest.mark.parametrize("projection", PROJECTIONS)
def test_clip_depth_spans_near_to_far(projection):
    camera = Camera.orbit(40, 20, projection=projection)
    for distance, expected in ((0.3, -1.0), (7.0, 1.0)):
        at = torch.cat([camera.position - distance * camera.backward, torch.ones(1)])
        clip = camera.clip_from_world(0.3, 7.0) @ at
        assert_close(clip[2] / clip[3], torch.tensor(expected), atol=1e-4, rtol=0)


@pytest.mark.parametrize("projection", PROJECTIONS)
def test_rays_hit_what_project_says(projection):
    camera, size = off_centre(orbit(projection)), 5
    origin, direction = camera.rays(size)
    assert origin.shape == direction.shape == (7, size, size, 3)
    assert_close(direction.norm(dim=-1), torch.ones(7, size, size))
    centres = (torch.arange(size) + 0.5) / size
    v, u = torch.meshgrid(centres, centres, indexing="ij")
    for index in range(7):
        for distance in (0.5, 2.0):
            at = (origin + distance * direction)[index].reshape(-1, 3)
            uv, depth = camera[index].project(at)
            assert_close(uv, torch.stack([u, v], dim=-1).reshape(-1, 2), atol=1e-4, rtol=0)
            assert (depth > 0).all()


@pytest.mark.parametrize("projection", PROJECTIONS)
def test_intrinsics_survive_a_resize(projection):
    camera = off_centre(orbit(projection))
    small, large = camera.rays(4), camera.rays(8)
    for at_small, at_large in zip(small, large, strict=True):  # a pixel of 4x4 is the middle of a 2x2 block of 8x8
        blocks = at_large.reshape(7, 4, 2, 4, 2, 3).mean(dim=(2, 4))
        unit = projection == "perspective" and at_small is small[1]
        blocks = torch.nn.functional.normalize(blocks, dim=-1) if unit else blocks
        assert_close(blocks, at_small, atol=2e-3 if unit else 1e-6, rtol=0)


@pytest.mark.parametrize("span", [1.0, 2 * FIELD_HALF_EXTENT])
def test_span_is_the_width_of_the_view_at_the_origin(span):
    for projection in PROJECTIONS:
        for fov_deg in (20.0, 60.0):
            camera = Camera.orbit(75, -10, projection=projection, span=span, fov_deg=fov_deg)
            right = camera.cam_from_world[:1, :3] * span / 2
            uv, _ = camera.project(torch.cat([right, -right]))
            assert_close(uv, torch.tensor([[1.0, 0.5], [0.0, 0.5]]), atol=1e-5, rtol=0)


def test_fov_is_the_full_angle_and_distance_is_kept():
    camera = Camera.orbit(10, 5, projection="perspective", fov_deg=50.0, distance=1.7)
    assert_close(camera.position.norm(), torch.tensor(1.7))
    assert math.isclose(float(camera.intrinsics[0, 0]), 0.5 / math.tan(math.radians(25)), rel_tol=1e-6)
    assert math.isclose(float(Camera.orbit(0, distance=3.0).position[2]), 3.0, rel_tol=1e-6)


@pytest.mark.parametrize("projection", PROJECTIONS)
def test_world_from_cam_is_the_inverse(projection):
    camera = orbit(projection)
    assert_close(camera.world_from_cam @ camera.cam_from_world, torch.eye(4).expand(7, 4, 4), atol=1e-5, rtol=0)


@pytest.mark.parametrize("projection", PROJECTIONS)
def test_rows_are_cut_and_joined_without_loss(projection):
    camera = orbit(projection)
    parts = [camera[:2], camera[2], camera[torch.tensor([3, 4])], camera[[5, 6]]]
    joined = Camera.cat(parts)
    assert_close(joined.cam_from_world, camera.cam_from_world, rtol=0, atol=0)
    assert_close(joined.intrinsics, camera.intrinsics, rtol=0, atol=0)
    assert joined.projection == projection and len(joined) == 7


def test_one_camera_is_not_a_row_of_four():
    with pytest.raises(TypeError, match="one camera"):
        len(Camera.orbit(0))
    with pytest.raises(TypeError, match="one camera"):
        _ = Camera.orbit(0)[0]


def test_projections_do_not_mix():
    with pytest.raises(InputError, match="different projections"):
        Camera.cat([Camera.orbit(0), Camera.orbit(0, projection="perspective")])


def views(count: int = 4, size: int = 6, *, normal: bool = True) -> ViewSet:
    return ViewSet(
        rgb=torch.rand(count, 3, size, size),
        alpha=torch.rand(count, 1, size, size),
        camera=Camera.orbit(torch.arange(count) * 360 / count),
        is_main=torch.arange(count) % 2 == 0,
        normal=torch.rand(count, 3, size, size) * 2 - 1 if normal else None,
    )


@pytest.mark.parametrize("index", [slice(1, 3), [1, 2], torch.tensor([1, 2]), torch.tensor([False, True, True, False])])
@pytest.mark.parametrize("normal", [True, False])
def test_some_views_keep_everything_that_is_theirs(index, normal):
    all_views = views(normal=normal)
    some = all_views[index]
    assert len(some) == 2 and some.size == 6
    for i, whole in enumerate((1, 2)):
        assert_close(some.rgb[i], all_views.rgb[whole], rtol=0, atol=0)
        assert_close(some.alpha[i], all_views.alpha[whole], rtol=0, atol=0)
        assert_close(some.camera[i].cam_from_world, all_views.camera[whole].cam_from_world, rtol=0, atol=0)
        assert some.is_main[i] == all_views.is_main[whole]
        if normal:
            assert_close(some.normal[i], all_views.normal[whole], rtol=0, atol=0)


def test_compositing_is_straight_alpha():
    v = replace(views(1), rgb=torch.full((1, 3, 6, 6), 0.4), alpha=torch.full((1, 1, 6, 6), 0.25))
    assert_close(v.composite(), torch.full((1, 3, 6, 6), 0.25 * 0.4 + 0.75))
    red = v.composite((1.0, 0.0, 0.0))[0, :, 0, 0]
    assert_close(red, torch.tensor([0.85, 0.1, 0.1]))


def test_shapes_and_freezing_are_enforced():
    with pytest.raises(Exception, match=r"(?i)type|shape"):
        ViewSet(torch.rand(2, 3, 4, 4), torch.rand(3, 1, 4, 4), Camera.orbit([0, 90]), torch.ones(2, dtype=torch.bool))
    with pytest.raises(FrozenInstanceError):
        Triplane(torch.zeros(3, 2, 4, 4)).half_extent = 1.0  # pyright: ignore[reportAttributeAccessIssue]


def test_a_normalized_mesh_is_centred_with_longest_side_one_and_else_the_same():
    vertices = torch.rand(20, 3) * torch.tensor([1.0, 5.0, 2.0]) + torch.tensor([3.0, -7.0, 11.0])
    mesh = Mesh(vertices, torch.randint(0, 20, (8, 3)), uv=torch.rand(20, 2), metadata={"seed": 3})
    normal = mesh.normalized()
    low, high = normal.vertices.amin(0), normal.vertices.amax(0)
    assert_close(low + high, torch.zeros(3), atol=1e-5, rtol=0)
    assert_close((high - low).max(), torch.tensor(1.0))
    shape = torch.linalg.svdvals(normal.vertices - normal.vertices.mean(0))
    expected = torch.linalg.svdvals(vertices - vertices.mean(0)) / (vertices.amax(0) - vertices.amin(0)).max()
    assert_close(shape, expected, atol=1e-4, rtol=1e-4)  # a similarity: one scale for all axes
    assert normal.faces is mesh.faces and normal.uv is mesh.uv and normal.metadata == {"seed": 3}
    assert_close(normal.normalized().vertices, normal.vertices, atol=1e-6, rtol=0)


def test_moving_to_a_device_moves_every_tensor():
    mesh = Mesh(torch.rand(4, 3), torch.tensor([[0, 1, 2]]), vertex_rgb=torch.rand(4, 3)).to("meta")
    assert {t.device.type for t in (mesh.vertices, mesh.faces, mesh.vertex_rgb)} == {"meta"} and mesh.uv is None
    v = views().to("meta")
    tensors = (v.rgb, v.alpha, v.is_main, v.normal, v.camera.cam_from_world, v.camera.intrinsics)
    assert {t.device.type for t in tensors} == {"meta"}
    outlines = Outlines.of(views())
    triplane = Triplane(torch.zeros(3, 2, 4, 4), outlines=outlines).to("meta")
    assert {t.device.type for t in (triplane.planes, triplane.outlines.distances)} == {"meta"}
    assert triplane.outlines.camera.intrinsics.device.type == "meta" and outlines.distances.device.type == "cpu"
    assert Triplane(torch.zeros(3, 2, 4, 4)).to("meta").outlines is None
