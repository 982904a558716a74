"""How a mesh hangs together: its pieces, its edges, its fans."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from infinitemesh.steps import step


@dataclass(frozen=True)
class Components:
    """Pieces of a mesh that share no vertex, by number."""

    of_face: Int[Tensor, " f"]
    area: Float[Tensor, " k"]
    volume: Float[Tensor, " k"]  # signed: negative for a cavity, meaningless for an open piece


@step("components")
def components(vertices: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"]) -> Components:
    """On the mesh's device where that is CUDA, else on the CPU; sums are made in float64."""
    if faces.device.type != "cuda":
        vertices, faces = vertices.cpu(), faces.cpu()
    of_vertex = connected(len(vertices), torch.cat([faces[:, :2], faces[:, 1:]]).long())
    labels, number = of_vertex[faces[:, 0]].unique(return_inverse=True)
    a, b, c = vertices.detach().double()[faces].unbind(1)
    normal = torch.linalg.cross(b - a, c - a)
    zeros = torch.zeros(len(labels), dtype=torch.float64, device=faces.device)
    return Components(
        number,
        zeros.index_add(0, number, normal.norm(dim=-1) / 2),
        zeros.index_add(0, number, (a * normal).sum(-1) / 6),
    )


def connected(num_nodes: int, pairs: Int[Tensor, "e 2"]) -> Int[Tensor, " n"]:
    """Which piece of an undirected graph each node is in; pieces are numbered in the order of their first nodes."""
    if pairs.device.type == "cuda":
        return _connected_by_labels(num_nodes, pairs)
    one, other = pairs.cpu().numpy().T
    links = coo_matrix((np.ones(len(one), dtype=bool), (one, other)), shape=(num_nodes, num_nodes))
    number = connected_components(links, directed=False)[1]
    return torch.from_numpy(number.astype(np.int64)).to(pairs.device)


def _connected_by_labels(num_nodes: int, pairs: Int[Tensor, "e 2"]) -> Int[Tensor, " n"]:
    """Roots hook onto the lowest root beside them and paths halve, until nothing moves: about ten rounds."""
    label = torch.arange(num_nodes, device=pairs.device)
    while True:
        roots = label[pairs]
        lowest = roots.amin(1, keepdim=True).expand_as(roots)
        hooked = label.scatter_reduce(0, roots.flatten(), lowest.flatten(), "amin")
        for _ in range(3):
            hooked = hooked[hooked]
        if torch.equal(hooked, label):
            return label.unique(return_inverse=True)[1]
        label = hooked


@dataclass(frozen=True)
class Topology:
    """Counts over the faces' vertex numbers; faces with a vertex twice must be taken out before."""

    boundary_edges: int
    non_manifold_edges: int
    non_manifold_vertices: int  # fans beyond the first at a vertex
    winding_consistent: bool  # no edge is walked twice in the same direction
    balanced: bool  # every edge is walked as often one way as the other: closed
    euler_number: int

    @property
    def manifold(self) -> bool:
        return self.non_manifold_edges == 0 and self.non_manifold_vertices == 0


@step("topology")
def topology(faces: Int[Tensor, "f 3"]) -> Topology:
    """On the faces' device."""
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
    side = torch.arange(3 * len(faces), device=faces.device).reshape(3, -1)  # a corner has the number of its side
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
    return int(connected(3 * len(faces), torch.stack([one, other], dim=1)).max()) + 1 if len(faces) else 0
