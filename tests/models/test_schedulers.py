import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from diffusers.training_utils import compute_snr

from infinitemesh.errors import InputError
from infinitemesh.models.conditioning import Conditions
from infinitemesh.models.multiview_unet import MultiViewUNet
from infinitemesh.models.schedulers import NoiseSchedule, sample_latents

STABLE_DIFFUSION = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SCHEDULES = [
    NoiseSchedule(),
    NoiseSchedule(prediction="v_prediction"),
    NoiseSchedule(prediction="v_prediction", zero_terminal_snr=True),
    NoiseSchedule(prediction="flow_prediction"),
    NoiseSchedule(prediction="flow_prediction", flow_shift=2.0),
]


def latents(rows=4, seed=0):
    return torch.randn(rows, 4, 8, 8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("zero_snr", [False, True])
def test_noise_and_velocity_equal_diffusers(zero_snr):
    ours = NoiseSchedule(prediction="v_prediction", zero_terminal_snr=zero_snr)
    theirs = DDPMScheduler(**STABLE_DIFFUSION, rescale_betas_zero_snr=zero_snr, prediction_type="v_prediction")
    clean, noise, t = latents(), latents(seed=1), torch.tensor([0, 300, 700, 998])
    torch.testing.assert_close(ours.add_noise(clean, noise, t), theirs.add_noise(clean, noise, t), atol=1e-5, rtol=0)
    torch.testing.assert_close(ours.target(clean, noise, t), theirs.get_velocity(clean, noise, t), atol=1e-5, rtol=0)
    signal, noisiness = ours.levels(t)
    torch.testing.assert_close((signal / noisiness) ** 2, compute_snr(theirs, t), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_right_answer_gives_the_clean_latents_back(schedule):
    clean, noise, t = latents(), latents(seed=1), torch.tensor([1, 300, 700, 950])
    noisy = schedule.add_noise(clean, noise, t)
    answer = schedule.target(clean, noise, t)
    torch.testing.assert_close(schedule.clean_from(answer, noisy, t), clean, atol=1e-4, rtol=0)


@pytest.mark.parametrize("sampler", ["ddim", "dpm++", "unipc"])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_samplers_reach_a_known_distribution(schedule, sampler):
    """The network knows that the data is N(1, 0.5^2); Stable Diffusion's schedule ends a little off centre."""
    if schedule.prediction == "flow_prediction" and sampler == "ddim":
        with pytest.raises(InputError, match="unipc"):
            schedule.sampler(sampler)
        return
    scheduler = schedule.sampler(sampler)
    scheduler.set_timesteps(40)
    x = torch.randn(4000, 1, 1, 1, generator=torch.Generator().manual_seed(0)) * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        rows = t.expand(len(x)).long()
        signal, noisiness = (level[:, None, None, None] for level in schedule.levels(rows))
        clean = 1 + signal * 0.25 / (signal**2 * 0.25 + noisiness**2) * (x - signal)
        noise = (x - signal * clean) / noisiness
        x = scheduler.step(schedule.target(clean, noise, rows), t, x, return_dict=False)[0]
    assert abs(x.mean() - 1) < 0.06 and abs(x.std() - 0.5) < 0.05


def setting(rows=4, seed=0, **changes):
    torch.manual_seed(0)
    unet = MultiViewUNet.preset("tiny", in_channels=8, out_channels=4, **changes).eval()
    g = torch.Generator().manual_seed(seed)
    conditions = Conditions(
        torch.randn(rows, 4, 8, 8, generator=g),
        torch.zeros(rows, 0, 8, 8),
        torch.randn(rows, 1, 16, generator=g),
        torch.randn(rows, 10, generator=g),
    )
    return unet, conditions


@torch.no_grad()
@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("num_domains", [1, 2])
def test_sampling_is_ddim_of_the_guided_network(guidance, num_domains):
    """Against a loop written out with one network call a branch, on diffusers' own DDIM scheduler."""
    unet, conditions = setting(8, cross_domain=num_domains == 2)
    torch.nn.init.normal_(unet.down_blocks[1].attentions[0].transformer_blocks[0].attn1.to_out[0].weight)
    noise = latents(8)
    ours = sample_latents(
        unet,
        NoiseSchedule(),
        conditions,
        noise,
        num_views=2,
        num_domains=num_domains,
        steps=5,
        guidance=guidance,
        sampler="ddim",
    )
    ddim = DDIMScheduler(**STABLE_DIFFUSION, clip_sample=False, set_alpha_to_one=False, steps_offset=1)
    ddim.set_timesteps(5)
    x = noise
    for t in ddim.timesteps:
        answers = [
            unet(c.inputs(x), t, c.tokens, c.labels, num_views=2, num_domains=num_domains).sample
            for c in (conditions.unconditional(), conditions)
        ]
        x = ddim.step(answers[0] + guidance * (answers[1] - answers[0]), t, x).prev_sample
    torch.testing.assert_close(ours, x, atol=1e-3, rtol=1e-3)


def test_a_batch_of_objects_gives_each_what_it_gets_alone():
    unet, conditions = setting(8)
    options = {"num_views": 4, "steps": 4, "guidance": 2.0}
    together = sample_latents(unet, NoiseSchedule(), conditions, latents(8), **options)
    second = Conditions(
        conditions.appearance[4:], conditions.geometry[4:], conditions.tokens[4:], conditions.labels[4:]
    )
    alone = sample_latents(unet, NoiseSchedule(), second, latents(8)[4:], **options)
    torch.testing.assert_close(together[4:], alone, atol=1e-4, rtol=0)


def test_known_views_stay_and_the_others_look_at_them():
    unet, conditions = setting()
    known = torch.tensor([True, False, False, False])
    results = []
    for seed in (5, 6):
        clean = (latents(seed=seed), known)
        results.append(sample_latents(unet, NoiseSchedule(), conditions, latents(), num_views=4, steps=3, clean=clean))
        assert torch.equal(results[-1][0], clean[0][0])
    assert (results[0][1:] - results[1][1:]).abs().max() > 1e-3


def test_steps_are_reported_and_fresh_noise_is_the_callers():
    unet, conditions = setting()
    seen = []
    options = {"num_views": 4, "steps": 3, "sampler": "ddim", "on_step": lambda step, total: seen.append((step, total))}
    runs = [
        sample_latents(
            unet, NoiseSchedule(), conditions, latents(), eta=1.0, step_noise=lambda k: latents(seed=k + 7), **options
        )
        for _ in range(2)
    ]
    assert torch.equal(*runs) and seen[:3] == [(1, 3), (2, 3), (3, 3)]
    assert not torch.equal(runs[0], sample_latents(unet, NoiseSchedule(), conditions, latents(), **options))
    with pytest.raises(InputError, match="eta"):
        sample_latents(unet, NoiseSchedule(), conditions, latents(), num_views=4, eta=1.0)
    with pytest.raises(InputError, match="zero_terminal_snr"):
        NoiseSchedule(zero_terminal_snr=True)
