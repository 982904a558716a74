"""Losses of the reconstruction: point supervision (warm-up) and Eq. 7 (mesh stage)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from infinitemesh.data.points import PointBatch


@dataclass(frozen=True, kw_only=True)
class PointLossWeights:
    """The warm-up's terms. Distances are in world units; the values were measured to converge in minutes."""

    distance: float = 10.0
    occupancy: float = 0.3
    colour: float = 4.0
    truncation: float = 0.1  # distances are compared up to here
    softness: float = 0.02  # distance that is one logit of the occupancy
    cavity: float = (
        1.0  # of points outside the object that every view sees covered; above 1, hollows are asked for harder
    )
    inside: float = (
        1.0  # of points inside an object seen from one side alone: above 1, what may be there is filled sooner
    )
    colour_band: float = 0.03  # colour is asked for this near the surface


def point_loss(
    sdf: Float[Tensor, "b n"],
    colour: Float[Tensor, "b n 3"],
    truth: PointBatch,
    weights: PointLossWeights,
    *,
    cavity: Bool[Tensor, "b n"] | None = None,
) -> dict[str, Tensor]:
    """Truncated L1 of the signed distance, cross-entropy of the occupancy it implies, squared error of the colour."""
    sdf, colour = sdf.float(), colour.float()
    limit = weights.truncation
    share = torch.ones_like(sdf) if cavity is None else torch.where(cavity, weights.cavity, 1.0)
    share = torch.where(truth.distance < 0, weights.inside * share, share)
    share = share / share.mean()
    distance = (share * (sdf.clamp(-limit, limit) - truth.distance.clamp(-limit, limit)).abs()).mean()
    inside = (truth.distance < 0).float()
    occupancy = F.binary_cross_entropy_with_logits(-sdf / weights.softness, inside, weight=share)
    near = ((truth.distance.abs() < weights.colour_band) & truth.has_colour[:, None]).float()[..., None]
    colour_error = ((colour - truth.rgb).square() * near).sum() / (3 * near.sum() + 1)
    loss = weights.distance * distance + weights.occupancy * occupancy + weights.colour * colour_error
    return {"loss": loss, "distance": distance, "occupancy": occupancy, "colour": colour_error}


@dataclass(frozen=True, kw_only=True)
class RenderLossWeights:
    """Eq. 7; the colour term has weight 1."""

    rgb: float = 1.0
    lpips: float = 2.0
    mask: float = 1.0
    depth: float = 0.5
    normal: float = 0.2
    regularity: float = 0.01  # FlexiCubes' L_dev, its weight decay and the sign changes of the field


def render_loss(
    rgb: Float[Tensor, "v 3 h w"],
    alpha: Float[Tensor, "v 1 h w"],
    depth: Float[Tensor, "v 1 h w"],
    normal: Float[Tensor, "v 3 h w"],
    true_rgb: Float[Tensor, "v 3 h w"],
    true_alpha: Float[Tensor, "v 1 h w"],
    true_depth: Float[Tensor, "v 1 h w"],
    true_normal: Float[Tensor, "v 3 h w"],
    perceptual: Float[Tensor, ""],
    regularity: Float[Tensor, ""],
    weights: RenderLossWeights,
) -> dict[str, Tensor]:
    """The six terms of Eq. 7 on rendered views; colours are over white, depth and normals count where both cover."""
    both = ((true_alpha > 0.5) & (alpha > 0.5)).float()
    area = both.sum() + 1
    terms = {
        "rgb": (rgb - true_rgb).square().mean(),
        "lpips": perceptual,
        "mask": (alpha - true_alpha).square().mean(),
        "depth": ((depth - true_depth).abs() * both).sum() / area,
        "normal": ((1 - (normal * true_normal).sum(1, keepdim=True)) * both).sum() / area,
        "regularity": regularity,
    }
    terms["loss"] = torch.stack([getattr(weights, name) * value for name, value in terms.items()]).sum()
    return terms
