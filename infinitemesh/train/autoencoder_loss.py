"""What the autoencoder is trained for: pictures that look the same over any background, and latents of modest size."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from jaxtyping import Float
from torch import Tensor

PerceptualDistance = Callable[[Tensor, Tensor], Tensor]  # two batches of RGB in [0, 1] -> one distance a picture


@dataclass(frozen=True, kw_only=True)
class AutoencoderLossWeights:
    """The L1 of the composite at full size has weight 1."""

    coarse: float = 0.5  # the same at 1/2, 1/4 and 1/8 size: low frequencies, which alone survive in the latents' mean
    alpha: float = 0.5
    perceptual: float = 0.25
    kl: float = 1e-6  # as Stable Diffusion's: latents stay bounded, pictures stay sharp
    object_pixels: float = 3.0  # how much more a pixel of the object counts than one of the background


def autoencoder_loss(
    result: Float[Tensor, "n 4 h w"],
    truth: Float[Tensor, "n 4 h w"],
    posterior: DiagonalGaussianDistribution,
    background: Float[Tensor, "n 3"],
    *,
    perceptual: PerceptualDistance | None = None,
    weights: AutoencoderLossWeights = AutoencoderLossWeights(),
) -> dict[str, Tensor]:
    """Named terms; "loss" is what is minimised. A picture and its truth are composited over one colour (`background`).

    Colour where alpha is 0 in both is free. `perceptual` None leaves its term out.
    """
    result, truth = result.float(), truth.float()
    seen, wanted = over(result, background), over(truth, background)
    emphasis = 1 + (weights.object_pixels - 1) * truth[:, 3:]
    emphasis = emphasis / emphasis.mean()
    difference = (seen - wanted).abs()
    terms = {
        "colour": (difference * emphasis).mean(),
        "coarse": torch.stack([F.l1_loss(F.avg_pool2d(seen, k), F.avg_pool2d(wanted, k)) for k in (2, 4, 8)]).mean(),
        "alpha": (result[:, 3:] - truth[:, 3:]).abs().mean(),
        "kl": posterior.kl().mean() / truth[0, 0].numel(),  # a pixel, so its weight does not depend on the size
    }
    loss = (
        terms["colour"] + weights.coarse * terms["coarse"] + weights.alpha * terms["alpha"] + weights.kl * terms["kl"]
    )
    if perceptual is not None:
        terms["perceptual"] = perceptual(seen.clamp(0, 1), wanted).mean()
        loss = loss + weights.perceptual * terms["perceptual"]
    return {"loss": loss, **terms}


def over(rgba: Float[Tensor, "n 4 h w"], background: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3 h w"]:
    rgb, alpha = rgba[:, :3], rgba[:, 3:]
    return rgb * alpha + background[:, :, None, None] * (1 - alpha)
