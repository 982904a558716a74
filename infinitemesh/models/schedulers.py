"""Noise: how much a timestep means, what the network predicts, and the samplers that lead back to clean latents."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler
from jaxtyping import Float, Int
from torch import Tensor

from infinitemesh.errors import InputError

Prediction = Literal["epsilon", "v_prediction", "flow_prediction"]
Sampler = Literal["ddim", "dpm++", "unipc"]
NUM_TIMESTEPS = 1000


@dataclass(frozen=True, kw_only=True)
class NoiseSchedule:
    """What training and sampling agree on: noisy latents are signal(t) * clean + noise(t) * noise, t = 0 .. 999.

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
