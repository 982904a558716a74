"""How a mesh hangs together: its pieces, its edges, its fans."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor


@dataclass(frozen=True)
class Components:
    """Pieces of a mesh that share no vertex, by number."""

    of_face: Int[Tensor, " f"]
    area: Float[Tensor, " k"]
    volume: Float[Tensor, " k"]  # signed: negative for a cavity, meaningless for an open piece


def components(vertices: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"]) -> Components:
    """On the CPU; sums are made in float64."""
    corners = faces.cpu().numpy()
    links = coo_matrix(
        (np.ones(2 * len(corners), dtype=bool), (corners[:, [0, 1]].ravel(), corners[:, [1, 2]].ravel())),
        shape=(len(vertices), len(vertices)),
    )
    of_vertex = connected_components(links, directed=False)[1]
    labels, of_face = np.unique(of_vertex[corners[:, 0]], return_inverse=True)
    a, b, c = vertices.detach().cpu().double()[faces.cpu()].unbind(1)
    normal = torch.linalg.cross(b - a, c - a)
    number = torch.from_numpy(of_face.reshape(-1))
    zeros = torch.zeros(len(labels), dtype=torch.float64)
    return Components(
        number,
        zeros.index_add(0, number, normal.norm(dim=-1) / 2),
        zeros.index_add(0, number, (a * normal).sum(-1) / 6),
    )


@dataclass(frozen=True)
class Topology:
    """Counts over the faces' vertex numbers; faces with a vertex twice must be taken out before."""

    boundary_edges: int
    non_manifold_edges: int
    non_manifold_vertices: int  # fans beyond the first at a vertex
    non_manifold_vertices: int
    winding_consistent: bool  # no edge is walked twice in the same direction
    balanced: bool  # every edge is walked as often one way as the other: closed
    euler_number: int

    @property
    def manifold(self) -> bool:
        return self.non_manifold_edges == 0 and self.non_manifold_vertices == 0


def topology(faces: Int[Tensor, "f 3"]) -> Topology:
    walks = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    keys = walks.amin(1) * (int(faces.max()) + 1 if len(faces) else 1) + walks.amax(1)
    _, edge, counts = keys.unique(return_inverse=True, return_counts=True)
    upward = torch.zeros_like(counts).index_add(0, edge, (walks[:, 0] < walks[:, 1]).long())
    num_vertices = len(faces.unique())
    return Topology(
        boundary_edges=int((counts == 1).sum()),
        non_manifold_edges=int((counts > 2).sum()),
        non_manifold_vertices=_num_fans(faces, edge, counts) - num_vertices,
        winding_consistent=bool((upward <= 1).all() and (counts - upward <= 1).all()),
        balanced=bool((2 * upward == counts).all()),
        euler_number=num_vertices - len(counts) + len(faces),
    )


def _num_fans(faces: Int[Tensor, "f 3"], edge: Int[Tensor, " 3*f"], counts: Int[Tensor, " e"]) -> int:
    """Runs of faces around vertices that hang together by edges: one a vertex where the mesh is manifold.

    `edge` numbers the faces' sides as `topology` walks them: all first sides, all second ones, all third ones.
    """
    side = torch.arange(3 * len(faces)).reshape(3, -1)  # the corner where a side starts has the side's number
    start, end = side.flatten(), side.roll(-1, dims=0).flatten()
    order = edge.argsort(stable=True)
    first = order[(counts.cumsum(0) - counts)[counts >= 2]]
    second = order[(counts.cumsum(0) - counts + 1)[counts >= 2]]
    vertex = torch.cat([faces[:, 0], faces[:, 1], faces[:, 2]])
    opposed = vertex[start[first]] == vertex[end[second]]
    one = torch.cat([start[first], end[first]])
    other = torch.cat(
        [torch.where(opposed, end[second], start[second]), torch.where(opposed, start[second], end[second])]
    )
    links = coo_matrix((np.ones(len(one), dtype=bool), (one.numpy(), other.numpy())), shape=2 * (3 * len(faces),))
    return connected_components(links, directed=False)[0]
