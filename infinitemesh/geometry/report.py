"""What a mesh is like: closed, manifold, in how many pieces, how large, how much of its texture it uses."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from infinitemesh.geometry.cleanup import components
from infinitemesh.types import Mesh


@dataclass(frozen=True, kw_only=True)
class MeshReport:
    """Topology is that of positions: vertices that texture seams doubled count once."""

    vertices: int
    faces: int
    components: int
    watertight: bool  # every edge is walked as often one way as the other
    manifold: bool  # at most two faces at every edge, one fan of faces at every vertex
    winding_consistent: bool  # no edge is walked twice in the same direction
    boundary_edges: int
    non_manifold_edges: int
    non_manifold_vertices: int  # fans beyond the first at a vertex
    degenerate_faces: int  # without area, or with a vertex twice
    euler_number: int  # vertices - edges + faces: 2 a sphere-like piece, 0 a torus-like one
    genus: int | None  # handles over all pieces; None for an open or non-manifold mesh
    volume: float  # world units; negative if the mesh is inside out
    area: float
    texel_coverage: float | None  # share of the texture under faces, if charts do not overlap; None without texture

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        closed = "watertight" if self.watertight else f"open ({self.boundary_edges:,} boundary edges)"
        manifold = (
            "manifold"
            if self.manifold
            else f"not manifold ({self.non_manifold_edges:,} edges, {self.non_manifold_vertices:,} vertices)"
        )
        winding = "consistent winding" if self.winding_consistent else "inconsistent winding"
        pieces = "1 component" if self.components == 1 else f"{self.components:,} components"
        genus = "" if self.genus is None else f", genus {self.genus}"
        lines = [
            f"{self.faces:,} faces, {self.vertices:,} vertices, {pieces}",
            f"{closed}, {manifold}, {winding}",
            f"Euler number {self.euler_number}{genus}; volume {self.volume:.4g}, area {self.area:.4g}",
        ]
        if self.degenerate_faces:
            lines.append(f"{self.degenerate_faces:,} degenerate faces")
        if self.texel_coverage is not None:
            lines.append(f"{self.texel_coverage:.0%} of the texture used")
        return "\n".join(lines)


def mesh_report(mesh: Mesh) -> MeshReport:
    """Measured on the CPU; 0.1 to 0.2 s for 30,000 faces."""
    faces = mesh.faces.detach().cpu()
    corners = mesh.vertices.detach().cpu().double()[faces]
    areas = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=-1) / 2
    positions, welded = _welded(mesh.vertices.detach().cpu(), faces)
    a, b, c = welded.unbind(1)
    collapsed = (a == b) | (b == c) | (c == a)
    topology = _topology(welded[~collapsed])
    pieces = components(positions, welded[~collapsed])
    closed = topology.boundary_edges == 0 and topology.balanced and len(faces) > 0
    manifold = topology.non_manifold_edges == 0 and topology.non_manifold_vertices == 0
    return MeshReport(
        vertices=len(mesh.vertices),
        faces=len(faces),
        components=len(pieces.area),
        watertight=closed,
        manifold=manifold,
        winding_consistent=topology.winding_consistent,
        boundary_edges=topology.boundary_edges,
        non_manifold_edges=topology.non_manifold_edges,
        non_manifold_vertices=topology.non_manifold_vertices,
        degenerate_faces=int((collapsed | (areas == 0)).sum()),
        euler_number=topology.euler_number,
        genus=len(pieces.area) - topology.euler_number // 2 if closed and manifold else None,
        volume=float(pieces.volume.sum()),
        area=float(areas.sum()),
        texel_coverage=None if mesh.texture is None or mesh.uv is None else _uv_area(mesh.uv.detach().cpu()[faces]),
    )


@dataclass(frozen=True)
class _Topology:
    boundary_edges: int
    non_manifold_edges: int
    non_manifold_vertices: int  # fans beyond the first at a vertex
    non_manifold_vertices: int
    winding_consistent: bool
    balanced: bool  # every edge is walked as often one way as the other
    euler_number: int


def _topology(faces: Int[Tensor, "f 3"]) -> _Topology:
    walks = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    keys = walks.amin(1) * (int(faces.max()) + 1 if len(faces) else 1) + walks.amax(1)
    _, edge, counts = keys.unique(return_inverse=True, return_counts=True)
    upward = torch.zeros_like(counts).index_add(0, edge, (walks[:, 0] < walks[:, 1]).long())
    num_vertices = len(faces.unique())
    return _Topology(
        boundary_edges=int((counts == 1).sum()),
        non_manifold_edges=int((counts > 2).sum()),
        non_manifold_vertices=_num_fans(faces, edge, counts) - num_vertices,
        winding_consistent=bool((upward <= 1).all() and (counts - upward <= 1).all()),
        balanced=bool((2 * upward == counts).all()),
        euler_number=num_vertices - len(counts) + len(faces),
    )


def _num_fans(faces: Int[Tensor, "f 3"], edge: Int[Tensor, " 3*f"], counts: Int[Tensor, " e"]) -> int:
    """Runs of faces around vertices that hang together by edges: one a vertex where the mesh is manifold.

    `edge` numbers the faces' sides as `_topology` walks them: all first sides, all second ones, all third ones.
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


def _welded(
    vertices: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"]
) -> tuple[Float[Tensor, "u 3"], Int[Tensor, "f 3"]]:
    """Vertices at exactly the same place as one."""
    positions, number = vertices.unique(dim=0, return_inverse=True)
    return positions, number[faces]


def _uv_area(triangles: Float[Tensor, "f 3 2"]) -> float:
    along, across = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    return float((along[:, 0] * across[:, 1] - along[:, 1] * across[:, 0]).abs().sum() / 2)
