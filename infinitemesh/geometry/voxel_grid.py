"""The regular grid under FlexiCubes by index arithmetic: nothing is sorted and nothing need be stored.

A grid of resolution r has (r + 1)^3 points and r^3 cubes, numbered lexicographically with x slowest and z fastest.
Corner i of a cube sits at the bits of i: x = i & 1, y = i >> 1 & 1, z = i >> 2 & 1.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from infinitemesh.errors import InputError


@dataclass(frozen=True)
class VoxelGrid:
    """A grid over the cube [-half_extent, half_extent]^3, in world units."""

    resolution: int
    half_extent: float = 1.0

    def __post_init__(self):
        if self.resolution < 1:
            raise InputError(f"a voxel grid needs a resolution of at least 1, got {self.resolution}")
        if not self.half_extent > 0:
            raise InputError(f"a voxel grid needs a positive half extent, got {self.half_extent}")

    @property
    def num_points(self) -> int:
        return (self.resolution + 1) ** 3

    @property
    def num_cubes(self) -> int:
        return self.resolution**3

    @property
    def cell(self) -> float:
        """Side of a cube in world units."""
        return 2 * self.half_extent / self.resolution

    @property
    def point_strides(self) -> tuple[int, int, int]:
        """Steps of the point number along x, y, z."""
        n = self.resolution + 1
        return n * n, n, 1

    def points(
        self, ids: Int[Tensor, " p"] | None = None, *, device: torch.device | str = "cpu"
    ) -> Float[Tensor, "p 3"]:
        """World positions of some points, or of all."""
        if ids is None:
            ids = torch.arange(self.num_points, device=device)
        return (self.point_coordinates(ids).float() / self.resolution - 0.5) * (2 * self.half_extent)

    def point_coordinates(self, ids: Int[Tensor, " p"]) -> Int[Tensor, "p 3"]:
        """Integer (x, y, z) in [0, resolution]."""
        return _unravel(ids, self.resolution + 1)

    def cube_coordinates(self, ids: Int[Tensor, " c"]) -> Int[Tensor, "c 3"]:
        """Integer (x, y, z) in [0, resolution)."""
        return _unravel(ids, self.resolution)

    def cubes(self, ids: Int[Tensor, " c"] | None = None, *, device: torch.device | str = "cpu") -> Int[Tensor, "c 8"]:
        """Point numbers of the corners of some cubes, or of all."""
        if ids is None:
            ids = torch.arange(self.num_cubes, device=device)
        first = (self.cube_coordinates(ids) * torch.tensor(self.point_strides, device=ids.device)).sum(-1)
        return first[:, None] + self.corner_offsets(ids.device)

    def corner_offsets(self, device: torch.device | str = "cpu") -> Int[Tensor, "8"]:
        """What to add to a cube's first point number to reach its corners."""
        x, y, z = self.point_strides
        return torch.tensor([(i & 1) * x + (i >> 1 & 1) * y + (i >> 2 & 1) * z for i in range(8)], device=device)

    def cube_ids(self, first_points: Int[Tensor, " c"]) -> Int[Tensor, " c"]:
        """Numbers of the cubes that start at these points."""
        x, y, z = self.point_coordinates(first_points).unbind(-1)
        return (x * self.resolution + y) * self.resolution + z

    def border(self, *, device: torch.device | str = "cpu") -> Bool[Tensor, " p"]:
        """True at the points of the grid's six sides."""
        n = self.resolution + 1
        mask = torch.ones(n, n, n, dtype=torch.bool, device=device)
        mask[1:-1, 1:-1, 1:-1] = False
        return mask.flatten()

    def surface_cube_ids(self, sdf: Float[Tensor, " p"]) -> Int[Tensor, " s"]:
        """Cubes with corners on both sides, in order; `sdf` has one value a point, negative inside."""
        n = self.resolution + 1
        count = (sdf < 0).reshape(n, n, n).to(torch.uint8)
        for axis in range(3):  # inside corners of each cube, one axis at a time
            count = count.narrow(axis, 0, self.resolution) + count.narrow(axis, 1, self.resolution)
        return ((count > 0) & (count < 8)).flatten().nonzero()[:, 0]


def _unravel(ids: Int[Tensor, " n"], size: int) -> Int[Tensor, "n 3"]:
    rest, z = ids // size, ids % size
    return torch.stack([rest // size, rest % size, z], dim=-1)
