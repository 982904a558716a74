from dataclasses import replace

import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import compute_snr

from infinitemesh.models.conditioning import Conditions
from infinitemesh.models.multiview_unet import MultiViewUNet
from infinitemesh.models.schedulers import NoiseSchedule
from infinitemesh.stages.denoise import ViewBatch
from infinitemesh.train.diffusion_loss import (
    DiffusionLossOptions,
    PictureLoss,
    PictureLossWeights,
    diffusion_loss,
    draw_dropout,
    draw_timesteps,
    min_snr_weight,
)

SCHEDULES = [
    NoiseSchedule(),
    NoiseSchedule(prediction="v_prediction", zero_terminal_snr=True),
    NoiseSchedule(prediction="flow_prediction"),
]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def example(groups=3, views=2, num_domains=1):
    rows, g = num_domains * groups * views, generator(7)
    conditions = Conditions(
        torch.randn(rows, 4, 8, 8, generator=g),
        torch.zeros(rows, 0, 8, 8),
        torch.randn(rows, 1, 16, generator=g),
        torch.randn(rows, 10, generator=g),
    )
    n = num_domains * groups
    clean = torch.randn(n, views, 4, 8, 8, generator=g)
    known = torch.zeros(n, 0, 4, 8, 8)
    return ViewBatch(conditions=conditions, known=known, coarse=None, num_targets=views, num_domains=num_domains), clean


class Knowing(torch.nn.Module):
    """Answers rightly: it knows the clean latents, and works the noise out of what it is shown."""

    def __init__(self, schedule, clean, off=0.0):
        super().__init__()
        self.schedule, self.clean, self.off = schedule, clean.flatten(0, 1), off

    def forward(self, sample, timestep, tokens, labels, *, num_views, num_domains, return_dict):
        signal, level = (x[:, None, None, None] for x in self.schedule.levels(timestep))
        noise = (sample[:, :4] - signal * self.clean) / level
        return (self.schedule.target(self.clean, noise, timestep) + self.off,)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_right_answer_costs_nothing_and_a_constant_error_its_square(schedule):
    batch, clean = example()
    options = DiffusionLossOptions(min_snr_gamma=None)
    right = diffusion_loss(Knowing(schedule, clean), schedule, batch, clean, generator(), options)
    assert right["loss"] < 1e-6
    wrong = diffusion_loss(Knowing(schedule, clean, 0.1), schedule, batch, clean, generator(), options)
    torch.testing.assert_close(wrong["loss"], torch.tensor(0.01), atol=1e-4, rtol=0)


def test_min_snr_is_the_published_weight():
    t = torch.tensor([0, 100, 400, 999])
    snr = compute_snr(DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"), t)
    expected = torch.minimum(snr, torch.tensor(5.0)) / snr
    torch.testing.assert_close(min_snr_weight(NoiseSchedule(), t, 5.0), expected, rtol=1e-3, atol=1e-6)
    for schedule in SCHEDULES[1:]:
        weight = min_snr_weight(schedule, t, 5.0)
        assert weight[-1] == 1 and (weight.diff() >= 0).all() and weight[0] < 0.1


def test_dropout_has_three_equal_shares_of_which_one_is_both():
    tokens, pictures = draw_dropout(200_000, generator(), DiffusionLossOptions())
    shares = [(tokens * (1 - pictures)).mean(), (tokens * pictures).mean(), ((1 - tokens) * pictures).mean()]
    torch.testing.assert_close(torch.stack(shares), torch.full((3,), 0.05), atol=2e-3, rtol=0)


def test_timesteps_cover_the_schedule():
    for kind, middle in (("uniform", 0.5), ("logit_normal", 0.7)):
        t = draw_timesteps(20_000, generator(), DiffusionLossOptions(timesteps=kind))
        assert t.min() >= 0 and t.max() <= 999
        assert ((t > 250) & (t < 750)).float().mean() == pytest.approx(middle, abs=0.06)


class Recording(torch.nn.Module):
    def forward(self, sample, timestep, tokens, labels, **layout):
        self.seen = {"sample": sample, "timestep": timestep, "tokens": tokens, **layout}
        return (sample[:, :4],)


def test_what_is_dropped_is_dropped_for_all_views_and_domains_of_a_group():
    batch, clean = example(groups=40, num_domains=2)
    network = Recording()
    diffusion_loss(network, NoiseSchedule(), batch, clean, generator(), DiffusionLossOptions(dropout=0.25))
    for part in (network.seen["tokens"], network.seen["sample"][:, 4:]):
        gone = (part.flatten(1).abs().amax(1) == 0).reshape(2, 40, 2)  # domain, group, view
        assert torch.equal(gone, gone[:1, :, :1].expand_as(gone)) and 10 <= gone[0, :, 0].sum() <= 30
    times = network.seen["timestep"].reshape(2, 40, 2)
    assert torch.equal(times[..., 0], times[..., 1]) and not torch.equal(times[0], times[1])
    assert network.seen["num_views"] == 2 and network.seen["num_domains"] == 2


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_tiny_denoiser_learns_and_the_draws_are_the_generators(schedule):
    torch.manual_seed(0)
    batch, clean = example()
    unet = MultiViewUNet.preset("tiny", in_channels=8, out_channels=4)
    first = diffusion_loss(unet, schedule, batch, clean, generator(1))["loss"]
    torch.testing.assert_close(
        diffusion_loss(unet, schedule, batch, clean, generator(1))["loss"], first, atol=0, rtol=0
    )
    optimiser = torch.optim.Adam(unet.parameters(), 5e-3)
    for _ in range(15):
        loss = diffusion_loss(unet, schedule, batch, clean, generator(1))["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert diffusion_loss(unet, schedule, batch, clean, generator(1))["loss"] < 0.9 * first


def test_known_views_enter_and_are_not_judged():
    batch, clean = example(groups=2, views=2)
    three = Conditions(
        *(torch.cat([getattr(batch.conditions, f)] * 2)[:6] for f in ("appearance", "geometry", "tokens", "labels"))
    )
    known = torch.randn(2, 1, 4, 8, 8, generator=generator(3))
    network = Recording()
    options = DiffusionLossOptions(dropout=0.0)
    diffusion_loss(network, NoiseSchedule(), replace(batch, conditions=three, known=known), clean, generator(), options)
    torch.testing.assert_close(network.seen["sample"][2::3, :4], known[:, 0])
    assert network.seen["timestep"][2::3].tolist() == [0, 0] and network.seen["num_views"] == 3


def test_terminal_groups_come_first_and_see_pure_noise():
    batch, clean = example(groups=10)
    schedule = NoiseSchedule(prediction="v_prediction", zero_terminal_snr=True)
    network, options = Recording(), DiffusionLossOptions(dropout=0.0, terminal=0.6, min_snr_gamma=None)
    terms = diffusion_loss(network, schedule, batch, clean, generator(), options)
    times = network.seen["timestep"].reshape(10, 2)
    assert (times[:6] == 999).all() and (times[6:] < 999).any()
    noise = network.seen["sample"][:12, :4]  # and this network answers it back, where minus the truth is asked for
    torch.testing.assert_close(terms["terminal"], (noise + clean.flatten(0, 1)[:12]).square().mean())
    other, _ = example(groups=10)
    diffusion_loss(network, schedule, other, clean + 1, generator(), options)
    torch.testing.assert_close(network.seen["sample"][:12, :4], noise)  # nothing of the truth shows


def paint(latents):
    """A decoder by hand: a grey of the first channel, alpha of the second."""
    return torch.cat([latents[:, :1].expand(-1, 3, -1, -1), latents[:, 1:2]], dim=1).sigmoid()


def test_pictures_after_one_step_are_compared_with_the_decoded_truth():
    batch, clean = example(groups=4)
    schedule = NoiseSchedule(prediction="v_prediction", zero_terminal_snr=True)
    weights = PictureLossWeights(views=3, colour=5.0, alpha=2.0, perceptual=0.5)
    pictures = PictureLoss(paint, weights, lambda a, b: (a - b).abs().mean((1, 2, 3)))
    options = DiffusionLossOptions(dropout=0.0, terminal=0.5)
    right = diffusion_loss(Knowing(schedule, clean), schedule, batch, clean, generator(), options, pictures)
    assert right["picture"] < 1e-6 and right["loss"] < 1e-6
    wrong = diffusion_loss(Knowing(schedule, clean, -0.3), schedule, batch, clean, generator(), options, pictures)
    truth, made = paint(clean.flatten(0, 1)[:3]), paint(clean.flatten(0, 1)[:3] + 0.3)  # v is -clean at the end
    over = [x[:, :3] * x[:, 3:] + 1 - x[:, 3:] for x in (truth, made)]
    expected = 5 * (over[0] - over[1]).square().mean() + 2 * (truth - made)[:, 3:].square().mean()
    expected = expected + 0.5 * (over[0] - over[1]).abs().mean()
    torch.testing.assert_close(wrong["picture"], expected, rtol=1e-3, atol=1e-6)
    plain = diffusion_loss(Knowing(schedule, clean, -0.3), schedule, batch, clean, generator(), options)
    torch.testing.assert_close(wrong["loss"], plain["loss"] + expected, rtol=1e-3, atol=1e-6)


def test_without_terminal_groups_no_pictures_are_looked_at():
    batch, clean = example()

    def decode(latents):
        raise AssertionError("nothing is to be decoded")

    pictures = PictureLoss(decode, PictureLossWeights(views=3), None)
    assert "picture" not in diffusion_loss(
        Knowing(SCHEDULES[1], clean), SCHEDULES[1], batch, clean, generator(), pictures=pictures
    )
