import pytest
import torch

from infinitemesh.data.lighting import random_backgrounds, random_lighting
from infinitemesh.data.materials import MaterialChances, random_materials, sample_textures
from infinitemesh.data.rigs import (
    RigRanges,
    frame_like_inference,
    plain_rigs,
    random_rigs,
    random_rotations,
    shaken,
    turned_boxes,
)
from infinitemesh.data.training_views import draw_objects, render_batch
from infinitemesh.data.view_cameras import noisy_orbit_cameras, orbit_cameras, photograph_cameras, ring_angles
from infinitemesh.errors import InputError
from infinitemesh.types import Camera

IDS = torch.tensor([2, 0, 1, 2])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sparse_ring(num_objects: int, elevation: float = 20.0) -> tuple[torch.Tensor, torch.Tensor]:
    azimuth = torch.tensor([0.0, 60.0, 200.0]).expand(num_objects, 3)
    return azimuth, torch.tensor([0.0, elevation, -elevation]).expand(num_objects, 3)


def test_cameras_of_a_batch_are_those_of_the_library():
    azimuth, elevation = sparse_ring(2)
    ours, theirs = orbit_cameras(azimuth, elevation), Camera.orbit(azimuth, elevation)
    torch.testing.assert_close(ours.cam_from_world, theirs.cam_from_world)
    torch.testing.assert_close(ours.intrinsics, theirs.intrinsics)


def test_packed_rendering_is_the_rendering_of_each_object_alone(pack):
    rig = plain_rigs(pack, IDS)
    camera = orbit_cameras(*sparse_ring(len(IDS)))
    batch = render_batch(pack, IDS, rig, camera, size=48, supersample=2)
    for i, object_id in enumerate(IDS.tolist()):
        alone = pack.mesh(object_id).render(camera[i], size=96)
        coverage = torch.nn.functional.avg_pool2d((alone.alpha > 0.5).float(), 2)
        assert (coverage - batch.alpha[i]).abs().mean() < 0.004
        inner = torch.nn.functional.max_pool2d(1 - batch.alpha[i], 3, 1, 1) == 0
        colour = torch.nn.functional.avg_pool2d(alone.rgb, 2)
        difference = (colour - batch.rgb[i]).abs() * inner
        assert difference.sum() / (3 * inner.sum()) < 0.01


def test_views_in_several_passes_and_in_any_company_are_the_same(pack):
    rig = random_rigs(pack, IDS, seeded())
    camera = orbit_cameras(*sparse_ring(len(IDS)))
    together = render_batch(pack, IDS, rig, camera, size=24)
    in_passes = render_batch(pack, IDS, rig, camera, size=24, max_pixels=1)
    torch.testing.assert_close(together.rgb, in_passes.rgb)
    torch.testing.assert_close(together.depth, in_passes.depth)
    first = type(rig)(rig.rotation[:1], rig.scale[:1], rig.offset[:1])
    alone = render_batch(pack, IDS[:1], first, camera[:1], size=24)
    torch.testing.assert_close(together.rgb[:1], alone.rgb, atol=1e-5, rtol=0)
    torch.testing.assert_close(together.alpha[:1], alone.alpha)


@pytest.mark.parametrize("framing", ["random", "inference"])
def test_points_of_the_object_land_inside_its_silhouette_at_their_depth_or_behind(pack, framing):
    rotation = random_rotations(len(IDS), seeded(1), RigRanges(tilt_deg=(-30.0, 30.0)))
    rig = random_rigs(pack, IDS, seeded(1)) if framing == "random" else frame_like_inference(pack, IDS, rotation)
    camera = noisy_orbit_cameras(*sparse_ring(len(IDS)), seeded(2))
    batch = render_batch(pack, IDS, rig, camera, size=96)
    for i, object_id in enumerate(IDS.tolist()):
        points = rig.points(pack.mesh(object_id).vertices.expand(len(IDS), -1, -1))[i]
        for v in range(3):
            uv, depth = camera[i, v].project(points)
            near = torch.nn.functional.max_pool2d(batch.alpha[i, v], 3, 1, 1)
            column, row = (uv * 96).long().unbind(-1)
            assert (near[0, row, column] > 0).all()
            shallow = -torch.nn.functional.max_pool2d(-batch.depth[i, v].where(batch.alpha[i, v] > 0, 9.0), 3, 1, 1)
            assert (depth > shallow[0, row, column] - 0.02).all()


def test_random_rigs_stay_within_the_limits_and_are_centred(pack):
    ids = torch.arange(4).repeat(32)
    rig = random_rigs(pack, ids, seeded())
    low, high = turned_boxes(pack, ids, rig.rotation)
    side = (high - low) * rig.scale[:, None]
    assert (side.amax(-1) <= 1.15).all() and (side.norm(dim=-1) <= 1.6001).all()
    torch.testing.assert_close(rig.scale[:, None] * (low + high) / 2 + rig.offset, torch.zeros(len(ids), 3))


def test_inference_framing_fills_six_tenths_of_the_front_view(pack):
    ids = torch.tensor([0, 1, 2])
    rig = frame_like_inference(pack, ids, random_rotations(3, seeded(3)))
    front = render_batch(pack, ids, rig, orbit_cameras(torch.zeros(3, 1), torch.zeros(3, 1)), size=200)
    for alpha in front.alpha[:, 0, 0] > 0.5:
        row, column = alpha.nonzero().unbind(-1)
        sides = torch.stack([row.max() - row.min(), column.max() - column.min()]) + 1
        middle = torch.stack([row.max() + row.min(), column.max() + column.min()]) / 2 + 0.5
        assert abs(sides.max() - 120) <= 1 and (middle - 100).abs().max() <= 1


def test_deep_objects_are_shrunk_until_every_view_of_the_ring_contains_them(pack):
    ids = torch.tensor([1])  # the box, seen from its narrow end
    rig = frame_like_inference(
        pack, ids, random_rotations(1, seeded(), RigRanges(yaw_deg=(90.0, 90.0), tilt_deg=(0.0, 0.0)))
    )
    azimuth = torch.arange(0, 360, 15.0)[None].repeat(1, 2)
    elevation = torch.tensor([30.0, -30.0]).repeat_interleave(24)[None]
    alpha = render_batch(pack, ids, rig, orbit_cameras(azimuth, elevation), size=64).alpha
    assert alpha[..., [0, -1], :].max() == 0 and alpha[..., [0, -1]].max() == 0


def test_steep_views_contain_tall_objects_too(pack):
    ids, ranges = torch.tensor([3]), RigRanges(tilt_deg=(0.0, 0.0), max_elevation_deg=60.0)
    rig = frame_like_inference(pack, ids, torch.eye(3)[None], fill=0.7, ranges=ranges)
    camera = orbit_cameras(torch.tensor([[45.0, 45.0]]), torch.tensor([[60.0, -60.0]]))
    alpha = render_batch(pack, ids, rig, camera, size=64).alpha
    assert alpha[..., [0, -1], :].max() == 0 and alpha[..., [2, -3], :].max() > 0  # by a hair


def test_photographs_are_cropped_alike_at_any_field_of_view(pack):
    ids = torch.tensor([0, 1, 2, 2])
    rig = shaken(random_rigs(pack, ids, seeded(4)), seeded(5))
    camera = photograph_cameras(pack, ids, rig, seeded(6), elevation_deg=(-10.0, 30.0))
    assert camera.projection == "perspective"
    batch = render_batch(pack, ids, rig, camera, size=100)
    for alpha in batch.alpha[:, 0, 0] > 0.5:
        row, column = alpha.nonzero().unbind(-1)
        sides = torch.stack([row.max() - row.min(), column.max() - column.min()]) + 1
        middle = torch.stack([row.max() + row.min(), column.max() + column.min()]) / 2 + 0.5
        assert abs(sides.max() - 60) <= 2 and (middle - 50).abs().max() <= 1.5


def test_normals_are_unit_face_the_camera_and_follow_the_rig(pack):
    ids = torch.tensor([0])  # a ball: the normal is the direction from its centre
    rig = random_rigs(pack, ids, seeded(7))
    camera = orbit_cameras(*sparse_ring(1))
    batch = render_batch(pack, ids, rig, camera, size=64, supersample=1)
    for v in range(3):
        origin, direction = camera[0, v].rays(64)
        place = origin + direction * batch.depth[0, v, 0, ..., None]
        outward = torch.nn.functional.normalize(place - rig.offset[0], dim=-1)
        inside = batch.alpha[0, v, 0] > 0
        agreement = (outward * batch.normal[0, v].permute(1, 2, 0)).sum(-1)[inside]
        assert agreement.min() > 0.995


def test_texture_lookup_is_bilinear_and_clamped():
    generator = seeded(10)
    textures = torch.randint(256, (5, 8, 8, 3), generator=generator).byte().permute(0, 3, 1, 2)
    texture, uv = torch.randint(5, (300,), generator=generator), torch.rand(300, 2, generator=generator)
    picked = textures[texture].float() / 255
    expected = torch.nn.functional.grid_sample(
        picked, uv[:, None, None] * 2 - 1, padding_mode="border", align_corners=False
    )
    torch.testing.assert_close(sample_textures(textures, texture, uv), expected[:, :, 0, 0], atol=1e-5, rtol=0)


def test_rings_put_main_views_on_the_horizon():
    azimuth, elevation = ring_angles(5, seeded(), num_views=12)
    main = azimuth % 90 == 0
    assert main.sum() == 20 and (elevation[main] == 0).all() and (elevation[~main] != 0).all()
    named = ring_angles(64, seeded(), trajectory="named")[1][:, [1, 2]]
    assert {tuple(pair) for pair in named.tolist()} == {(0.0, 0.0), (15.0, -15.0), (30.0, -15.0), (30.0, -30.0)}
    assert (ring_angles(2, seeded(), trajectory="flat")[1] == 0).all()


def test_same_seed_same_batch(pack):
    def draw(seed: int):
        generator = seeded(seed)
        ids = draw_objects(pack, 4, generator)
        rig = random_rigs(pack, ids, generator)
        camera = noisy_orbit_cameras(*ring_angles(4, generator, num_views=4), generator)
        materials, lighting = random_materials(pack, ids, generator), random_lighting(4, generator)
        return render_batch(pack, ids, rig, camera, size=16, materials=materials, lighting=lighting)

    first, again, other = draw(0), draw(0), draw(1)
    assert torch.equal(first.rgb, again.rgb) and torch.equal(first.shaded, again.shaded)
    assert not torch.equal(first.rgb, other.rgb)


def test_materials_repaint_the_surface_and_nothing_else(pack):
    ids = torch.tensor([0, 1, 2, 3])
    rig, camera = random_rigs(pack, ids, seeded()), orbit_cameras(*sparse_ring(4))
    plain = render_batch(pack, ids, rig, camera, size=24)
    chances = MaterialChances(new_texture=1.0, borrowed=0.0, recolour=0.0)
    painted = render_batch(pack, ids, rig, camera, size=24, materials=random_materials(pack, ids, seeded(1), chances))
    assert torch.equal(plain.alpha, painted.alpha) and torch.equal(plain.normal, painted.normal)
    assert all((plain.rgb[i] - painted.rgb[i]).abs().max() > 0.05 for i in range(4))
    none = MaterialChances(new_texture=0.0, recolour=0.0)
    same = render_batch(pack, ids, rig, camera, size=24, materials=random_materials(pack, ids, seeded(1), none))
    torch.testing.assert_close(same.rgb[:3], plain.rgb[:3], atol=1e-5, rtol=0)
    assert (same.rgb[3] - plain.rgb[3]).abs().max() > 0.02  # untextured objects always get a texture


def test_light_leaves_the_background_empty_and_stays_in_range(pack):
    rig, camera = random_rigs(pack, IDS, seeded()), orbit_cameras(*sparse_ring(len(IDS)))
    batch = render_batch(pack, IDS, rig, camera, size=24, lighting=random_lighting(len(IDS), seeded(8)))
    assert batch.shaded.min() >= 0 and batch.shaded.max() <= 1
    assert (batch.shaded * (batch.alpha == 0)).abs().max() == 0
    backgrounds = random_backgrounds(9, 24, seeded())
    assert backgrounds.shape == (9, 3, 24, 24) and 0 <= backgrounds.min() and backgrounds.max() <= 1


def test_cameras_without_a_view_axis_are_refused(pack):
    with pytest.raises(InputError, match="axes"):
        render_batch(pack, IDS, plain_rigs(pack, IDS), Camera.orbit([0.0, 90.0, 180.0, 270.0]))


@pytest.mark.parametrize("tilt_deg", [(0.0, 0.0), (15.0, 15.0)])
def test_broad_sides_face_the_camera(pack, tilt_deg):
    """A quarter turn about the object's own up axis: of a level object it swaps width and depth."""
    ids = torch.arange(64) % len(pack)
    ranges = {share: RigRanges(tilt_deg=tilt_deg, broad=share) for share in (0.0, 1e-9, 1.0)}
    never, hardly, always = (random_rigs(pack, ids, seeded(3), each) for each in ranges.values())
    plain, broad = (turned_boxes(pack, ids, rig.rotation) for rig in (hardly, always))
    side, turned = plain[1] - plain[0], broad[1] - broad[0]
    is_turned = (hardly.rotation - always.rotation).abs().amax((1, 2)) > 1e-3
    assert torch.equal(is_turned, side[:, 2] > side[:, 0]) and 0.2 < is_turned.float().mean() < 0.8
    up = torch.tensor([0.0, 1.0, 0.0])
    torch.testing.assert_close(hardly.rotation @ up, always.rotation @ up)
    torch.testing.assert_close(torch.linalg.det(always.rotation), torch.ones(64))
    if tilt_deg == (0.0, 0.0):
        torch.testing.assert_close(turned[is_turned], side[is_turned][:, [2, 1, 0]])
        assert (turned[:, 0] >= turned[:, 2] - 1e-5).all()
    assert torch.equal(never.rotation, random_rigs(pack, ids, seeded(3), RigRanges(tilt_deg=tilt_deg)).rotation)


def test_some_rigs_are_level_and_some_face_the_camera():
    rotation = random_rotations(400, seeded(), RigRanges(tilt_deg=(5.0, 25.0), level=0.5, facing=0.25))
    up, back = rotation[:, :, 1], rotation[:, 2]  # the object's up axis in the world; the camera's side of the object
    is_level = up[:, 1] > 1 - 1e-6
    side = torch.rad2deg(torch.atan2(back[:, 0], back[:, 2])) % 90
    is_facing = (side < 1e-2) | (side > 90 - 1e-2)
    assert abs(is_level.float().mean() - 0.5) < 0.08 and abs(is_facing.float().mean() - 0.25) < 0.08
    assert torch.allclose(rotation @ rotation.mT, torch.eye(3), atol=1e-5)
