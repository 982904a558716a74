"""Features of a triplane at points (planes xy, xz, zy, as in the published model)."""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from infinitemesh.geometry.bilinear import can_gather, gather_bilinear

PLANE_AXES = ((0, 1), (0, 2), (2, 1))  # (column, row) axes of each plane, as in InstantMesh


def sample_triplane(
    planes: Float[Tensor, "b 3 c h w"], points: Float[Tensor, "b n 3"], *, padding: str = "zeros"
) -> Float[Tensor, "b n 3*c"]:
    """Features at points of [-1, 1]^3, from the (x, y), (x, z) and (z, y) planes in that order (align_corners False).

    `padding` is grid_sample's: "zeros" or "border" beyond the planes.
    """
    return (_gathered if can_gather(padding, planes, points) else _interpolated)(planes, points, padding)


def _interpolated(planes: Tensor, points: Tensor, padding: str) -> Tensor:
    columns_rows = points[..., torch.tensor(PLANE_AXES, device=points.device)]  # b n plane 2
    features = F.grid_sample(
        rearrange(planes, "b plane c h w -> (b plane) c h w").to(points.dtype),  # coordinates in bf16 miss by a texel
        rearrange(columns_rows, "b n plane uv -> (b plane) n 1 uv"),
        mode="bilinear",
        padding_mode=padding,
        align_corners=False,
    )
    return rearrange(features, "(b plane) c n 1 -> b n (plane c)", plane=3)


def _gathered(planes: Tensor, points: Tensor, padding: str) -> Tensor:
    columns, rows = (torch.stack([points[..., axes[k]] for axes in PLANE_AXES], dim=-1) for k in (0, 1))
    images = rearrange(planes, "b plane c h w -> (b plane) c h w")
    which = rearrange(torch.arange(len(images)), "(b plane) -> b 1 plane", plane=3)
    return rearrange(gather_bilinear(images, which, columns, rows, padding=padding), "b n plane c -> b n (plane c)")
