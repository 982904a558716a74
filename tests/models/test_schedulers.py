import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import compute_snr

from infinitemesh.errors import InputError
from infinitemesh.models.schedulers import NoiseSchedule

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


def test_pure_noise_can_only_be_answered_with_v():
    with pytest.raises(InputError, match="zero_terminal_snr"):
        NoiseSchedule(zero_terminal_snr=True)
