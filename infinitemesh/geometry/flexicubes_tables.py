"""The case tables of dual marching cubes, derived from the cube's geometry instead of stored.

Corner i of a cube sits at the bits of i: x = i & 1, y = i >> 1 & 1, z = i >> 2 & 1. A case is the 8-bit set of inside
corners. On each face the crossing edges are linked, two at a time, around the corners that are inside; a connected
group of linked edges is one piece of surface and gets one dual vertex.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Bool, Int
from torch import Tensor

EDGE_CORNERS = (
    *((0, 1), (1, 5), (4, 5), (0, 4)),
    *((2, 3), (3, 7), (6, 7), (2, 6)),
    *((2, 0), (3, 1), (7, 5), (6, 4)),
)  # the published order: FlexiCubes' beta belongs to edges in this order
NUM_CASES = 256


@dataclass(frozen=True)
class CaseTables:
    """One row a case. Constant; do not write to the tensors."""

    num_duals: Int[Tensor, "256"]  # dual vertices in the cube, 0 to 4
    dual_of_edge: Int[Tensor, "256 12"]  # which of them an edge belongs to; -1 where the edge does not cross
    is_ambiguous: Bool[Tensor, "256"]  # its surface may be non-manifold across its one ambiguous face
    ambiguous_direction: Int[Tensor, "256 3"]  # outward direction of that face; 0 elsewhere

    def to(self, device: torch.device | str) -> "CaseTables":
        return CaseTables(
            self.num_duals.to(device),
            self.dual_of_edge.to(device),
            self.is_ambiguous.to(device),
            self.ambiguous_direction.to(device),
        )


@lru_cache(maxsize=8)
def case_tables(device: torch.device | str = "cpu") -> CaseTables:
    """The tables on a device, made once."""
    if torch.device(device).type != "cpu":
        return case_tables().to(device)
    groups = [_edge_groups(case) for case in range(NUM_CASES)]
    dual_of_edge = torch.full((NUM_CASES, 12), -1, dtype=torch.int64)
    direction = torch.zeros(NUM_CASES, 3, dtype=torch.int64)
    for case, case_groups in enumerate(groups):
        for dual, edges in enumerate(case_groups):
            dual_of_edge[case, list(edges)] = dual
        # Both lines on the ambiguous face lead to one dual vertex. If the neighbour across the face is alike, the mesh
        # edge between the two would belong to four quads; the complement's grouping avoids that (Wenger, 2013).
        ambiguous = [face for face in range(6) if _num_crossing(case, face) == 4]
        if len(ambiguous) == 1 and len(case_groups) == 1 and len(groups[NUM_CASES - 1 - case]) == 2:
            axis, side = divmod(ambiguous[0], 2)
            direction[case, axis] = 2 * side - 1
    return CaseTables(
        num_duals=torch.tensor([len(case_groups) for case_groups in groups]),
        dual_of_edge=dual_of_edge,
        is_ambiguous=direction.any(dim=1),
        ambiguous_direction=direction,
    )


def face_corners(face: int) -> list[int]:
    """Corners of face 2 * axis + side."""
    axis, side = divmod(face, 2)
    return [corner for corner in range(8) if corner >> axis & 1 == side]


def face_edges(face: int) -> list[int]:
    corners = set(face_corners(face))
    return [edge for edge, ends in enumerate(EDGE_CORNERS) if corners.issuperset(ends)]


def crosses(case: int, edge: int) -> bool:
    a, b = EDGE_CORNERS[edge]
    return (case >> a & 1) != (case >> b & 1)


def _num_crossing(case: int, face: int) -> int:
    return sum(crosses(case, edge) for edge in face_edges(face))


def _edge_groups(case: int) -> list[tuple[int, ...]]:
    """Crossing edges that one piece of surface passes through, ordered by their first edge."""
    group = {edge: {edge} for edge in range(12) if crosses(case, edge)}
    for a, b in (link for face in range(6) for link in _links(case, face)):
        merged = group[a] | group[b]
        group.update(dict.fromkeys(merged, merged))
    return sorted({tuple(sorted(edges)) for edges in group.values()})


def _links(case: int, face: int) -> list[tuple[int, int]]:
    """Pairs of crossing edges that a face's surface lines join; on an ambiguous face inside corners stay apart."""
    crossing = [edge for edge in face_edges(face) if crosses(case, edge)]
    if len(crossing) == 2:
        return [(crossing[0], crossing[1])]
    inside = [corner for corner in face_corners(face) if case >> corner & 1] if len(crossing) == 4 else []
    at_corner = [[edge for edge in crossing if corner in EDGE_CORNERS[edge]] for corner in inside]
    return [(edges[0], edges[1]) for edges in at_corner]
