"""What the denoiser is told, the sampling loop, and the diffused stages on tiny real networks."""

from dataclasses import replace

import pytest
import torch

from infinitemesh.errors import CheckpointError, InputError
from infinitemesh.models.autoencoder import ImageAutoencoder
from infinitemesh.models.lrm import LargeReconstructionModel
from infinitemesh.models.multiview_unet import MultiViewUNet
from infinitemesh.models.schedulers import NoiseSchedule
from infinitemesh.stages.coarse import CoarseRenderer
from infinitemesh.stages.denoise import (
    Sampling,
    ViewChannels,
    ViewDiffusion,
    ViewQuery,
    encode_views,
    mean_picture,
    predict,
    sample_latents,
)
from infinitemesh.stages.main_views import DiffusedMainViews, world_normals
from infinitemesh.stages.seeds import derive_seed, noise_per_view
from infinitemesh.stages.view_interpolation import (
    CoarseInterpolation,
    DiffusedInterpolation,
    NearestView,
    ViewInterpolation,
)
from infinitemesh.stages.view_query import gap_query, main_query
from infinitemesh.types import MAIN_AZIMUTHS_DEG, Camera, ViewSet

SIZE = 64
V_PREDICTION = NoiseSchedule(prediction="v_prediction", zero_terminal_snr=True)


def tiny_diffusion(
    channels: ViewChannels | None = None, schedule: NoiseSchedule = V_PREDICTION, **unet
) -> ViewDiffusion:
    torch.manual_seed(0)
    channels = channels or ViewChannels()
    autoencoder = ImageAutoencoder.preset("tiny").eval()
    latents = autoencoder.latent_channels
    network = MultiViewUNet.preset("tiny", in_channels=channels.count(latents), out_channels=latents, **unet).eval()
    return ViewDiffusion(network, autoencoder, channels=channels, schedule=schedule)


def views(azimuth_deg: list[float], seed: int = 0) -> ViewSet:
    pictures = torch.rand(len(azimuth_deg), 4, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
    main = torch.ones(len(azimuth_deg), dtype=torch.bool)
    return ViewSet(pictures[:, :3], (pictures[:, 3:] > 0.3).float(), Camera.orbit(azimuth_deg), main)


def query(seed: int = 0, groups: int = 2, targets: int = 3) -> ViewQuery:
    random = torch.Generator().manual_seed(seed)
    camera = Camera.orbit(torch.rand(groups, targets, generator=random) * 360, 10.0)
    pictures = torch.rand(groups, 2, 4, SIZE, SIZE, generator=random)
    index = torch.randint(0, 2, (groups, targets), generator=random)
    return ViewQuery(
        camera,
        pictures,
        Camera.orbit(torch.tensor([[0.0, 90.0]] * groups)),
        index,
        1 - index,
        2,
        pictures[:, [0, 1, 0]],
    )


def test_channels_come_in_their_documented_order():
    diffusion = tiny_diffusion()
    asked = query()
    batch = encode_views(asked, diffusion.autoencoder, ViewChannels(coarse=True, condition_rays=False))
    encoded = [diffusion.autoencoder.encode(asked.pictures[:, k]) for k in (0, 1)]
    noisy = torch.randn(6, 8, 8, 8)
    inputs = batch.conditions.inputs(noisy)
    assert inputs.shape[1] == ViewChannels(coarse=True, condition_rays=False).count(8) == 44
    for group in range(2):
        for target in range(3):
            row, reference = inputs[group * 3 + target], int(asked.reference[group, target])
            torch.testing.assert_close(row[:8], noisy[group * 3 + target])
            torch.testing.assert_close(row[8:16], encoded[reference][group], atol=1e-4, rtol=0)
            torch.testing.assert_close(row[16:24], encoded[1 - reference][group], atol=1e-4, rtol=0)
            torch.testing.assert_close(row[24:32], encoded[target % 2][group], atol=1e-4, rtol=0)
            torch.testing.assert_close(row[32:35, 0, 0], -asked.camera.backward[group, target])
            torch.testing.assert_close(row[38:41, 0, 0], -asked.picture_camera.backward[group, reference])


def test_known_views_are_clean_rows_at_timestep_0_that_targets_see():
    diffusion = tiny_diffusion(ViewChannels(known_rows=True))
    told = encode_views(query(), diffusion.autoencoder, diffusion.channels, token_width=16)
    heard = {}

    def listen(module, args, kwargs):
        heard["rows"], heard["times"] = args[0], args[1]

    diffusion.unet.register_forward_pre_hook(listen, with_kwargs=True)
    answer = predict(diffusion.unet, told, torch.zeros(2, 3, 8, 8, 8), torch.tensor([700, 30]))
    assert answer.shape == (2, 3, 8, 8, 8)
    assert heard["times"].tolist() == [700, 700, 700, 0, 0, 30, 30, 30, 0, 0]
    torch.testing.assert_close(heard["rows"][3, :8], told.known[0, 0])
    other = replace(told, known=told.known + 1)
    assert not torch.equal(answer, predict(diffusion.unet, other, torch.zeros(2, 3, 8, 8, 8), torch.tensor([700, 30])))


def test_groups_do_not_see_each_other_and_views_of_a_group_do():
    diffusion = tiny_diffusion()
    told = encode_views(query(), diffusion.autoencoder, diffusion.channels, token_width=16)
    noisy, t = torch.randn(2, 3, 8, 8, 8), torch.tensor([500, 500])
    changed = noisy.clone()
    changed[0, 0] += 1
    one, other = (predict(diffusion.unet, told, x, t) for x in (noisy, changed))
    assert not torch.equal(one[0, 2], other[0, 2])
    torch.testing.assert_close(one[1], other[1])


def test_dropping_everything_is_the_unconditional_branch():
    diffusion = tiny_diffusion(ViewChannels(known_rows=True))
    told = encode_views(query(), diffusion.autoencoder, diffusion.channels, token_width=16)
    everyone = torch.ones(2)
    dropped, both = told.dropped(tokens=everyone, appearance=everyone), told.with_unconditional()
    half = len(told.conditions.labels)
    torch.testing.assert_close(both.conditions.appearance[:half], dropped.conditions.appearance)
    torch.testing.assert_close(both.known[:2], dropped.known)
    torch.testing.assert_close(both.known[2:], told.known)
    torch.testing.assert_close(both.conditions.geometry[:half], told.conditions.geometry)
    assert dropped.known.abs().sum() == 0 and dropped.conditions.geometry.abs().sum() > 0


SCHEDULES = [
    NoiseSchedule(prediction="epsilon"),
    NoiseSchedule(prediction="v_prediction"),
    V_PREDICTION,
    NoiseSchedule(prediction="flow_prediction"),
]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("sampler", ["ddim", "dpm++", "unipc"])
@pytest.mark.parametrize("start", [1.0, 0.5])
def test_a_perfect_denoiser_is_followed_to_the_picture(schedule: NoiseSchedule, sampler: str, start: float):
    if schedule.prediction == "flow_prediction" and sampler == "ddim":
        pytest.skip("DDIM does not sample straight paths")
    truth = torch.linspace(-1, 1, 2 * 3 * 4 * 2 * 2).reshape(2, 3, 4, 2, 2)

    def denoise(latents: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        signal, noise = (x[:, None, None, None, None] for x in schedule.levels(timestep))
        if schedule.prediction == "flow_prediction":
            return (latents - truth) / noise
        eps = (latents - signal * truth) / noise
        return eps if schedule.prediction == "epsilon" else signal * eps - noise * truth

    seeds = [[1, 2, 3], [4, 5, 6]]
    sampling = Sampling(sampler=sampler, steps=10, start=start)
    found = sample_latents(denoise, seeds, (4, 2, 2), schedule, sampling, start_from=truth)
    assert (found - truth).abs().mean() < 0.06


def test_noise_depends_on_the_seed_of_the_view_alone():
    def nothing(latents: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(latents)

    sampling = Sampling(sampler="ddim", steps=3, eta=1.0)
    one = sample_latents(nothing, [[1, 2], [3, 4]], (4, 2, 2), SCHEDULES[0], sampling)
    other = sample_latents(nothing, [[9, 3]], (4, 2, 2), SCHEDULES[0], sampling)
    torch.testing.assert_close(one[1, 0], other[0, 1])
    assert not torch.equal(one[0, 0], other[0, 0])


def test_sampling_from_a_coarse_render_begins_at_its_mixture_with_the_views_noise():
    seen = []

    def listen(latents: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        seen.append((latents, int(timestep[0])))
        return torch.zeros_like(latents)

    schedule, coarse = SCHEDULES[0], torch.randn(1, 2, 4, 2, 2)
    for sampler in ("ddim", "dpm++", "unipc"):
        seen.clear()
        sampling = Sampling(sampler=sampler, steps=10, start=0.3)
        sample_latents(listen, [[7, 8]], (4, 2, 2), schedule, sampling, start_from=coarse)
        assert len(seen) == 3 and seen[0][1] < 350
        noise = noise_per_view([derive_seed(seed, "start") for seed in (7, 8)], (4, 2, 2))
        expected = schedule.add_noise(coarse[0], noise, torch.tensor([seen[0][1]] * 2))
        torch.testing.assert_close(seen[0][0][0], expected)


def test_every_step_of_ddim_with_eta_has_its_own_noise():
    schedule, steps = SCHEDULES[0], 3
    sampling = Sampling(sampler="ddim", steps=steps, eta=1.0)
    found = sample_latents(lambda x, t: x * 0.1, [[5]], (4, 2, 2), schedule, sampling)
    scheduler = schedule.sampler("ddim")
    scheduler.set_timesteps(steps)
    latents = noise_per_view([derive_seed(5, "start")], (4, 2, 2))[None]
    for k, time in enumerate(scheduler.timesteps):
        noise = noise_per_view([derive_seed(5, "step", k)], (4, 2, 2))[None]
        latents = scheduler.step(latents * 0.1, time, latents, eta=1.0, variance_noise=noise).prev_sample
    torch.testing.assert_close(found, latents)


def test_guidance_0_does_not_look_at_the_pictures_and_more_guidance_looks_more():
    diffusion = tiny_diffusion()
    rings = [views(list(MAIN_AZIMUTHS_DEG), seed) for seed in (0, 1)]

    def made(guidance: float) -> list[torch.Tensor]:
        stage = DiffusedInterpolation(diffusion, sampling=Sampling(steps=1, guidance=guidance, sampler="ddim"))
        return [ring.rgb[~ring.is_main] for ring in (stage(ring, seed=1) for ring in rings)]

    torch.testing.assert_close(*made(0.0), atol=1e-5, rtol=0)
    differences = [float((one - other).abs().mean()) for one, other in (made(1.0), made(3.0))]
    assert 0 < differences[0] < differences[1]


@pytest.mark.parametrize("attend", ["gap", "ring"])
@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_a_batch_of_rings_gives_each_what_it_gets_alone(attend: str, guidance: float):
    stage = DiffusedInterpolation(tiny_diffusion(), sampling=Sampling(steps=2, guidance=guidance), attend=attend)
    rings = [views(list(MAIN_AZIMUTHS_DEG), seed) for seed in (0, 1, 2)]
    together = stage.batch(rings, seeds=[7, 8, 7])
    for ring, seed, made in zip(rings, [7, 8, 7], together, strict=True):
        alone = stage(ring, seed=seed)
        torch.testing.assert_close(alone.rgb, made.rgb, atol=1e-4, rtol=0)
        torch.testing.assert_close(alone.alpha, made.alpha, atol=1e-4, rtol=0)
    assert together[0].camera.azimuth_deg.round().tolist() == [30.0 * k for k in range(12)]
    assert not torch.allclose(stage(rings[0], seed=8).rgb, together[0].rgb, atol=1e-3)


def test_groups_in_several_calls_are_the_same_groups():
    diffusion = tiny_diffusion()
    ring = views(list(MAIN_AZIMUTHS_DEG))
    whole = DiffusedInterpolation(diffusion, sampling=Sampling(steps=2))(ring)
    diffusion.groups_at_once = 1
    torch.testing.assert_close(DiffusedInterpolation(diffusion, sampling=Sampling(steps=2))(ring).rgb, whole.rgb)


def test_free_poses_levels_and_other_picture_sizes_are_interpolated():
    diffusion = tiny_diffusion()
    ring = views(list(MAIN_AZIMUTHS_DEG))
    poses = [(20.0, 10.0), (40.0, 0.0), (200.0, -20.0)]
    free = DiffusedInterpolation(diffusion, trajectory=poses, sampling=Sampling(steps=1))(ring)
    assert len(free) == 7
    twice = DiffusedInterpolation(diffusion, num_between=1, levels=2, sampling=Sampling(steps=1))(ring)
    assert len(twice) == 16
    large = replace(ring, rgb=ring.rgb.repeat(1, 1, 2, 2), alpha=ring.alpha.repeat(1, 1, 2, 2))
    made = DiffusedInterpolation(diffusion, num_between=1, sampling=Sampling(steps=1))(large)
    assert made.size == 2 * SIZE
    torch.testing.assert_close(made[made.is_main].rgb, large.rgb)


class Echo(ViewDiffusion):
    """Returns what it is given as `part` of every target."""

    part = "reference"

    def sample(self, query: ViewQuery, seeds, sampling, *, domains=("colour",), on_step=None) -> torch.Tensor:
        assert len(seeds) == len(query.pictures) and all(len(row) == query.reference.shape[1] for row in seeds)
        assert len({seed for row in seeds for seed in row}) == query.reference.numel()  # every view its own
        if self.part == "coarse":
            return query.coarse[None]
        groups = torch.arange(len(query.pictures))[:, None]
        return query.pictures[groups, getattr(query, self.part)][None]


@pytest.mark.parametrize("attend", ["gap", "ring"])
@pytest.mark.parametrize("trajectory", ["flat", [(5.0, 0.0), (80.0, 9.0), (45.0, 0.0), (300.0, 1.0)]])
def test_every_target_gets_its_own_reference_condition_and_coarse_render(attend: str, trajectory: str | list):
    diffusion = tiny_diffusion()
    diffusion.__class__ = Echo
    torch.manual_seed(0)
    lrm = LargeReconstructionModel.preset("tiny").eval()
    coarse = CoarseRenderer(lrm, resolution=8)
    stage = DiffusedInterpolation(diffusion, coarse=coarse, attend=attend, trajectory=trajectory, num_between=3)
    rings = [views([270.0, 90.0, 0.0, 180.0], 1), views([10.0, 200.0], 2)]
    for part, expected in (
        ("reference", NearestView(trajectory=trajectory, num_between=3)),
        ("condition", FarView(trajectory=trajectory, num_between=3)),
        ("coarse", CoarseInterpolation(coarse, trajectory=trajectory, num_between=3)),
    ):
        diffusion.part = part
        for made, ring in zip(stage.batch(rings, seeds=[0, 1]), rings, strict=True):
            torch.testing.assert_close(made.rgb, expected(ring).rgb, atol=1e-4, rtol=0)


class FarView(ViewInterpolation):
    def synthesize(self, reference: ViewSet, condition: ViewSet, cameras: Camera, *, seed: int) -> ViewSet:
        return condition


def test_the_coarse_render_is_read_and_can_be_started_from():
    torch.manual_seed(1)
    lrm = LargeReconstructionModel.preset("tiny").eval()
    with torch.no_grad():
        lrm.decoders.net_sdf[-1].bias.fill_(-0.01)
    coarse = CoarseRenderer(lrm, resolution=12)
    ring = views(list(MAIN_AZIMUTHS_DEG))
    told = tiny_diffusion(ViewChannels(coarse=True))
    with pytest.raises(InputError, match="pass a CoarseRenderer"):
        DiffusedInterpolation(told, sampling=Sampling(steps=1))(ring)
    stage = DiffusedInterpolation(told, coarse=coarse, sampling=Sampling(steps=2))
    before = stage(ring)
    assert len(before) == 12
    with torch.no_grad():
        lrm.decoders.net_rgb[-1].bias.fill_(3.0)
    assert not torch.equal(stage(ring).rgb, before.rgb)

    late = Sampling(steps=4, start=0.25, sampler="ddim")
    with pytest.raises(InputError, match=r"start=0\.25 begins from a coarse render"):
        DiffusedInterpolation(tiny_diffusion(), sampling=late)(ring)
    assert len(DiffusedMainViews(tiny_diffusion(), coarse=coarse, sampling=late)(ring[:1])) == 4


@pytest.mark.parametrize("front_row", [False, True])
def test_main_views_are_made_together_and_repeat(front_row: bool):
    heard = []
    stage = DiffusedMainViews(tiny_diffusion(), sampling=Sampling(steps=2), front_row=front_row)
    fronts = [views([0.0], seed) for seed in (0, 1)]
    together = stage.batch(fronts, seeds=[3, 3], on_progress=lambda *said: heard.append(said))
    assert heard == [("main_views", k, 2) for k in (0, 1, 2)]
    for front, made in zip(fronts, together, strict=True):
        assert made.is_main.all() and len(made) == 4
        torch.testing.assert_close(made.rgb[0], front.rgb[0])
        torch.testing.assert_close(stage(front, seed=3).rgb, made.rgb, atol=1e-4, rtol=0)


def test_several_samples_are_averaged_and_reported_as_one_task():
    diffusion, asked, heard = tiny_diffusion(), query(), []
    seeds = [[1, 2, 3], [4, 5, 6]]
    one = diffusion.sample(asked, seeds, Sampling(steps=2))
    mean = diffusion.sample(asked, seeds, Sampling(steps=2, samples=3), on_step=lambda *said: heard.append(said))
    assert heard[0] == (0, 6) and heard[-1] == (6, 6) and heard == sorted(heard)
    assert not torch.allclose(mean, one, atol=1e-3)
    torch.testing.assert_close(diffusion.sample(asked, seeds, Sampling(steps=2, samples=3)), mean)


def test_a_mean_picture_mixes_colours_as_they_cover_and_has_a_firm_outline():
    red, blue = torch.tensor([1.0, 0, 0]), torch.tensor([0, 0, 1.0])
    alphas = torch.tensor([[1.0, 1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.5, 0.0, 0.5], [1.0, 0.0, 0.0, 0.0, 0.0]])
    pictures = [
        torch.cat([(red if k == 0 else blue)[:, None].expand(3, 5), alpha[None]])[None, :, None].expand(1, 4, 5, 5)
        for k, alpha in enumerate(alphas)
    ]
    mean = mean_picture(pictures)[0, :, 0]  # rows are alike
    torch.testing.assert_close(mean[:3, 0], (red + 2 * blue) / 3)
    torch.testing.assert_close(mean[:3, 2], (red + 0.5 * blue) / 1.5, atol=1e-3, rtol=0)
    assert mean[3, 0] == 1 and mean[3, 3] == 0 and mean[3, 4] == 0  # all agree; none does; a sixth is too little
    assert 0 < mean[3, 1] < 0.5 < mean[3, 2] < 1  # a third below the outline, a half above it
    assert mean_picture(pictures[:1]) is pictures[0]


def test_interpolation_carries_the_neighbours_colours_within_its_own_outline():
    ring, made = views([0.0, 90.0, 180.0, 270.0]), {}
    for share in (0.0, 0.6):
        made[share] = DiffusedInterpolation(tiny_diffusion(), sampling=Sampling(steps=1), carry=share)(ring, seed=1)
    new = ~made[0.0].is_main
    assert torch.equal(made[0.6].alpha, made[0.0].alpha) and torch.equal(made[0.6].rgb[~new], made[0.0].rgb[~new])
    assert not torch.equal(made[0.6].rgb[new], made[0.0].rgb[new])
    with pytest.raises(InputError, match="carry"):
        DiffusedInterpolation(tiny_diffusion(), carry=1.5)


def test_the_back_has_the_mirrored_outline_and_a_share_of_its_colours():
    front, made = views([0.0]), {}
    for share in (0.0, 0.25, 1.0):
        stage = DiffusedMainViews(tiny_diffusion(), sampling=Sampling(steps=1), mirror_share=share)
        made[share] = stage(front, seed=1)
    mirror, plain = front.rgb[0].flip(-1), made[0.0]
    alpha = front.alpha[0].flip(-1)
    for share, ring in made.items():
        torch.testing.assert_close(ring.rgb[[0, 1, 3]], plain.rgb[[0, 1, 3]])
        torch.testing.assert_close(ring.alpha[[0, 1, 3]], plain.alpha[[0, 1, 3]])
        if share:
            torch.testing.assert_close(ring.alpha[2], alpha)
            part = share * alpha / (share * alpha + (1 - share) * plain.alpha[2]).clamp(min=1e-4)
            mixed = torch.lerp(plain.rgb[2], mirror, part)
            seen = (alpha > 0).expand(3, -1, -1)
            torch.testing.assert_close(ring.rgb[2][seen], mixed[seen], atol=1e-4, rtol=0)
    with pytest.raises(InputError, match="mirror_share"):
        DiffusedMainViews(tiny_diffusion(), mirror_share=1.5)


def test_the_outline_of_the_back_alone_moves_towards_the_mirrored_one():
    front = views([0.0])
    plain, moved = (
        DiffusedMainViews(tiny_diffusion(), sampling=Sampling(steps=1), outline_share=share)(front, seed=1)
        for share in (0.0, 0.25)
    )
    mean = torch.lerp(plain.alpha[2], front.alpha[0].flip(-1), 0.25)
    expected = ((mean - 0.5) * 1.5 + 0.5).clamp(0, 1)  # half as steep again
    torch.testing.assert_close(moved.alpha[2], expected)
    torch.testing.assert_close(moved.alpha[[0, 1, 3]], plain.alpha[[0, 1, 3]])
    torch.testing.assert_close(moved.rgb, plain.rgb)
    with pytest.raises(InputError, match="outline_share"):
        DiffusedMainViews(tiny_diffusion(), outline_share=-0.5)


def test_the_back_takes_the_mirrored_pixels_where_its_own_colours_agree():
    front = views([0.0])
    made = {
        tolerance: DiffusedMainViews(tiny_diffusion(), sampling=Sampling(steps=1), mirror_tolerance=tolerance)(
            front, seed=1
        )
        for tolerance in (0.0, 1e-4, 0.3, 1e4)
    }
    plain, mirror, seen = made[0.0], front.rgb[0].flip(-1), (front.alpha[0].flip(-1) > 0).expand(3, -1, -1)
    for ring in made.values():
        torch.testing.assert_close(ring.rgb[[0, 1, 3]], plain.rgb[[0, 1, 3]])
        torch.testing.assert_close(ring.alpha, plain.alpha)
        torch.testing.assert_close(ring.rgb[2][~seen], plain.rgb[2][~seen])
    torch.testing.assert_close(made[1e-4].rgb, plain.rgb)  # these colours are a random network's
    torch.testing.assert_close(made[1e4].rgb[2][seen], mirror[seen], atol=1e-4, rtol=0)
    near, far = ((ring.rgb[2][seen] - mirror[seen]).abs().mean() for ring in (made[0.3], plain))
    assert near < far
    with pytest.raises(InputError, match="mirror_tolerance"):
        DiffusedMainViews(tiny_diffusion(), mirror_tolerance=-0.1)


def test_what_only_the_mirrored_front_covers_has_its_colour():
    at = torch.linspace(-1, 1, 64)
    radius = torch.hypot(at[:, None], at[None])
    wide, narrow = ((r - radius) * 32 + 0.5 for r in (0.6, 0.4))
    front, back = (
        replace(
            views([azimuth]), rgb=torch.full((1, 3, 64, 64), 0.7) * (alpha > 0), alpha=alpha.clamp(0, 1)[None, None]
        )
        for azimuth, alpha in ((0.0, wide), (180.0, narrow))
    )
    made = DiffusedMainViews(tiny_diffusion(), outline_share=0.5, mirror_tolerance=0.2)._towards_mirror(back, front)
    covered = made.alpha[0, 0] > 0
    assert covered[radius < 0.57].all() and not covered[radius > 0.65].any()
    torch.testing.assert_close(made.rgb[0][:, covered], torch.full((3, int(covered.sum())), 0.7), atol=1e-3, rtol=0)


def test_two_networks_give_the_picture_of_their_mean_field():
    torch.manual_seed(2)
    one, other = (LargeReconstructionModel.preset("tiny").eval() for _ in range(2))
    with torch.no_grad():
        one.decoders.net_sdf[-1].weight.zero_()
        other.decoders.net_sdf[-1].weight.zero_()
        one.decoders.net_sdf[-1].bias.fill_(-0.08)
        other.decoders.net_sdf[-1].bias.fill_(0.05)
    front, sides = views([0.0]), Camera.orbit([90.0, 270.0])
    alone = CoarseRenderer(one, resolution=8)(front, sides)
    same = CoarseRenderer(one, second=one, resolution=8)(front, sides)
    torch.testing.assert_close(same.rgb, alone.rgb)
    torch.testing.assert_close(same.alpha, alone.alpha)
    assert CoarseRenderer(other, resolution=8)(front, sides).alpha.max() == 0
    both = CoarseRenderer(one, second=other, resolution=8)(front, sides)
    torch.testing.assert_close(both.alpha, alone.alpha)  # -0.015: inside
    with torch.no_grad():
        one.decoders.net_sdf[-1].bias.fill_(-0.5)  # as much as -0.1: distances are taught up to there
        other.decoders.net_sdf[-1].bias.fill_(0.2)  # as much as 0.1, so that nobody says inside
    assert CoarseRenderer(one, second=other, resolution=8)(front, sides).alpha.max() == 0
    with pytest.raises(InputError, match="half_extent differs"):
        CoarseRenderer(one, second=LargeReconstructionModel.preset("tiny", half_extent=0.8))


def test_the_back_sees_the_mirrored_front():
    stage = DiffusedMainViews(tiny_diffusion(), sampling=Sampling(steps=1))
    front = views([0.0])
    asked = stage._query([front], [Camera.orbit([90.0, 180.0, 270.0])])
    assert asked.reference.tolist() == [[0, 1, 0]] and asked.num_known == 1
    torch.testing.assert_close(asked.pictures[0, 1, :3], front.rgb[0].flip(-1))
    plain = DiffusedMainViews(tiny_diffusion(), mirror_back=False)
    assert plain._query([front], [Camera.orbit([90.0, 180.0, 270.0])]).reference.tolist() == [[0, 0, 0]]
    torch.testing.assert_close(asked.picture_camera.azimuth_deg, torch.tensor([[0.0, 180.0]]), atol=1e-3, rtol=0)
    turned = main_query(
        torch.zeros(1, 4, 8, 8), Camera.orbit([100.0]), Camera.orbit(torch.tensor([[190.0, 280.0, 10.0]]))
    )
    assert turned.reference.tolist() == [[0, 1, 0]]


@pytest.mark.parametrize("num_between", [1, 2, 3])
def test_a_training_query_of_a_gap_is_the_stages_own(num_between: int):
    asked = {}

    class Ear(ViewDiffusion):
        def sample(self, query: ViewQuery, seeds, sampling, **options) -> torch.Tensor:
            asked["query"] = query
            return query.pictures[:, :1].expand(-1, query.reference.shape[1], 4, SIZE, SIZE)[None]

    diffusion = tiny_diffusion()
    diffusion.__class__ = Ear
    ring = views([10.0, 130.0, 250.0])
    made = DiffusedInterpolation(diffusion, num_between=num_between, trajectory="+15/-15")(ring)
    stages = asked["query"]
    pairs = torch.tensor([[0, 1], [1, 2], [2, 0]])
    targets = made[~made.is_main].camera
    grouped = Camera(
        targets.cam_from_world.unflatten(0, (3, num_between)), targets.intrinsics.unflatten(0, (3, num_between))
    )
    pictures = torch.cat([ring.rgb, ring.alpha], dim=1)[pairs]
    own = gap_query(pictures, ring.camera[pairs], grouped)
    groups = torch.arange(3)[:, None]
    for role in ("reference", "condition"):
        shown = [q.pictures[groups, getattr(q, role)] for q in (own, stages)]
        torch.testing.assert_close(shown[0], shown[1])


def test_normals_come_from_a_cross_domain_denoiser_in_the_world_frame():
    stage = DiffusedMainViews(tiny_diffusion(cross_domain=True), sampling=Sampling(steps=2, guidance=2.0), normals=True)
    main = stage(views([0.0]))
    assert main.normal is not None and main.normal[0].abs().sum() == 0
    torch.testing.assert_close(main.normal[1:].norm(dim=1), torch.ones(3, SIZE, SIZE), atol=1e-4, rtol=0)


def test_a_normal_towards_the_front_camera_is_its_direction_in_the_world():
    towards, upwards = torch.tensor([0.5, 0.5, 1.0]), torch.tensor([0.5, 1.0, 0.5])
    picture = torch.stack([towards, upwards])[:, :, None, None].expand(2, 3, 2, 2)
    for azimuth in (0.0, 90.0, 200.0):
        front = Camera.orbit([azimuth])
        normals = world_normals(picture, front)
        torch.testing.assert_close(normals[0, :, 0, 0], front.backward[0], atol=1e-6, rtol=0)
        torch.testing.assert_close(normals[1, :, 0, 0], torch.tensor([0.0, 1.0, 0.0]), atol=1e-6, rtol=0)


def test_a_denoiser_with_other_channels_is_refused():
    diffusion = tiny_diffusion()
    with pytest.raises(CheckpointError, match=r"42 input channels.*needs 50"):
        ViewDiffusion(diffusion.unet, diffusion.autoencoder, channels=ViewChannels(coarse=True))


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"samples": 0}, {"start": 0.0}, {"start": 1.5}, {"eta": 1.0}])
def test_impossible_sampling_is_refused(wrong: dict):
    with pytest.raises(InputError):
        Sampling(**wrong)
