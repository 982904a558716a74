"""What a mesh is like: closed, manifold, in how many pieces, how large, how much of its texture it uses."""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from infinitemesh.geometry.topology import components, topology
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
    shape = topology(welded[~collapsed])
    pieces = components(positions, welded[~collapsed])
    closed = shape.balanced and len(faces) > 0
    return MeshReport(
        vertices=len(mesh.vertices),
        faces=len(faces),
        components=len(pieces.area),
        watertight=closed,
        manifold=shape.manifold,
        winding_consistent=shape.winding_consistent,
        boundary_edges=shape.boundary_edges,
        non_manifold_edges=shape.non_manifold_edges,
        non_manifold_vertices=shape.non_manifold_vertices,
        degenerate_faces=int((collapsed | (areas == 0)).sum()),
        euler_number=shape.euler_number,
        genus=len(pieces.area) - shape.euler_number // 2 if closed and shape.manifold else None,
        volume=float(pieces.volume.sum()),
        area=float(areas.sum()),
        texel_coverage=None if mesh.texture is None or mesh.uv is None else _uv_area(mesh.uv.detach().cpu()[faces]),
    )


def _welded(
    vertices: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"]
) -> tuple[Float[Tensor, "u 3"], Int[Tensor, "f 3"]]:
    """Vertices at exactly the same place as one."""
    positions, number = vertices.unique(dim=0, return_inverse=True)
    return positions, number[faces]


def _uv_area(triangles: Float[Tensor, "f 3 2"]) -> float:
    along, across = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    return float((along[:, 0] * across[:, 1] - along[:, 1] * across[:, 0]).abs().sum() / 2)
