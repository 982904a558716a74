"""What training objects are painted with: their own texture, another object's, or procedural noise, then recoloured.

A material is a function of the place on the object, so a batch's pictures and its coloured points agree.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from infinitemesh.data.exact import applied
from infinitemesh.data.object_pack import ObjectPack

OWN, BORROWED, NOISE = 0, 1, 2


@dataclass(frozen=True)
class Materials:
    """Of b objects. `kind` is OWN, BORROWED (texture `borrowed`, projected along the axes of the box) or NOISE.

    NOISE mixes three `palette` colours by sums of waves in object space. Last, every colour goes through `recolour`
    (a 3 x 3 matrix on sRGB) and the power `gamma`.
    """

    kind: Int[Tensor, " b"]
    borrowed: Int[Tensor, " b"]
    borrowed_scale: Float[Tensor, " b"]
    palette: Float[Tensor, "b 3 3"]
    waves: Float[Tensor, "b 2 k 4"]  # two fields of k waves: three frequencies in cycles a unit, one phase in cycles
    sharpness: Float[Tensor, " b"]
    recolour: Float[Tensor, "b 3 3"]
    gamma: Float[Tensor, " b"]


@dataclass(frozen=True, kw_only=True)
class MaterialChances:
    """How random materials are drawn; untextured objects always get a new texture."""

    new_texture: float = 0.15
    borrowed: float = 0.5  # of the new ones, the others are noise
    recolour: float = 0.5
    hue_deg: float = 180.0
    saturation: tuple[float, float] = (0.4, 1.4)
    gamma: tuple[float, float] = (0.7, 1.5)


def random_materials(
    pack: ObjectPack, object_ids: Int[Tensor, " b"], generator: torch.Generator, chances: MaterialChances | None = None
) -> Materials:
    chances = chances or MaterialChances()
    b, device = len(object_ids), generator.device

    def uniform(*shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return torch.rand(*shape, generator=generator, device=device) * (high - low) + low

    is_new = (uniform(b) < chances.new_texture) | ~pack.has_colour[object_ids]
    pictures = (~pack.texture_is_palette).nonzero()[:, 0]
    can_borrow = len(pictures) > 0
    is_borrowed = (uniform(b) < chances.borrowed) & can_borrow
    choice = torch.randint(max(len(pictures), 1), (b,), generator=generator, device=device)
    frequency = torch.randn(b, 2, 6, 3, generator=generator, device=device) * uniform(b, 1, 1, 1, low=0.5, high=4.0)
    is_recoloured = uniform(b) < chances.recolour
    hue = uniform(b, low=-chances.hue_deg, high=chances.hue_deg) * is_recoloured
    saturation = torch.where(is_recoloured, uniform(b, low=chances.saturation[0], high=chances.saturation[1]), 1.0)
    log_gamma = uniform(b, low=chances.gamma[0], high=chances.gamma[1])
    return Materials(
        kind=torch.where(is_new, torch.where(is_borrowed, BORROWED, NOISE), OWN),
        borrowed=pictures[choice] if can_borrow else torch.zeros_like(choice),
        borrowed_scale=uniform(b, low=0.7, high=3.0),
        palette=uniform(b, 3, 3) ** 0.7,
        waves=torch.cat([frequency, uniform(b, 2, 6, 1)], dim=-1),
        sharpness=torch.exp(uniform(b, low=0.0, high=4.0)),
        recolour=_hue_and_saturation(hue, saturation),
        gamma=torch.where(is_recoloured, log_gamma, 1.0),
    )


def paint(
    materials: Materials,
    textures: UInt8[Tensor, "t 3 px px"],
    own_rgb: Float[Tensor, "p 3"],
    position: Float[Tensor, "p 3"],
    normal: Float[Tensor, "p 3"],
    owner: Int[Tensor, " p"],
) -> Float[Tensor, "p 3"]:
    """Colours of p places on the surface, in object space; `owner` is the object's position in the batch."""
    kind = materials.kind[owner, None]
    rgb = torch.where(kind == BORROWED, _borrowed(materials, textures, position, normal, owner), own_rgb)
    rgb = torch.where(kind == NOISE, _noise(materials, position, owner), rgb)
    rgb = applied(materials.recolour[owner], rgb)
    return rgb.clamp(0, 1) ** materials.gamma[owner, None]


def sample_textures(
    textures: UInt8[Tensor, "t 3 px px"], texture: Int[Tensor, " p"], uv: Float[Tensor, "p 2"]
) -> Float[Tensor, "p 3"]:
    """Bilinear, clamped at the border; uv (0, 0) is the top left corner."""
    px = textures.shape[-1]
    texels = textures.permute(0, 2, 3, 1).reshape(-1, 3)  # a view: textures lie channels last in memory
    at = (uv * px - 0.5).clamp(0, px - 1)
    low = at.floor().long().clamp(max=px - 2) if px > 1 else at.long()
    fraction = at - low
    step = min(1, px - 1)
    base = (texture * px + low[:, 1]) * px + low[:, 0]
    fx, fy = fraction[:, :1], fraction[:, 1:]
    top = torch.lerp(texels[base].float(), texels[base + step].float(), fx)
    bottom = torch.lerp(texels[base + step * px].float(), texels[base + step * (px + 1)].float(), fx)
    return torch.lerp(top, bottom, fy) / 255


def _borrowed(
    materials: Materials,
    textures: UInt8[Tensor, "t 3 px px"],
    position: Float[Tensor, "p 3"],
    normal: Float[Tensor, "p 3"],
    owner: Int[Tensor, " p"],
) -> Float[Tensor, "p 3"]:
    """Projected along the axis the surface faces most; repeats are mirrored, so there are no seams."""
    axis = normal.abs().argmax(-1, keepdim=True)
    across = torch.where(axis == 0, position[:, 2:], position[:, :1])
    upwards = torch.where(axis == 1, position[:, 2:], position[:, 1:2])
    uv = torch.cat([across, -upwards], dim=-1) * materials.borrowed_scale[owner, None] + 0.5
    mirrored = 1 - (uv % 2 - 1).abs()
    return sample_textures(textures, materials.borrowed[owner], mirrored)


def _noise(materials: Materials, position: Float[Tensor, "p 3"], owner: Int[Tensor, " p"]) -> Float[Tensor, "p 3"]:
    waves = materials.waves[owner]
    phase = (waves[..., :3] * position[:, None, None]).sum(-1) + waves[..., 3]
    fields = torch.sin(2 * torch.pi * phase).mean(-1)  # p 2
    mix = torch.sigmoid(fields * materials.sharpness[owner, None])
    first, second, third = materials.palette[owner].unbind(1)
    return torch.lerp(torch.lerp(first, second, mix[:, :1]), third, mix[:, 1:])


def _hue_and_saturation(hue_deg: Float[Tensor, " b"], saturation: Float[Tensor, " b"]) -> Float[Tensor, "b 3 3"]:
    """Turns colours about the grey axis and scales their distance from it."""
    turn = torch.deg2rad(hue_deg)[:, None, None]
    grey = torch.full((3, 3), 1 / 3, device=hue_deg.device)
    cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]], device=hue_deg.device) / 3**0.5
    rotation = turn.cos() * torch.eye(3, device=hue_deg.device) + turn.sin() * cross + (1 - turn.cos()) * grey
    return grey + saturation[:, None, None] * (rotation - grey)
