"""How pictures are mixed with noise, what a network predicts of the mixture, and which sampler undoes it.

Training and sampling read the same `NoiseSchedule`, so they cannot disagree about betas, prediction type or end point.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    SchedulerMixin,
    UniPCMultistepScheduler,
)
from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr
from jaxtyping import Float, Int
from torch import Tensor

from infinitemesh.errors import InputError

Prediction = Literal["epsilon", "v_prediction", "sample", "flow_prediction"]
SamplerName = Literal["ddim", "dpm++", "unipc"]

NUM_TIMESTEPS = 1000


@dataclass(frozen=True, kw_only=True)
class NoiseSchedule:
    """A timestep in [0, 1000) is a mixture alpha x clean + sigma x noise.

    `NoiseSchedule.paper()` is Stable Diffusion's and Wonder3D's. `flow_prediction` mixes along a straight line
    (sigma = (t + 1) / 1000, alpha = 1 - sigma) and uses none of the betas.
    """

    prediction: Prediction = "v_prediction"
    zero_terminal_snr: bool = True  # the last timestep is pure noise, as sampling starts from; needs v, sample or flow
    beta_start: float = 0.00085
    beta_end: float = 0.012

    def __post_init__(self):
        if self.prediction == "epsilon" and self.zero_terminal_snr:
            raise InputError("epsilon says nothing at pure noise: use v_prediction, or zero_terminal_snr=False")

    @staticmethod
    def paper() -> "NoiseSchedule":
        return NoiseSchedule(prediction="epsilon", zero_terminal_snr=False)

    def alpha_sigma(self, timestep: Int[Tensor, "*n"]) -> tuple[Float[Tensor, "*n"], Float[Tensor, "*n"]]:
        """Shares of clean picture and noise."""
        if self.prediction == "flow_prediction":
            sigma = (timestep.float() + 1) / NUM_TIMESTEPS
            return 1 - sigma, sigma
        betas = torch.linspace(self.beta_start**0.5, self.beta_end**0.5, NUM_TIMESTEPS, dtype=torch.float64) ** 2
        if self.zero_terminal_snr:
            betas = rescale_zero_terminal_snr(betas)
        kept = (1 - betas).cumprod(0).to(timestep.device)[timestep]
        return kept.sqrt().float(), (1 - kept).sqrt().float()

    def mix(
        self, clean: Float[Tensor, "b *s"], noise: Float[Tensor, "b *s"], timestep: Int[Tensor, " b"]
    ) -> Float[Tensor, "b *s"]:
        alpha, sigma = (_column(share, clean) for share in self.alpha_sigma(timestep))
        return alpha * clean + sigma * noise

    def target(
        self, clean: Float[Tensor, "b *s"], noise: Float[Tensor, "b *s"], timestep: Int[Tensor, " b"]
    ) -> Float[Tensor, "b *s"]:
        """What the network is to predict of `mix(clean, noise, timestep)`."""
        if self.prediction == "epsilon":
            return noise
        if self.prediction == "sample":
            return clean
        if self.prediction == "flow_prediction":
            return noise - clean
        alpha, sigma = (_column(share, clean) for share in self.alpha_sigma(timestep))
        return alpha * noise - sigma * clean

    def clean(
        self, mixed: Float[Tensor, "b *s"], prediction: Float[Tensor, "b *s"], timestep: Int[Tensor, " b"]
    ) -> Float[Tensor, "b *s"]:
        """The picture that a prediction stands for: the inverse of `mix` and `target`."""
        alpha, sigma = (_column(share, mixed) for share in self.alpha_sigma(timestep))
        if self.prediction == "epsilon":
            return (mixed - sigma * prediction) / alpha
        if self.prediction == "sample":
            return prediction
        if self.prediction == "flow_prediction":
            return mixed - sigma * prediction
        return alpha * mixed - sigma * prediction

    def min_snr_weight(
        self, timestep: Int[Tensor, " b"], gamma: float = 5.0, *, least: float = 0.0
    ) -> Float[Tensor, " b"]:
        """Min-SNR weight of the squared error of the prediction (Hang et al. 2023, Eq. 7, carried over to its kind).

        Pure noise has weight 0 for all but epsilon: with a zero terminal SNR give a `least` > 0.
        """
        alpha, sigma = self.alpha_sigma(timestep)
        snr = (alpha / sigma.clamp(min=1e-8)) ** 2
        weight = snr.clamp(max=gamma)  # of the error of the clean picture
        if self.prediction == "epsilon":
            weight = weight / snr.clamp(min=1e-8)
        elif self.prediction != "sample":
            weight = weight * sigma**2
        return weight.clamp(min=least)

    def sampler(self, name: SamplerName) -> SchedulerMixin:
        """A fresh diffusers scheduler that undoes this mixture: DDIM as in the papers, or a few-step solver."""
        if self.prediction == "flow_prediction":
            flow = {"num_train_timesteps": NUM_TIMESTEPS, "prediction_type": "flow_prediction", "use_flow_sigmas": True}
            if name == "ddim":  # of a straight path: Euler's method
                return FlowMatchEulerDiscreteScheduler(NUM_TIMESTEPS)
            return DPMSolverMultistepScheduler(**flow) if name == "dpm++" else UniPCMultistepScheduler(**flow)
        common = {
            "num_train_timesteps": NUM_TIMESTEPS,
            "beta_start": self.beta_start,
            "beta_end": self.beta_end,
            "beta_schedule": "scaled_linear",
            "prediction_type": self.prediction,
            "rescale_betas_zero_snr": self.zero_terminal_snr,
            "timestep_spacing": "trailing" if self.zero_terminal_snr else "leading",
            "steps_offset": 0 if self.zero_terminal_snr else 1,
        }
        if name == "ddim":
            return DDIMScheduler(**common, clip_sample=False, set_alpha_to_one=self.zero_terminal_snr)
        if name == "dpm++":
            return DPMSolverMultistepScheduler(**common)
        if name == "unipc":
            return UniPCMultistepScheduler(**common)
        raise InputError(f"unknown sampler {name!r}; known are ddim, dpm++, unipc")


def _column(share: Float[Tensor, " b"], like: Float[Tensor, "b *s"]) -> Tensor:
    return share.to(like.dtype).reshape(-1, *[1] * (like.dim() - 1))
