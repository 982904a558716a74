"""sRGB (pictures, textures, OBJ and PLY colours) and linear light (glTF's COLOR_0 and factors, shading)."""

import torch
from jaxtyping import Float
from torch import Tensor


def linear_from_srgb(srgb: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """IEC 61966-2-1 on [0, 1]."""
    return torch.where(srgb <= 0.04045, srgb / 12.92, ((srgb.clamp(min=0) + 0.055) / 1.055) ** 2.4)


def srgb_from_linear(linear: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """The inverse of `linear_from_srgb`."""
    # the floor keeps the gradient of the power finite where the other branch is taken
    return torch.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear.clamp(min=0.0031308) ** (1 / 2.4) - 0.055)
