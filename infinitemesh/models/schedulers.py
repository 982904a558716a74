"""Noise: how much of it a timestep means, what the network predicts, and the way back to clean latents.

`NoiseSchedule` is what training and sampling agree on; `sample_latents` runs a sampler of diffusers over it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler
from jaxtyping import Bool, Float, Int
from torch import Tensor

from infinitemesh.errors import InputError
from infinitemesh.models.conditioning import Conditions, join_guidance, split_guidance
from infinitemesh.models.multiview_unet import MultiViewUNet

Prediction = Literal["epsilon", "v_prediction", "flow_prediction"]
Sampler = Literal["ddim", "dpm++", "unipc"]
NUM_TIMESTEPS = 1000


@dataclass(frozen=True, kw_only=True)
class NoiseSchedule:
    """Noisy latents are signal(t) * clean + noise(t) * noise, t = 0 .. 999.

    The default is Stable Diffusion's (scaled-linear betas), used by Zero123, Wonder3D and Eq. 2. `flow_prediction` is
    rectified flow: signal 1 - t / 1000, noise t / 1000, and the network predicts noise - clean; `flow_shift` above 1
    spends more of a sampler's steps where there is more noise. `zero_terminal_snr` makes t = 999 pure noise and needs
    `v_prediction`.
    """

    prediction: Prediction = "epsilon"
    zero_terminal_snr: bool = False
    beta_start: float = 0.00085
    beta_end: float = 0.012
    flow_shift: float = 1.0

    def __post_init__(self):
        if self.zero_terminal_snr and self.prediction != "v_prediction":
            raise InputError(f"zero_terminal_snr needs v_prediction: pure noise says nothing of {self.prediction}")

    def levels(self, timesteps: Int[Tensor, " rows"]) -> tuple[Float[Tensor, " rows"], Float[Tensor, " rows"]]:
        """(signal, noise) shares at the timesteps."""
        if self.prediction == "flow_prediction":
            noise = timesteps.float() / NUM_TIMESTEPS
            return 1 - noise, noise
        remaining = self._alphas_cumprod().to(timesteps.device)[timesteps]
        return remaining.sqrt().float(), (1 - remaining).sqrt().float()

    def add_noise(
        self,
        clean: Float[Tensor, "rows c h w"],
        noise: Float[Tensor, "rows c h w"],
        timesteps: Int[Tensor, " rows"],
    ) -> Float[Tensor, "rows c h w"]:
        signal, noisiness = self._columns(timesteps)
        return signal * clean + noisiness * noise

    def target(
        self,
        clean: Float[Tensor, "rows c h w"],
        noise: Float[Tensor, "rows c h w"],
        timesteps: Int[Tensor, " rows"],
    ) -> Float[Tensor, "rows c h w"]:
        """What the network should answer."""
        if self.prediction == "epsilon":
            return noise
        if self.prediction == "flow_prediction":
            return noise - clean
        signal, noisiness = self._columns(timesteps)
        return signal * noise - noisiness * clean

    def clean_from(
        self,
        prediction: Float[Tensor, "rows c h w"],
        noisy: Float[Tensor, "rows c h w"],
        timesteps: Int[Tensor, " rows"],
    ) -> Float[Tensor, "rows c h w"]:
        """The clean latents that an answer implies."""
        signal, noisiness = self._columns(timesteps)
        if self.prediction == "epsilon":
            return (noisy - noisiness * prediction) / signal
        if self.prediction == "flow_prediction":
            return noisy - noisiness * prediction
        return signal * noisy - noisiness * prediction

    def sampler(self, name: Sampler = "unipc") -> Any:
        """A fresh scheduler of diffusers: `ddim` is the papers', the other two need fewer steps."""
        if self.prediction == "flow_prediction" and name == "ddim":
            raise InputError("ddim does not sample flow_prediction; use unipc or dpm++")
        common: dict[str, Any] = {
            "num_train_timesteps": NUM_TIMESTEPS,
            "beta_start": self.beta_start,
            "beta_end": self.beta_end,
            "beta_schedule": "scaled_linear",
            "prediction_type": self.prediction,
            "rescale_betas_zero_snr": self.zero_terminal_snr,
        }
        trailing: dict[str, Any] = {"timestep_spacing": "trailing"}  # few steps must begin where the noise is
        if name == "ddim":
            published: dict[str, Any] = {"timestep_spacing": "leading", "steps_offset": 1, "set_alpha_to_one": False}
            return DDIMScheduler(**common, **(trailing if self.zero_terminal_snr else published), clip_sample=False)
        flow: dict[str, Any] = {"use_flow_sigmas": self.prediction == "flow_prediction", "flow_shift": self.flow_shift}
        solver = {"dpm++": DPMSolverMultistepScheduler, "unipc": UniPCMultistepScheduler}
        if name not in solver:
            raise InputError(f"there is no sampler {name!r}; there are ddim, dpm++ and unipc")
        return solver[name](**common, **trailing, **flow)

    def _columns(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        signal, noisiness = self.levels(timesteps)
        return signal[:, None, None, None], noisiness[:, None, None, None]

    def _alphas_cumprod(self) -> Float[Tensor, " 1000"]:
        betas = torch.linspace(self.beta_start**0.5, self.beta_end**0.5, NUM_TIMESTEPS, dtype=torch.float64).square()
        kept = (1 - betas).cumprod(0)
        if not self.zero_terminal_snr:
            return kept
        root = kept.sqrt()  # Lin et al. 2023: shift the last to 0, scale the first back
        return ((root - root[-1]) * root[0] / (root[0] - root[-1])).square()


@torch.no_grad()
def sample_latents(
    unet: MultiViewUNet,
    schedule: NoiseSchedule,
    conditions: Conditions,
    noise: Float[Tensor, "rows c h w"],
    *,
    num_views: int,
    num_domains: int = 1,
    steps: int = 50,
    guidance: float = 1.0,
    sampler: Sampler = "unipc",
    eta: float = 0.0,
    step_noise: Callable[[int], Tensor] | None = None,
    clean: tuple[Float[Tensor, "rows c h w"], Bool[Tensor, " rows"]] | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> Float[Tensor, "rows c h w"]:
    """From noise to clean latents. Rows are domain by domain, object by object, view by view.

    `guidance` 1 runs one branch, anything else two. `eta` (ddim only) adds fresh noise at each step, from
    `step_noise(step)`. `clean` gives latents of known views and which rows they are: these enter every step without
    noise and at timestep 0, so the others can look at them, and come back as they are. Sampling runs in the noise's
    precision, the network in its own.
    """
    if eta and (sampler != "ddim" or step_noise is None):
        raise InputError("eta needs the ddim sampler and step_noise; leave it 0 for the other samplers")
    scheduler = schedule.sampler(sampler)
    scheduler.set_timesteps(steps, device=noise.device)
    known = (noise, torch.zeros(len(noise), dtype=torch.bool, device=noise.device)) if clean is None else clean
    is_known = known[1][:, None, None, None]
    latents = noise * scheduler.init_noise_sigma
    extra: dict[str, Any] = {"eta": eta} if sampler == "ddim" else {}
    for step, timestep in enumerate(scheduler.timesteps):
        inputs = torch.where(is_known, known[0], scheduler.scale_model_input(latents, timestep))
        times = torch.where(known[1], 0, timestep)
        prediction = _predict(unet, inputs, times, conditions, num_views, num_domains, guidance)
        if eta and step_noise is not None:
            extra["variance_noise"] = step_noise(step).to(latents)
        latents = scheduler.step(prediction, timestep, latents, return_dict=False, **extra)[0]
        if on_step is not None:
            on_step(step + 1, steps)
    return torch.where(is_known, known[0], latents)


def _predict(
    unet: MultiViewUNet,
    inputs: Tensor,
    times: Tensor,
    conditions: Conditions,
    num_views: int,
    num_domains: int,
    guidance: float,
) -> Tensor:
    both = guidance != 1.0
    if both:
        inputs, times, conditions = (
            _twice(inputs, num_domains),
            _twice(times, num_domains),
            conditions.with_unconditional(num_domains),
        )
    prediction = unet(
        conditions.inputs(inputs).to(unet.dtype),
        times,
        conditions.tokens.to(unet.dtype),
        conditions.labels.to(unet.dtype),
        num_views=num_views,
        num_domains=num_domains,
        return_dict=False,
    )[0].to(inputs.dtype)
    if not both:
        return prediction
    without, conditioned = split_guidance(prediction, num_domains)
    return without + guidance * (conditioned - without)


def _twice(rows: Tensor, num_domains: int) -> Tensor:
    return join_guidance(rows, rows, num_domains)
