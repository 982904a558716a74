"""Vertex normals, and which vertices are one point: in torch for rendering (differentiable), in numpy for files."""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from infinitemesh.steps import step


def vertex_normals(vertices: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"]) -> Float[Tensor, "v 3"]:
    """Unit normals, faces weighted by area; zero where a vertex has no face or its faces cancel. Differentiable."""
    corner = faces.reshape(-1).long()
    a, b, c = vertices.index_select(0, corner).reshape(-1, 3, 3).unbind(1)
    twice_area = torch.linalg.cross(b - a, c - a)
    at_corners = twice_area[:, None].expand(-1, 3, -1).reshape(-1, 3)
    return F.normalize(torch.zeros_like(vertices).index_add(0, corner, at_corners), dim=-1, eps=1e-20)


def same_point(vertices: Float[Tensor, "v 3"]) -> Int[Tensor, " v"]:
    """For every vertex the first one at exactly its position: `same_point(v)[faces]` is the mesh without seams.

    Files split vertices where texture coordinates or normals jump; outlines and smooth normals need them joined.
    """
    label = vertices.new_zeros(len(vertices), dtype=torch.int64)
    for axis in range(3):
        coordinate = torch.unique(vertices[:, axis].detach(), return_inverse=True)[1]
        label = torch.unique(label * len(vertices) + coordinate, return_inverse=True)[1]
    index = torch.arange(len(vertices), device=vertices.device)
    first = torch.full_like(index, len(vertices)).scatter_reduce(0, label, index, "amin")
    return first[label]


@step("smooth normals")
def smooth_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit area-weighted vertex normals [v, 3]; vertices at one place (a texture seam) share theirs.

    A vertex without area, or whose faces cancel, points up.
    """
    place = places(vertices)
    corners = vertices.astype(np.float64)[faces]
    twice_area = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    count = place.max() + 1 if len(place) else 0
    at_place = np.stack(
        [np.bincount(place[faces].ravel(), np.repeat(twice_area[:, i], 3), minlength=count) for i in range(3)], axis=1
    )
    length = np.linalg.norm(at_place, axis=1, keepdims=True)
    usable = length > 1e-30
    unit = np.where(usable, at_place / np.where(usable, length, 1), [0.0, 1.0, 0.0])
    return unit[place].astype(np.float32)


def places(vertices: np.ndarray) -> np.ndarray:
    """[v] numbers from 0 on, equal where two vertices have exactly the same position."""
    rows = np.ascontiguousarray(vertices.astype(np.float32) + np.float32(0))  # -0 becomes 0
    _, place = np.unique(rows.view("V12").ravel(), return_inverse=True)
    return place.ravel()
