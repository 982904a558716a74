"""The ring walk, whoever fills the hole; and the fillings without diffusion."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange

from infinitemesh.errors import GenerationError, InputError
from infinitemesh.models.lrm import LargeReconstructionModel
from infinitemesh.stages.coarse import CoarseRenderer
from infinitemesh.stages.view_interpolation import (
    CoarseInterpolation,
    NearestView,
    NoInterpolation,
    ViewInterpolation,
    WarpInterpolation,
)
from infinitemesh.stages.warp import with_carried_colours
from infinitemesh.types import MAIN_AZIMUTHS_DEG, Camera, ViewSet

SEMI_AXES = torch.tensor([0.5, 0.6, 0.3])


def ellipsoid(azimuth_deg: list[float], elevation_deg: list[float] | float = 0.0, size: int = 48) -> ViewSet:
    """True views of an ellipsoid whose colour is a smooth function of the surface point."""
    camera = Camera.orbit(azimuth_deg, elevation_deg)
    origin, direction = camera.rays(size)
    o, d = origin / SEMI_AXES, direction / SEMI_AXES
    a, b, c = (d * d).sum(-1), (o * d).sum(-1), (o * o).sum(-1) - 1
    disc = b * b - a * c
    t = (-b - disc.clamp(min=0).sqrt()) / a
    point = (origin + t[..., None] * direction) / SEMI_AXES
    rgb = rearrange(0.5 + 0.4 * torch.sin(3 * point), "v h w c -> v c h w")
    alpha = (disc > 0).float()[:, None]
    return ViewSet(rgb * alpha, alpha, camera, torch.ones(len(azimuth_deg), dtype=torch.bool))


def psnr(views: ViewSet, truth: ViewSet) -> float:
    return float(-10 * F.mse_loss(views.composite(), truth.composite()).log10())


class Painted(ViewInterpolation):
    """Paints the azimuths of reference and condition and the seed, to see what the base hands over."""

    def synthesize(self, reference: ViewSet, condition: ViewSet, cameras: Camera, *, seed: int) -> ViewSet:
        rgb = torch.zeros_like(reference.rgb)
        rgb[:, 0] = reference.camera.azimuth_deg[:, None, None] / 360
        rgb[:, 1] = condition.camera.azimuth_deg[:, None, None] / 360
        rgb[:, 2] = (seed % 1000) / 1000
        return ViewSet(rgb, torch.ones_like(reference.alpha), cameras, reference.is_main)


def test_two_between_make_a_sorted_ring_of_twelve_with_the_neighbours_of_equation_3():
    main = ellipsoid([180.0, 0.0, 270.0, 90.0])  # any order
    ring = Painted(num_between=2, trajectory="+15/-15")(main)
    assert ring.camera.azimuth_deg.round().tolist() == [30.0 * k for k in range(12)]
    assert ring.camera.elevation_deg.round().tolist() == [0.0, 15.0, -15.0] * 4
    assert ring.is_main.tolist() == [True, False, False] * 4
    used = (ring.rgb[:, :2, 0, 0] * 360).round()
    assert used[1].tolist() == [0, 90] and used[2].tolist() == [90, 0]
    assert used[10].tolist() == [270, 0] and used[11].tolist() == [0, 270]
    torch.testing.assert_close(ring.rgb[0], main.rgb[1])  # main views come through untouched


def test_levels_apply_it_to_its_own_output():
    once = Painted(num_between=1)
    twice = Painted(num_between=1, levels=2)
    main = ellipsoid(list(MAIN_AZIMUTHS_DEG))
    expected = once(once(main))
    assert twice(main).camera.azimuth_deg.round(decimals=1).tolist() == [22.5 * k for k in range(16)]
    torch.testing.assert_close(twice(main).rgb[:, :2], expected.rgb[:, :2])


def test_a_batch_gives_each_object_what_it_gets_alone():
    stage = Painted(num_between=1, levels=2)
    rings = [ellipsoid([0.0, 90.0, 180.0, 270.0]), ellipsoid([10.0, 200.0])]
    together = stage.batch(rings, seeds=[3, 4])
    for ring, seed, made in zip(rings, [3, 4], together, strict=True):
        torch.testing.assert_close(stage(ring, seed=seed).rgb, made.rgb)
    assert together[0].rgb[1, 2, 0, 0] != stage(rings[0], seed=5).rgb[1, 2, 0, 0]


def test_no_interpolation_hands_the_views_on():
    main = ellipsoid(list(MAIN_AZIMUTHS_DEG))
    assert NoInterpolation()(main) is main


@pytest.mark.parametrize("trajectory", ["flat", "+15/-15"])
def test_a_warp_is_far_better_than_the_nearest_view(trajectory: str):
    main = ellipsoid(list(MAIN_AZIMUTHS_DEG))
    rings = {cls: cls(num_between=2, trajectory=trajectory)(main) for cls in (WarpInterpolation, NearestView)}
    new = ~rings[NearestView].is_main
    camera = rings[NearestView].camera[new]
    truth = ellipsoid(camera.azimuth_deg.tolist(), camera.elevation_deg.tolist())
    warped, nearest = (psnr(rings[cls][new], truth) for cls in (WarpInterpolation, NearestView))
    assert warped > nearest + 4
    if trajectory == "flat":
        assert warped > 24
        overlap = (rings[WarpInterpolation][new].alpha * truth.alpha).sum() / truth.alpha.sum()
        assert overlap > 0.97


@pytest.mark.parametrize("trajectory", ["flat", "+30/-30"])
def test_carried_colours_are_the_warp_s_where_the_neighbours_see_and_leave_the_outline(trajectory: str):
    main = ellipsoid(list(MAIN_AZIMUTHS_DEG))
    warp = WarpInterpolation(trajectory=trajectory)
    gaps = warp._gaps(main, 0)
    warped = warp.synthesize(gaps.reference, gaps.condition, gaps.cameras, seed=0)
    truth = ellipsoid(gaps.cameras.azimuth_deg.tolist(), gaps.cameras.elevation_deg.tolist())
    grey = replace(truth, rgb=torch.full_like(truth.rgb, 0.5))
    made = {share: with_carried_colours(grey, main, gaps.reference, gaps.condition, share) for share in (0.0, 0.5, 1.0)}
    for views in made.values():
        assert torch.equal(views.alpha, truth.alpha)
    assert torch.equal(made[0.0].rgb, grey.rgb)
    torch.testing.assert_close(made[0.5].rgb, (made[0.0].rgb + made[1.0].rgb) / 2)
    assert psnr(made[1.0], truth) > psnr(made[0.5], truth) > psnr(grey, truth) + 2
    unseen = (warped.alpha == 0).expand_as(grey.rgb)
    assert unseen.any() and torch.equal(made[1.0].rgb[unseen], grey.rgb[unseen])
    if trajectory == "flat":  # between level views nearly every pixel is trusted whole
        seen = (warped.alpha == 1).expand_as(grey.rgb)
        assert ((made[1.0].rgb - warped.rgb)[seen].abs() < 0.02).float().mean() > 0.8
    else:  # from above and below, the caps are the denoiser's
        taken = (made[1.0].rgb - grey.rgb).abs().sum(1) / (warped.rgb - grey.rgb).abs().sum(1).clamp(min=1e-3)
        assert (taken[(warped.alpha == 1)[:, 0]] < 0.7).any()


def test_coarse_views_come_from_the_reconstruction_of_the_whole_ring():
    torch.manual_seed(0)
    network = LargeReconstructionModel.preset("tiny").eval()
    with torch.no_grad():
        network.decoders.net_sdf[-1].bias.fill_(-0.01)  # a random field with something inside
    coarse = CoarseRenderer(network, resolution=16)
    stage = CoarseInterpolation(coarse, num_between=1)
    rings = [
        ellipsoid(azimuths, size=32) for azimuths in ([0.0, 90.0, 180.0, 270.0], [0.0, 80.0], [5.0, 80.0, 170.0, 260.0])
    ]
    made = stage(rings[0])
    new = ~made.is_main
    torch.testing.assert_close(made[new].rgb, coarse(rings[0], made[new].camera).rgb)
    assert made[new].alpha.mean() > 0.05
    for alone, together in zip([stage(ring) for ring in rings], stage.batch(rings, seeds=[0, 0, 0]), strict=True):
        torch.testing.assert_close(alone.rgb, together.rgb, atol=1e-4, rtol=0)
        torch.testing.assert_close(alone.alpha, together.alpha, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"trajectory": "upwards"}, "unknown trajectory"),
        ({"num_between": 0}, "at least 1"),
        ({"trajectory": [(10.0, 0.0)], "levels": 2}, "levels=2"),
    ],
)
def test_impossible_settings_are_refused_at_once(settings: dict, says: str):
    with pytest.raises(InputError, match=says):
        NearestView(**settings)


def test_one_view_is_no_ring():
    with pytest.raises(InputError, match="at least 2 views"):
        NearestView()(ellipsoid([0.0]))


def test_a_filling_that_makes_too_few_views_is_named():
    class Forgetful(ViewInterpolation):
        def synthesize(self, reference: ViewSet, condition: ViewSet, cameras: Camera, *, seed: int) -> ViewSet:
            return reference[:1]

    with pytest.raises(GenerationError, match="made 1 views of 48 px; asked were 8"):
        Forgetful()(ellipsoid(list(MAIN_AZIMUTHS_DEG)))


def test_progress_counts_every_object_and_can_cancel():
    heard = []

    def listen(stage: str, step: int, total: int) -> None:
        heard.append((stage, step, total))

    main = ellipsoid(list(MAIN_AZIMUTHS_DEG))
    NearestView().batch([main, main], seeds=[0, 1], on_progress=listen)
    assert heard == [("view_interpolation", k, 2) for k in (0, 1, 2)]

    def stop(stage: str, step: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        NearestView()(main, on_progress=stop)
