"""Objects of other proportions: the same pack with some objects wider, flatter or deeper than they were."""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from infinitemesh.data.object_pack import ObjectPack
from infinitemesh.data.rigs import turned_boxes
from infinitemesh.errors import InputError


@dataclass(frozen=True, kw_only=True)
class StretchOptions:
    """`share` of the objects are stretched along one of their axes by exp(`log_deviation` x a normal number)."""

    share: float = 0.0
    log_deviation: float = 0.25
    largest: float = 2.0  # factor, or one over it

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1 or self.log_deviation < 0 or self.largest < 1:
            raise InputError(f"a share in [0, 1], a deviation >= 0 and a largest factor >= 1 are needed, got {self}")


def stretched(pack: ObjectPack, options: StretchOptions, *, seed: int = 0) -> ObjectPack:
    """The pack in the box frame again (centred, longest side 1); which objects change is a function of the seed."""
    if not options.share:
        return pack
    num, device = len(pack), pack.device
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.rand(num, generator=generator) < options.share
    factor = (options.log_deviation * torch.randn(num, generator=generator)).exp()
    factor = factor.clamp(1 / options.largest, options.largest)
    axis = torch.randint(3, (num,), generator=generator)
    scale = torch.ones(num, 3)
    scale[torch.arange(num), axis] = torch.where(chosen, factor, 1.0)
    scale = scale.to(device)
    owner = torch.arange(num, device=device).repeat_interleave(pack.vertex_start.diff())
    vertices = pack.vertices * scale[owner]
    low, high = turned_boxes(pack, torch.arange(num, device=device), torch.diag_embed(scale))
    longest = (high - low).amax(-1).clamp(min=1e-12)
    vertices = (vertices - ((low + high) / 2)[owner]) / longest[owner, None]
    changed = chosen.to(device)[owner, None]  # others keep their places to the bit
    normals = F.normalize(pack.normals / scale[owner], dim=-1)
    return replace(
        pack,
        vertices=torch.where(changed, vertices, pack.vertices),
        normals=torch.where(changed, normals, pack.normals),
    )
