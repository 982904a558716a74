"""Views from noise: the sampling loop, and the parts that together make views (Eq. 1 and 2)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DDIMScheduler
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from infinitemesh import steps
from infinitemesh.errors import CheckpointError, InputError
from infinitemesh.models.autoencoder import ImageAutoencoder, PaperAutoencoder
from infinitemesh.models.conditioning import Domain, join_guidance, split_guidance
from infinitemesh.models.image_encoder import ClipImageEncoder, ImageEncoder
from infinitemesh.models.multiview_unet import MultiViewUNet
from infinitemesh.models.schedulers import NoiseSchedule, Sampler
from infinitemesh.stages.seeds import derive_seed, noise_per_view
from infinitemesh.stages.view_query import ViewBatch, ViewChannels, ViewQuery, encode_views, predict

__all__ = [
    "Sampling",
    "ViewBatch",
    "ViewChannels",
    "ViewDiffusion",
    "ViewQuery",
    "encode_views",
    "predict",
    "sample_latents",
]

PIXELS_PER_LATENT = 8
OUTLINE, FIRMNESS = 0.4, 4.0  # of mean pictures: the mean alpha at the outline, and the slope across it


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How latents are sampled."""

    sampler: Sampler = "unipc"
    steps: int = 12
    guidance: float = 1.0  # 1 is none, and half the work
    eta: float = 0.0  # DDIM's noise in every step; Wonder3D samples with 1
    start: float = 1.0  # share of the noise to begin with; below 1 from the noised coarse render
    samples: int = 1  # pictures are the mean of so many samples: fewer whims of one, less detail

    def __post_init__(self):
        if self.steps < 1 or self.samples < 1:
            raise InputError(f"sampling needs at least 1 step and sample, got {self.steps} and {self.samples}")
        if not 0 < self.start <= 1:
            raise InputError(f"sampling starts from a share of noise in (0, 1], got {self.start}")
        if self.eta and self.sampler != "ddim":
            raise InputError(f"eta is DDIM's: {self.sampler} takes none; set eta=0 or sampler='ddim'")


def sample_latents(
    denoise: Callable[[Float[Tensor, "n v c h w"], Int[Tensor, " n"]], Float[Tensor, "n v c h w"]],
    seeds: Sequence[Sequence[int]],
    shape: Sequence[int],
    schedule: NoiseSchedule,
    sampling: Sampling,
    *,
    start_from: Float[Tensor, "n v c h w"] | None = None,
    device: torch.device | str = "cpu",
    on_step: Callable[[int, int], None] = lambda step, total: None,
) -> Float[Tensor, "n v c h w"]:
    """`denoise(latents, timestep)` predicts what the schedule says. One seed a view; steps are taken in float32."""
    flat_seeds = [seed for group in seeds for seed in group]

    def noise(*path: str | int) -> Float[Tensor, "n v c h w"]:
        drawn = noise_per_view([derive_seed(seed, *path) for seed in flat_seeds], shape)
        return rearrange(drawn, "(n v) c h w -> n v c h w", n=len(seeds)).to(device)

    scheduler = schedule.sampler(sampling.sampler)
    scheduler.set_timesteps(sampling.steps, device=device)
    first = min(round(sampling.steps * (1 - sampling.start)), sampling.steps - 1)
    times = scheduler.timesteps[first:]
    latents = noise("start")
    if sampling.start < 1:
        if start_from is None:
            raise InputError(f"start={sampling.start} begins from a coarse render: pass a CoarseRenderer to the stage")
        latents = _mixed(schedule, start_from.float(), latents, times[0])
        _begin_at(scheduler, first)
    for step, time in enumerate(times):
        on_step(step, len(times))
        prediction = denoise(latents, time.long().expand(len(seeds))).float()
        more = {}
        if isinstance(scheduler, DDIMScheduler) and sampling.eta:
            more = {"eta": sampling.eta, "variance_noise": noise("step", first + step)}
        latents = scheduler.step(prediction, time, latents, return_dict=False, **more)[0]
    on_step(len(times), len(times))
    return latents


class ViewDiffusion(nn.Module):
    """The parts that together make views, with the channels and the noise that the denoiser was trained with."""

    def __init__(
        self,
        unet: MultiViewUNet,
        autoencoder: ImageAutoencoder | PaperAutoencoder,
        image_encoder: ImageEncoder | ClipImageEncoder | None = None,
        *,
        channels: ViewChannels | None = None,
        schedule: NoiseSchedule | None = None,
        groups_at_once: int = 16,
    ):
        """`groups_at_once` bounds memory: more groups are sampled in several calls."""
        super().__init__()
        self.unet, self.autoencoder, self.image_encoder = unet, autoencoder, image_encoder
        self.channels, self.schedule = channels or ViewChannels(), schedule or NoiseSchedule()
        self.groups_at_once = groups_at_once
        needed = self.channels.count(autoencoder.latent_channels)
        if unet.config["in_channels"] != needed:
            raise CheckpointError(
                f"the denoiser has {unet.config['in_channels']} input channels, {self.channels} needs {needed}: "
                "give the ViewChannels that it was trained with"
            )

    @property
    def size(self) -> int:
        """Pixels a side of the pictures that it was trained for."""
        return PIXELS_PER_LATENT * int(self.unet.config["sample_size"])

    @steps.step("denoise")
    @torch.no_grad()
    def sample(
        self,
        query: ViewQuery,
        seeds: Sequence[Sequence[int]],
        sampling: Sampling,
        *,
        domains: Sequence[Domain] = ("colour",),
        on_step: Callable[[int, int], None] = lambda step, total: None,
    ) -> Float[Tensor, "d b v 4 s s"]:
        """Pictures of every target and domain in [0, 1], on the query's device.

        One seed a view; the domains of a view have their own noise.
        """
        chunks = range(0, len(seeds), self.groups_at_once)
        made = []
        for number, begin in enumerate(chunks):
            rows = slice(begin, begin + self.groups_at_once)

            def step_of_all(step: int, total: int, number: int = number) -> None:
                on_step(number * total + step, len(chunks) * total)

            made.append(self._sample(_part(query, rows), seeds[rows], sampling, domains, step_of_all))
        return torch.cat(made, dim=1)

    def _sample(
        self,
        query: ViewQuery,
        seeds: Sequence[Sequence[int]],
        sampling: Sampling,
        domains: Sequence[Domain],
        on_step: Callable[[int, int], None],
    ) -> Float[Tensor, "d b v 4 s s"]:
        dtype, device, d = self.unet.dtype, self.unet.device, len(domains)
        batch = encode_views(
            _moved(query, device),
            self.autoencoder,
            self.channels,
            image_encoder=self.image_encoder,
            token_width=int(self.unet.config["cross_attention_dim"]),
            domains=domains,
            dtype=dtype,
        )
        guided = batch if sampling.guidance == 1 else batch.with_unconditional()

        def denoise(latents: Tensor, timestep: Tensor) -> Tensor:
            latents = latents.to(dtype)
            if guided is batch:
                return predict(self.unet, batch, latents, timestep)
            both = predict(self.unet, guided, join_guidance(latents, latents, d), join_guidance(timestep, timestep, d))
            without, conditioned = split_guidance(both.float(), d)
            return without + sampling.guidance * (conditioned - without)

        side = query.pictures.shape[-1] // PIXELS_PER_LATENT

        def pictures_of(sample: int) -> Float[Tensor, "n 4 s s"]:
            latents = sample_latents(
                denoise,
                [[_seed_of(seed, domain, sample) for seed in group] for domain in domains for group in seeds],
                (self.autoencoder.latent_channels, side, side),
                self.schedule,
                sampling,
                start_from=batch.coarse,
                device=device,
                on_step=lambda step, total: on_step(sample * total + step, sampling.samples * total),
            )
            pictures = self.autoencoder.decode(rearrange(latents, "n v c h w -> (n v) c h w").to(dtype)).float()
            return torch.cat([pictures, alpha_over_white(pictures)], dim=1) if pictures.shape[1] == 3 else pictures

        pictures = mean_picture([pictures_of(sample) for sample in range(sampling.samples)])
        pictures = rearrange(pictures, "(d b v) c h w -> d b v c h w", d=d, b=len(seeds))
        return pictures.to(query.pictures.device)


def mean_picture(pictures: Sequence[Float[Tensor, "n 4 s s"]]) -> Float[Tensor, "n 4 s s"]:
    """Of straight rgb and alpha. A colour counts as much as it covers; outlines are firm again, where `OUTLINE` of the
    pictures agree: a reconstruction takes half an alpha for half an object.
    """
    if len(pictures) == 1:
        return pictures[0]
    every = torch.stack(list(pictures))
    rgb, alpha = every[:, :, :3], every[:, :, 3:]
    cover = alpha.clamp(min=1e-4)
    firm = ((alpha.mean(0) - OUTLINE) * FIRMNESS + 0.5).clamp(0, 1)
    return torch.cat([(rgb * cover).sum(0) / cover.sum(0), firm], dim=1)


def _seed_of(seed: int, domain: Domain, sample: int) -> int:
    return derive_seed(seed, domain) if sample == 0 else derive_seed(seed, domain, "sample", sample)


def alpha_over_white(rgb: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 1 h w"]:
    """A plain key for pictures on white whose autoencoder has no alpha: 0 at white, 1 from 4 % below it."""
    return ((1 - rgb.amin(dim=1, keepdim=True)) / 0.04).clamp(0, 1)


def _part(query: ViewQuery, rows: slice) -> ViewQuery:
    return ViewQuery(
        query.camera[rows],
        query.pictures[rows],
        query.picture_camera[rows],
        query.reference[rows],
        query.condition[rows],
        query.num_known,
        None if query.coarse is None else query.coarse[rows],
    )


def _moved(query: ViewQuery, device: torch.device) -> ViewQuery:
    return ViewQuery(
        query.camera.to(device),
        query.pictures.to(device),
        query.picture_camera.to(device),
        query.reference.to(device),
        query.condition.to(device),
        query.num_known,
        None if query.coarse is None else query.coarse.to(device),
    )


def _mixed(schedule: NoiseSchedule, clean: Tensor, noise: Tensor, time: Tensor) -> Float[Tensor, "n v c h w"]:
    clean_rows, noise_rows = (rearrange(latents, "n v c h w -> (n v) c h w") for latents in (clean, noise))
    mixed = schedule.add_noise(clean_rows, noise_rows, time.long().expand(len(clean_rows)))
    return rearrange(mixed, "(n v) c h w -> n v c h w", n=len(clean))


def _begin_at(scheduler: Any, index: int) -> None:
    if not isinstance(scheduler, DDIMScheduler):  # which keeps no history and looks its step up
        scheduler.set_begin_index(index)
