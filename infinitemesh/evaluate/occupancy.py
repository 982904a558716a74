"""Which points of a grid are inside a mesh, by two definitions that a protocol chooses from."""

import numpy as np
import torch
from jaxtyping import Bool
from numpy.typing import NDArray
from torch import Tensor

from infinitemesh.errors import InputError
from infinitemesh.evaluate.winding import Soup, column_hits, grid_points, winding_grid
from infinitemesh.types import Mesh

JITTER = (3.1e-8, 5.3e-8)  # depth maps look this far (in pixels) beside the round numbers that vertices like to have


def occupancy_grid(
    mesh: Mesh, resolution: int = 64, *, half_extent: float = 0.5, definition: str = "winding"
) -> Bool[Tensor, "r r r"]:
    """Which of the `grid_points` are inside, indexed [x, y, z].

    `winding`: the generalised winding number exceeds 0.5. A shell scanned on both sides is its own material and its
    cavity is outside; a single sheet fills the part of its cavity that sees more sheet than opening; what is covered
    twice counts once; a surface that faces inwards encloses nothing.
    `visibility`: no orthographic depth map of 48 directions sees the point in front of the surface, which is how the
    training data decides. Orientation does not matter; closed cavities and deep, narrow openings are filled.
    """
    if definition == "winding":
        return winding_grid(mesh, resolution, half_extent=half_extent) > 0.5
    if definition == "visibility":
        return hidden_grid(mesh, resolution, half_extent=half_extent)
    raise InputError(f"inside can be decided by `winding` or by `visibility`, not by {definition!r}")


def hidden_grid(
    mesh: Mesh,
    resolution: int = 64,
    *,
    half_extent: float = 0.5,
    directions: int = 48,
    depth_resolution: int = 256,
    tolerance: float = 0.0,
) -> Bool[Tensor, "r r r"]:
    """Points that none of `directions` evenly spread orthographic depth maps sees in front of the surface."""
    triangles = Soup.weld(mesh).triangles
    points = grid_points(resolution, half_extent).reshape(-1, 3).numpy().astype(np.float64)
    hidden = np.ones(len(points), dtype=bool)
    reach = half_extent * np.sqrt(3)
    for rotation in _directions(directions):
        column, depth, _ = column_hits(triangles @ rotation.T, depth_resolution, reach, np.array(JITTER))
        nearest = np.full(depth_resolution**2, -np.inf)
        np.maximum.at(nearest, column, depth)
        at = points[hidden] @ rotation.T
        cell = ((at[:, :2] / reach + 1) / 2 * depth_resolution - 0.5).astype(np.int64).clip(0, depth_resolution - 2)
        corner = cell[:, 0] * depth_resolution + cell[:, 1]
        around = np.stack([nearest[corner + step] for step in (0, 1, depth_resolution, depth_resolution + 1)])
        hidden[hidden] = (
            at[:, 2] <= around.max(0) + tolerance
        )  # seen only past all four samples: no gaps at silhouettes
    return torch.from_numpy(hidden.reshape(resolution, resolution, resolution))


def _directions(count: int) -> NDArray[np.float64]:
    """Rotations into view frames whose backward axes cover the sphere evenly (a Fibonacci lattice)."""
    i = np.arange(count) + 0.5
    y, azimuth = 1 - 2 * i / count, i * np.pi * (3 - np.sqrt(5))
    back = np.stack([np.sin(azimuth) * np.sqrt(1 - y**2), y, np.cos(azimuth) * np.sqrt(1 - y**2)], axis=-1)
    right = np.stack([np.cos(azimuth), np.zeros(count), -np.sin(azimuth)], axis=-1)
    return np.stack([right, np.cross(back, right), back], axis=1)
