"""What a triplane says at a point: signed distance, deformation, FlexiCubes weights, colour (`synthesizer.decoder.*`).

Points are in field coordinates: [-1, 1]^3 is the whole plane. Signed distance is negative inside.
"""

from itertools import pairwise

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from infinitemesh.geometry.triplane import sample_triplane

NUM_CUBE_WEIGHTS = 21  # 12 edges (beta), 8 corners (alpha), 1 split (gamma)


class FieldDecoders(nn.Module):
    """Four small MLPs over the 3c features of a point."""

    def __init__(self, *, channels: int = 80, hidden: int = 64, padding: str = "zeros"):
        super().__init__()
        self.padding = padding
        self.net_sdf = _mlp(3 * channels, hidden, 1)
        self.net_rgb = _mlp(3 * channels, hidden, 3)
        self.net_deformation = _mlp(3 * channels, hidden, 3)
        self.net_weight = _mlp(8 * 3 * channels, hidden, NUM_CUBE_WEIGHTS)

    def features(self, planes: Float[Tensor, "b 3 c r r"], points: Float[Tensor, "b n 3"]) -> Float[Tensor, "b n 3*c"]:
        return sample_triplane(planes, points, padding=self.padding)

    def sdf(self, planes: Float[Tensor, "b 3 c r r"], points: Float[Tensor, "b n 3"]) -> Float[Tensor, "b n"]:
        return self.net_sdf(self.features(planes, points))[..., 0]

    def colour(self, planes: Float[Tensor, "b 3 c r r"], points: Float[Tensor, "b n 3"]) -> Float[Tensor, "b n 3"]:
        """sRGB in (-0.001, 1.001): the widened sigmoid lets pure black and white be reached."""
        return widened_sigmoid(self.net_rgb(self.features(planes, points)))

    def sdf_and_colour(
        self, planes: Float[Tensor, "b 3 c r r"], points: Float[Tensor, "b n 3"]
    ) -> tuple[Float[Tensor, "b n"], Float[Tensor, "b n 3"]]:
        features = self.features(planes, points)
        return self.net_sdf(features)[..., 0], widened_sigmoid(self.net_rgb(features))

    def sdf_and_deformation(
        self, planes: Float[Tensor, "b 3 c r r"], points: Float[Tensor, "b n 3"]
    ) -> tuple[Float[Tensor, "b n"], Float[Tensor, "b n 3"]]:
        """The deformation is raw: the surface step squashes it by tanh to a fraction of a cell."""
        features = self.features(planes, points)
        return self.net_sdf(features)[..., 0], self.net_deformation(features)

    def weights(self, planes: Float[Tensor, "b 3 c r r"], corners: Float[Tensor, "b n 8 3"]) -> Float[Tensor, "b n 21"]:
        """FlexiCubes weights of n cubes from the features of their 8 corners (in cube corner order), times 0.1."""
        features = self.features(planes, rearrange(corners, "b n corner xyz -> b (n corner) xyz"))
        return self.net_weight(rearrange(features, "b (n corner) f -> b n (corner f)", corner=8)) * 0.1


def widened_sigmoid(logits: Tensor) -> Tensor:
    return torch.sigmoid(logits) * 1.002 - 0.001


def _mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Linear layers at indices 0, 2, 4, 6, as the published decoders; biases start at 0."""
    sizes = [inputs, hidden, hidden, hidden, outputs]
    layers: list[nn.Module] = []
    for size_in, size_out in pairwise(sizes):
        linear = nn.Linear(size_in, size_out)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])
