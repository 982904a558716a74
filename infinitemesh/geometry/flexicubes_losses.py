"""What keeps FlexiCubes' freedom in check: L_dev, the sign-change term, the weights' decay."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class RegularityWeights:
    """InstantMesh's, relative to a colour loss of weight 4 (its error is taken on [-1, 1])."""

    deviation: float = 0.5
    sign_change: float = 0.01
    weight_decay: float = 0.1


@dataclass(frozen=True)
class Regularity:
    """FlexiCubes' three regularisers of one surface, unweighted."""

    deviation: Float[Tensor, ""]  # L_dev
    sign_change: Float[Tensor, ""]
    weight_decay: Float[Tensor, ""]

    def total(self, weights: RegularityWeights = RegularityWeights()) -> Float[Tensor, ""]:
        return (
            weights.deviation * self.deviation
            + weights.sign_change * self.sign_change
            + weights.weight_decay * self.weight_decay
        )


def deviation(
    duals: Float[Tensor, "d 3"], crossings: Float[Tensor, "d 12 3"], belongs: Bool[Tensor, "d 12"]
) -> Float[Tensor, " e"]:
    """L_dev's terms, one an edge: how far a crossing's distance to its dual vertex is from that vertex's mean distance.

    The loss is the mean of the terms (FlexiCubes, Eq. 8).
    """
    distance = torch.linalg.norm(crossings - duals[:, None], dim=-1) * belongs
    mean = distance.sum(dim=1, keepdim=True) / belongs.sum(dim=1, keepdim=True)
    return (distance - mean).abs()[belongs]


def sign_change_loss(sdf: Float[Tensor, " p"], resolution: int) -> Float[Tensor, ""]:
    """Cross-entropy between the ends of every grid edge that crosses: fewer crossings (Munkberg et al., 2022).

    `sdf` has one value a grid point; each edge counts once. Zero where nothing crosses.
    """
    n = resolution + 1
    volume = sdf.reshape(n, n, n)
    ends = [(volume.narrow(axis, 0, n - 1), volume.narrow(axis, 1, n - 1)) for axis in range(3)]
    crossing = [(a[differ], b[differ]) for a, b in ends if (differ := a.sign() != b.sign()).any()]
    if not crossing:
        return sdf.sum() * 0
    a, b = (torch.cat(side) for side in zip(*crossing, strict=True))
    return _disagreement(a, b) + _disagreement(b, a)


def weight_decay(weights: Float[Tensor, "c 21"]) -> Float[Tensor, ""]:
    """Mean square of the raw weights, before they are bounded."""
    return weights.square().mean() if len(weights) else weights.sum()


def _disagreement(a: Tensor, b: Tensor) -> Float[Tensor, ""]:
    return F.binary_cross_entropy_with_logits(a, (b > 0).to(a.dtype))
