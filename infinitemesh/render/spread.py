"""Values known at some points of space, carried smoothly to others: pull and push over a pyramid of voxel grids."""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from infinitemesh.steps import step

CELLS = 32
PRIOR_POINTS = 8.0  # so many points' worth of the coarser level's value are mixed into every cell


@step("spread")
def spread(
    points: Float[Tensor, "p 3"], values: Float[Tensor, "p c"], at: Float[Tensor, "q 3"]
) -> Float[Tensor, "q c"]:
    """Near the points their local mean, far from them the mean of a wider neighbourhood; 0 if there are no points."""
    low = torch.cat([points, at]).amin(0)
    side = (torch.cat([points, at]).amax(0) - low).amax().clamp(min=1e-6)
    cell = ((points - low) / side * CELLS).long().clamp(0, CELLS - 1)
    index = (cell[:, 2] * CELLS + cell[:, 1]) * CELLS + cell[:, 0]
    sums = values.new_zeros(CELLS**3, values.shape[1] + 1)
    sums.index_add_(0, index, torch.cat([values, torch.ones_like(values[:, :1])], dim=1))
    pulled = [rearrange(sums, "(z y x) c -> 1 c z y x", z=CELLS, y=CELLS)]
    while pulled[-1].shape[-1] > 1:
        pulled.append(8 * F.avg_pool3d(pulled[-1], 2))
    pushed = torch.zeros_like(pulled[-1][:, :-1])
    for level in reversed(pulled):
        total, count = level[:, :-1], level[:, -1:]
        coarser = F.interpolate(pushed, size=level.shape[-3:], mode="trilinear", align_corners=False)
        pushed = (total + PRIOR_POINTS * coarser) / (count + PRIOR_POINTS)
    xyz = rearrange((at - low) / side * 2 - 1, "q xyz -> 1 1 1 q xyz")
    return rearrange(F.grid_sample(pushed, xyz, padding_mode="border", align_corners=False), "1 c 1 1 q -> q c")
