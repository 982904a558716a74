import pytest
import torch

from infinitemesh.models.conditioning import (
    WONDER3D_RIG,
    Conditions,
    PoseProjection,
    camera_label,
    class_labels,
    join_guidance,
    pose4,
    ray_maps,
    relative_angles_deg,
    released_labels,
    split_guidance,
)
from infinitemesh.models.multiview_unet import MultiViewUNet
from infinitemesh.types import Camera

RELEASED = {  # azimuth: the fp16 constants of the six named views
    0: (0.0, 0.0),
    45: (-0.2362, 0.8125),
    90: (-0.1686, 1.6934),
    180: (0.5220, 3.1406),
    270: (0.6904, 4.8359),
    315: (0.3733, 5.5859),
}
INTERPOLATED = {  # elevation: (polar, azimuth) at azimuths 22.5, 30, 45, -45, -30, -22.5 from the reference
    0: "-.1481 .3859 -.1854 .5238 -.2362 .8124 .3733 5.5860 .2458 5.8151 .1819 5.9295",
    15: "-.3949 .2838 -.4370 .4369 -.4955 .7670 .1434 5.4606 .0183 5.6841 -.0457 5.7974",
    -15: ".1017 .4677 .0684 .5916 .0236 .8463 .6014 5.7182 .4735 5.9451 .4109 6.0568",
    30: "-.6343 .1339 -.6828 .3031 -.7530 .6914 -.0846 5.3280 -.2047 5.5374 -.2675 5.6448",
    -30: ".3525 .5431 .3230 .6528 .2838 .8762 .8231 5.8736 .6974 6.0887 .6373 6.1933",
}


def test_two_constants_give_the_six_published_labels():
    azimuth = torch.tensor([float(a) for a in RELEASED])
    labels = released_labels(azimuth, torch.zeros(6))
    assert torch.equal(labels, torch.tensor(list(RELEASED.values())).half().float())


@pytest.mark.parametrize("elevation", INTERPOLATED)
def test_labels_of_interpolated_views(elevation):
    azimuth = torch.tensor([22.5, 30, 45, -45, -30, -22.5])
    expected = torch.tensor([float(x) for x in INTERPOLATED[elevation].split()]).reshape(6, 2)
    labels = camera_label(azimuth, torch.full((6,), float(elevation)), WONDER3D_RIG)
    torch.testing.assert_close(labels, expected, atol=6e-5, rtol=0)


def test_without_a_tilt_labels_are_the_angles_themselves():
    azimuth, elevation = torch.tensor([0.0, 30, 180, 359]), torch.tensor([0.0, 20, -30, 10])
    expected = torch.deg2rad(torch.stack([-elevation, azimuth], dim=-1))
    torch.testing.assert_close(camera_label(azimuth, elevation), expected, atol=1e-6, rtol=0)


def test_class_labels_hold_sines_and_cosines_of_angles_and_flags():
    labels = class_labels(torch.tensor([[0.1, 0.2]]), "colour")[0]
    c = torch.tensor([0, 0.1, 0.2, 0, 1])
    torch.testing.assert_close(labels, torch.cat([c.sin(), c.cos()]))
    assert class_labels(torch.zeros(1, 2), "normal")[0, 3] == torch.tensor(1.0).sin()


@pytest.mark.parametrize("elevation", [0.0, 15.0, -30.0])
@pytest.mark.parametrize("first", [0, 90, 180, 270])
def test_poses_of_two_interpolated_views_of_every_pair(first, elevation):
    target = Camera.orbit([first + 30, first + 60], [elevation] * 2)
    first_then_second = Camera.orbit([first, (first + 90) % 360], 0.0)
    e = torch.deg2rad(torch.tensor(elevation)).item()
    expected = torch.tensor([[-e, -0.8660, 0.5, 0], [-e, 0.8660, 0.5, 0]])
    torch.testing.assert_close(pose4(target, first_then_second[[1, 0]]), expected, atol=1e-4, rtol=0)
    azimuth, seen_elevation = relative_angles_deg(target, first_then_second)
    torch.testing.assert_close(azimuth, torch.tensor([30.0, 330.0]), atol=1e-3, rtol=0)
    torch.testing.assert_close(seen_elevation, torch.full((2,), elevation), atol=1e-3, rtol=0)


def test_a_view_seen_from_itself_is_in_front():
    camera = Camera.orbit([10.0, 200.0], [35.0, -20.0])
    for angles in relative_angles_deg(camera, camera):
        torch.testing.assert_close(angles, torch.zeros(2), atol=1e-3, rtol=0)


def test_the_pose_projection_starts_as_the_identity():
    tokens, pose = torch.randn(3, 2, 8), torch.randn(3, 4)
    torch.testing.assert_close(PoseProjection(8)(tokens, pose), tokens, atol=1e-6, rtol=0)
    assert (PoseProjection(8, pose_starts_at_zero=False)(tokens, pose) - tokens).abs().max() > 1e-3
    assert PoseProjection(768).linear.weight.shape == (768, 772)


def test_ray_maps_have_one_direction_a_view_and_vanish_at_the_centre():
    maps = ray_maps(Camera.orbit([0.0, 90.0], 0.0), 3)
    torch.testing.assert_close(maps[0, :3, 1, 1], torch.tensor([0.0, 0, -1]), atol=1e-6, rtol=0)
    torch.testing.assert_close(maps[1, :3, 0, 2], torch.tensor([-1.0, 0, 0]), atol=1e-6, rtol=0)
    torch.testing.assert_close(maps[:, 3:, 1, 1], torch.zeros(2, 3), atol=1e-6, rtol=0)
    # the pixel right of the centre: origin (2/3, 0, .) in half extents, direction -z, so the moment points up
    torch.testing.assert_close(maps[0, 3:, 1, 2], torch.tensor([0.0, 2 / 3, 0]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("num_domains", [1, 2])
def test_guidance_branches_lie_within_each_domain_and_come_apart_again(num_domains):
    rows = torch.arange(float(6 * num_domains))  # 3 views, 2 objects, domain by domain
    both = join_guidance(-rows - 1, rows + 1, num_domains)
    normal, *colour = both.chunk(num_domains)
    assert (normal[:6] < 0).all() and (normal[6:] > 0).all() and normal.abs().max() == 6
    assert all(part.abs().min() == 7 for part in colour)
    without, conditioned = split_guidance(both, num_domains)
    assert torch.equal(without, -rows - 1) and torch.equal(conditioned, rows + 1)


@torch.no_grad()
@pytest.mark.parametrize("num_domains", [1, 2])
def test_both_branches_in_one_call_answer_as_each_would_alone(num_domains):
    """Two objects of two views. The naive order, branch by branch, would pair rows of different branches."""
    torch.manual_seed(0)
    unet = MultiViewUNet.preset("tiny", in_channels=8, out_channels=4, cross_domain=num_domains == 2).eval()
    for name, parameter in unet.named_parameters():
        if "joint_mid" in name:
            torch.nn.init.normal_(parameter)
    unet.double()  # so that processors that sum in other orders agree
    noisy, (rows, d) = torch.randn(4 * num_domains, 4, 8, 8).double(), (4 * num_domains, num_domains)
    given = torch.randn(rows, 4, 8, 8), torch.zeros(rows, 0, 8, 8), torch.randn(rows, 1, 16), torch.randn(rows, 10)
    conditions = Conditions(*(each.double() for each in given))

    def answer(noisy, c):
        return unet(c.inputs(noisy), torch.tensor(500), c.tokens, c.labels, num_views=2, num_domains=d).sample

    without, conditioned = split_guidance(answer(join_guidance(noisy, noisy, d), conditions.with_unconditional(d)), d)
    torch.testing.assert_close(without, answer(noisy, conditions.unconditional()), atol=1e-5, rtol=0)
    torch.testing.assert_close(conditioned, answer(noisy, conditions), atol=1e-5, rtol=0)
    naive = answer(noisy.repeat(2, 1, 1, 1), Conditions.cat([conditions.unconditional(), conditions]))[rows:]
    assert (num_domains == 1) == torch.allclose(naive, conditioned, atol=1e-3)


def test_the_unconditional_branch_keeps_cameras_only():
    known = Conditions(torch.ones(2, 4, 2, 2), torch.ones(2, 6, 2, 2), torch.ones(2, 1, 8), torch.ones(2, 10))
    bare = known.unconditional()
    assert not bare.appearance.any() and not bare.tokens.any() and bare.geometry.all() and bare.labels.all()
    both = known.with_unconditional(1)
    assert torch.equal(both.tokens[:, 0, 0], torch.tensor([0.0, 0, 1, 1])) and len(both.labels) == 4
    assert known.inputs(torch.zeros(2, 4, 2, 2))[0, :, 0, 0].tolist() == [0] * 4 + [1] * 10
