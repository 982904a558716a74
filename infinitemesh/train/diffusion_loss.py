"""Eq. 2: how far the denoiser's answer is from what the noise schedule asks for, over a batch of view queries.

A sampler of one step asks once, at the last timestep, and its answer is seen as it is. `terminal` trains for this: a
share of the groups has pure noise, and `PictureLoss` looks at the pictures of some of their views.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int
from torch import Tensor, nn

from infinitemesh.models.schedulers import NUM_TIMESTEPS, NoiseSchedule
from infinitemesh.stages.denoise import ViewBatch, predict
from infinitemesh.train.autoencoder_loss import PerceptualDistance, over


@dataclass(frozen=True, kw_only=True)
class DiffusionLossOptions:
    """Wonder3D's values."""

    min_snr_gamma: float | None = 5.0  # None: every timestep counts the same
    dropout: float = 0.05  # of groups: this share loses its tokens, as many its pictures, as many both
    timesteps: Literal["uniform", "logit_normal"] = "uniform"  # the second prefers the middle, as is usual for flows
    terminal: float = 0.0  # share of the groups that have the last timestep, where sampling begins


@dataclass(frozen=True, kw_only=True)
class PictureLossWeights:
    """Of the decoded pictures of views at the last timestep, beside the latents' error, which has weight 1."""

    views: int = 0  # looked at in a step; 0 leaves the pictures out
    colour: float = 5.0  # squared error over white
    alpha: float = 2.0  # squared error
    perceptual: float = 1.0


class PictureLoss:
    """What views look like after one step, beside the decoded truth: what the autoencoder loses does not count."""

    def __init__(
        self,
        decode: Callable[[Float[Tensor, "n c h w"]], Float[Tensor, "n 4 s s"]],
        weights: PictureLossWeights,
        perceptual: PerceptualDistance | None,
    ):
        """`decode` is the autoencoder's, without a clamp that would stop gradients."""
        self.decode, self.weights, self.perceptual = decode, weights, perceptual

    def __call__(self, made: Float[Tensor, "n c h w"], clean: Float[Tensor, "n c h w"]) -> dict[str, Tensor]:
        """Of the first `weights.views` views."""
        views = self.weights.views
        with torch.no_grad():
            truth = self.decode(clean[:views]).float().clamp(0, 1)
        picture = self.decode(made[:views]).float()
        white = torch.ones_like(truth[:, :3, 0, 0])
        seen, wanted = over(picture, white), over(truth, white)
        terms = {
            "colour": (seen - wanted).square().mean(),
            "alpha": (picture[:, 3:] - truth[:, 3:]).square().mean(),
        }
        if self.perceptual is not None:
            terms["perceptual"] = self.perceptual(seen.clamp(0, 1), wanted).mean()
        terms["picture"] = torch.stack([getattr(self.weights, name) * term for name, term in terms.items()]).sum()
        return terms


def diffusion_loss(
    unet: nn.Module,
    schedule: NoiseSchedule,
    batch: ViewBatch,
    clean: Float[Tensor, "n v c h w"],
    generator: torch.Generator,
    options: DiffusionLossOptions = DiffusionLossOptions(),
    pictures: PictureLoss | None = None,
) -> dict[str, Tensor]:
    """Named terms; "loss" is what is minimised. All draws come from `generator`, on the latents' device.

    A group and domain has one timestep, its views each their own noise. The first groups are the terminal ones.
    """
    rows, terminal = len(clean), round(options.terminal * len(clean))
    timesteps = draw_timesteps(rows, generator, options)
    timesteps[:terminal] = NUM_TIMESTEPS - 1
    noise = torch.randn(clean.shape, generator=generator, device=clean.device)
    tokens, appearance = draw_dropout(rows // batch.num_domains, generator, options)
    flags = {"tokens": tokens, "appearance": appearance}
    batch = batch.dropped(**{name: repeat(flag, "b -> (d b)", d=batch.num_domains) for name, flag in flags.items()})
    each = repeat(timesteps, "n -> (n v)", v=clean.shape[1])
    flat_clean, flat_noise = (rearrange(x.float(), "n v c h w -> (n v) c h w") for x in (clean, noise))
    noisy = rearrange(schedule.add_noise(flat_clean, flat_noise, each), "(n v) c h w -> n v c h w", n=rows)
    answer = rearrange(predict(unet, batch, noisy.to(clean.dtype), timesteps), "n v c h w -> (n v) c h w").float()
    error = (answer - schedule.target(flat_clean, flat_noise, each)).square().mean((1, 2, 3))
    weight = 1.0 if options.min_snr_gamma is None else min_snr_weight(schedule, each, options.min_snr_gamma)
    loss, terms = (weight * error).mean(), {"error": error.detach().mean()}
    shown = terminal * clean.shape[1]
    if shown:
        terms["terminal"] = error[:shown].detach().mean()
    if pictures is not None and shown:
        at = slice(0, shown)
        answered = schedule.clean_from(answer[at], noisy.flatten(0, 1)[at].float(), each[at])
        terms |= pictures(answered, flat_clean[at])
        loss = loss + terms["picture"]
    return {"loss": loss, **terms}


def min_snr_weight(schedule: NoiseSchedule, timesteps: Int[Tensor, " n"], gamma: float) -> Float[Tensor, " n"]:
    """Min-SNR (Hang et al. 2023): nearly clean latents are easy and weigh less, noisy ones weigh 1.

    min(snr, gamma) / snr for epsilon. v and flow hold the clean latents as well, whose error stays finite where the
    signal ends: min(snr + 1, gamma) / (snr + 1), so that pure noise is trained too.
    """
    signal, noise = schedule.levels(timesteps)
    snr = (signal / noise.clamp(min=1e-6)).square()
    ratio = snr if schedule.prediction == "epsilon" else snr + 1
    return (gamma / ratio.clamp(min=1e-6)).clamp(max=1)


def draw_timesteps(count: int, generator: torch.Generator, options: DiffusionLossOptions) -> Int[Tensor, " n"]:
    device = generator.device
    if options.timesteps == "uniform":
        return torch.randint(NUM_TIMESTEPS, (count,), generator=generator, device=device)
    share = torch.sigmoid(torch.randn(count, generator=generator, device=device))
    return (share * NUM_TIMESTEPS).long().clamp(max=NUM_TIMESTEPS - 1)


def draw_dropout(
    groups: int, generator: torch.Generator, options: DiffusionLossOptions
) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
    """Flags (tokens, pictures), 1 where they are dropped. One draw a group: tokens only, both, or pictures only."""
    u, p = torch.rand(groups, generator=generator, device=generator.device), options.dropout
    return (u < 2 * p).float(), ((p <= u) & (u < 3 * p)).float()
