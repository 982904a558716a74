"""Random lights for the pictures that should look like photographs, and backgrounds to put them on."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from infinitemesh.data.exact import applied, mixed

DISPLAY_GAMMA = 2.2


@dataclass(frozen=True)
class Lighting:
    """Of b objects, in the world: l directional lights, light from above and below, and one highlight strength."""

    direction: Float[Tensor, "b l 3"]  # towards the light
    colour: Float[Tensor, "b l 3"]  # linear
    sky: Float[Tensor, "b 3"]  # ambient on upward faces, linear
    ground: Float[Tensor, "b 3"]  # ambient on downward faces
    specular: Float[Tensor, " b"]
    shininess: Float[Tensor, " b"]


def random_lighting(num_objects: int, generator: torch.Generator, *, num_lights: int = 3) -> Lighting:
    """From soft studio light to one hard lamp. Lights come from the camera's half of the upper sphere mostly."""
    device = generator.device

    def uniform(*shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return torch.rand(*shape, generator=generator, device=device) * (high - low) + low

    direction = torch.randn(num_objects, num_lights, 3, generator=generator, device=device)
    direction[:, 0] = direction[:, 0].abs() * torch.tensor([1.0, 1, 1], device=device)
    direction[:, 0, 0] *= torch.where(uniform(num_objects) < 0.5, -1.0, 1.0)
    power = (
        uniform(num_objects, num_lights, 1) ** 2
        * torch.tensor([1.0] + [0.4] * (num_lights - 1), device=device)[:, None]
    )
    tint = 1 + uniform(num_objects, num_lights, 3, low=-0.15, high=0.15)
    ambient = uniform(num_objects, 1, low=0.35, high=0.9)
    sky = ambient * (1 + uniform(num_objects, 3, low=-0.08, high=0.08))
    return Lighting(
        direction=F.normalize(direction, dim=-1),
        colour=power * tint,
        sky=sky,
        ground=sky * uniform(num_objects, 1, low=0.5, high=1.0),
        specular=uniform(num_objects) ** 3 * 0.5,
        shininess=torch.exp(uniform(num_objects, low=1.5, high=4.5)),
    )


def shade(
    lighting: Lighting,
    rgb: Float[Tensor, "p 3"],
    normal: Float[Tensor, "p 3"],
    to_camera: Float[Tensor, "p 3"],
    owner: Int[Tensor, " p"],
) -> Float[Tensor, "p 3"]:
    """Lambert and Blinn-Phong in linear light, back in sRGB; no shadows are cast."""
    up = (normal[:, 1:2] + 1) / 2
    ambient = torch.lerp(lighting.ground[owner], lighting.sky[owner], up)
    direction, colour = lighting.direction[owner], lighting.colour[owner]
    lambert = applied(direction, normal).clamp(min=0)
    half = F.normalize(direction + to_camera[:, None], dim=-1)
    facing = applied(half, normal).clamp(min=0)
    highlight = lighting.specular[owner, None] * facing ** lighting.shininess[owner, None] * (lambert > 0)
    diffuse = ambient + mixed(lambert, colour)
    linear = rgb.clamp(min=1e-6) ** DISPLAY_GAMMA * diffuse + mixed(highlight, colour)
    return linear.clamp(0, 1) ** (1 / DISPLAY_GAMMA)


def random_backgrounds(num: int, size: int, generator: torch.Generator) -> Float[Tensor, "n 3 h w"]:
    """White, one colour, or a gradient with blurred blobs, in equal parts; sRGB."""
    device = generator.device
    kind = torch.randint(3, (num, 1, 1, 1), generator=generator, device=device)
    plain = torch.rand(num, 3, 1, 1, generator=generator, device=device)
    coarse = torch.rand(num, 3, 5, 5, generator=generator, device=device)
    blobs = F.interpolate(coarse, (size, size), mode="bicubic", align_corners=True).clamp(0, 1)
    picture = torch.lerp(plain.expand_as(blobs), blobs, 0.6)
    return torch.where(kind == 0, torch.ones_like(blobs), torch.where(kind == 1, plain.expand_as(blobs), picture))
