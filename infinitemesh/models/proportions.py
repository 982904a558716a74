"""How deep things are that look like this: remembered, not learned.

A photograph does not show the depth of what stands in it; one knows it because one knows the thing. A network that was
taught ten thousand drawn objects fits them, and makes something between a shoe and a box of the first real shoe. Asking
which of the remembered objects the photograph resembles most, in the features of networks that have seen millions of
pictures, carries over: a real shoe is more like a drawn shoe than like anything else, however unlike it is.
"""

from typing import Any

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from jaxtyping import Float
from torch import Tensor, nn

from infinitemesh.errors import InputError


class ProportionMemory(ModelMixin, ConfigMixin):
    """Photographs of known objects: features, aspect (log of width over height), log of depth over width.

    Features come in blocks (of several networks), each standardised and of length 1; `dim` directions of all of them
    are kept. An answer is the mean over the entries, weighted with exp(temperature x cosine - (difference of aspects /
    aspect_deviation)^2 / 2).
    """

    config_name = "config.json"

    @register_to_config
    def __init__(
        self,
        entries: int = 16,
        blocks: tuple[int, ...] = (8, 8),
        dim: int = 8,
        temperature: float = 20.0,
        aspect_deviation: float = 0.2,
    ):
        super().__init__()
        features = sum(blocks)
        self.centre = nn.Parameter(torch.zeros(features), requires_grad=False)
        self.gain = nn.Parameter(torch.ones(features), requires_grad=False)
        self.basis = nn.Parameter(torch.zeros(dim, features), requires_grad=False)
        self.vectors = nn.Parameter(torch.zeros(entries, dim), requires_grad=False)
        self.aspects = nn.Parameter(torch.zeros(entries), requires_grad=False)
        self.depths = nn.Parameter(torch.zeros(entries), requires_grad=False)

    @classmethod
    @torch.no_grad()
    def of(
        cls,
        features: Float[Tensor, "n f"],
        aspects: Float[Tensor, " n"],
        depths: Float[Tensor, " n"],
        *,
        blocks: tuple[int, ...],
        dim: int = 128,
        **options: Any,
    ) -> "ProportionMemory":
        """Remembers these photographs, by the `dim` directions in which their features differ most."""
        if features.shape[1] != sum(blocks) or not len(features) == len(aspects) == len(depths) > 0:
            raise InputError(
                f"a memory needs features of {sum(blocks)} values, an aspect and a depth of each of its entries, got "
                f"{tuple(features.shape)}, {len(aspects)} and {len(depths)}"
            )
        if not all(torch.isfinite(x).all() for x in (features, aspects, depths)):
            raise InputError("a memory cannot hold NaN or infinity: leave out photographs that show no object")
        memory = cls(len(features), tuple(blocks), min(dim, *features.shape), **options).to(features.device)
        memory.centre.copy_(features.mean(0))
        memory.gain.copy_(1 / features.std(0, correction=0).clamp(min=1e-4))
        unit = memory._unit(features)
        _, directions = torch.linalg.eigh((unit.T @ unit).double())
        memory.basis.copy_(directions.flip(1)[:, : len(memory.basis)].T)
        memory.vectors.copy_(unit @ memory.basis.T)
        memory.aspects.copy_(aspects)
        memory.depths.copy_(depths)
        return memory

    @torch.no_grad()
    def forward(
        self, features: Float[Tensor, "b f"], aspects: Float[Tensor, " b"]
    ) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        """Log of depth over width, and how far the entries that it is the mean of differ in it (their deviation)."""
        alike = self._unit(features.float()) @ self.basis.float().T @ self.vectors.float().T
        apart = (aspects.float()[:, None] - self.aspects.float()) / self.config["aspect_deviation"]
        weights = (self.config["temperature"] * alike - apart.square() / 2).softmax(dim=1)
        mean = weights @ self.depths.float()
        spread = (weights * (self.depths.float() - mean[:, None]).square()).sum(1)
        return mean, spread.sqrt()

    def _unit(self, features: Float[Tensor, "n f"]) -> Float[Tensor, "n f"]:
        """Of length 1, each block alike."""
        standard = (features - self.centre.float()) * self.gain.float()
        blocks = standard.split(list(self.config["blocks"]), dim=1)
        return torch.cat([F.normalize(block, dim=1) for block in blocks], dim=1) / len(blocks) ** 0.5
