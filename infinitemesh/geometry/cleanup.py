"""From a raw iso-surface to a mesh worth texturing: no floaters, no hidden cavities, a budget of faces."""

from dataclasses import dataclass
from math import log

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from infinitemesh.errors import GenerationError, InputError

Triangles = tuple[Float[Tensor, "v 3"], Int[Tensor, "f 3"]]


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


def drop_small_components(
    vertices: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"], *, min_fraction: float = 0.01, drop_cavities: bool = True
) -> Triangles:
    """Keeps the largest piece, and those with at least `min_fraction` of all area or of all (absolute) volume.

    A cavity is a closed piece that faces inwards: nothing sees it, and it costs faces and texels.
    """
    if not 0 <= min_fraction <= 1:
        raise InputError(f"min_fraction is a share of the mesh in [0, 1], got {min_fraction}")
    if len(faces) == 0:
        return vertices, faces
    pieces = components(vertices, faces)
    size = pieces.volume.abs()
    keep = (pieces.area >= min_fraction * pieces.area.sum()) | (size >= min_fraction * size.sum())
    if drop_cavities:
        keep &= pieces.volume >= 0
    keep[pieces.area.argmax()] = True
    return select_faces(vertices, faces, keep[pieces.of_face].to(faces.device))


def select_faces(vertices: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"], keep: Bool[Tensor, " f"]) -> Triangles:
    """Some of the faces and the vertices that they use, in the same order."""
    kept = faces[keep]
    used = torch.zeros(len(vertices), dtype=torch.bool, device=faces.device)
    used[kept.flatten()] = True
    new_id = used.cumsum(0) - 1
    return vertices[used], new_id[kept]


def decimate(vertices: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"], target_faces: int) -> Triangles:
    """At most `target_faces` faces (or as few as shape allows), mostly 90 to 100 % of them.

    Closed manifold meshes stay so (manifold3d, by the coarsest tolerance that is needed). Others, and targets that this
    cannot reach, fall back to quadric decimation, which may leave some non-manifold edges. Runs on the CPU.
    """
    if target_faces < 4:
        raise InputError(f"a mesh needs a budget of at least 4 faces, got {target_faces}")
    if len(faces) <= target_faces:
        return vertices, faces
    simplified = _manifold_decimate(vertices, faces, target_faces)
    if simplified is None:
        simplified = _quadric_decimate(vertices, faces, target_faces)
    points, triangles = simplified
    return (
        torch.from_numpy(np.array(points, dtype=np.float32)).to(vertices),
        torch.from_numpy(np.array(triangles, dtype=np.int64)).to(faces),
    )


def _manifold_decimate(vertices: Tensor, faces: Tensor, target: int) -> tuple[np.ndarray, np.ndarray] | None:
    """None where the mesh is not manifold or no tolerance gives the target."""
    import manifold3d

    solid = manifold3d.Manifold(
        manifold3d.Mesh(
            vert_properties=vertices.detach().cpu().numpy().astype(np.float32),
            tri_verts=faces.cpu().numpy().astype(np.uint32),
        )
    )
    if solid.status() != manifold3d.Error.NoError:
        return None
    best = None
    span = float((vertices.amax(0) - vertices.amin(0)).max())
    low, high = 1e-6 * span, 0.1 * span  # tolerances known (or taken) to leave too many faces, and few enough
    low_count, high_count = solid.num_tri(), 4
    tolerance = 1e-3 * span
    for _ in range(12):
        simple = solid.simplify(tolerance)
        count = simple.num_tri()
        if count <= target:
            if count and (best is None or count > best.num_tri()):
                best = simple
            high, high_count = tolerance, max(count, 4)
        else:
            low, low_count = tolerance, count
        if 0.9 * target <= count <= target or high / low < 1.02:
            break
        tolerance = _between(low, high, low_count, high_count, target)
    if best is None:
        return None
    mesh = best.to_mesh()
    return mesh.vert_properties[:, :3], mesh.tri_verts


def _between(low: float, high: float, low_count: int, high_count: int, target: int) -> float:
    """Where a power law through both ends has 95 % of the target, kept off the ends (counts fall as 1 / tolerance)."""
    share = log(low_count / (0.95 * target)) / max(log(low_count / high_count), 1e-9)
    return low * (high / low) ** min(max(share, 0.1), 0.9)


def _quadric_decimate(vertices: Tensor, faces: Tensor, target: int) -> tuple[np.ndarray, np.ndarray]:
    import fast_simplification

    points, triangles = fast_simplification.simplify(
        vertices.detach().cpu().double().numpy(), faces.cpu().numpy(), target_count=target
    )[:2]
    a, b, c = triangles.T
    triangles = triangles[(a != b) & (b != c) & (c != a)]
    if len(triangles) == 0:
        raise GenerationError(
            f"decimation to {target} faces left nothing of {len(faces)} faces: raise the budget, or check the mesh"
        )
    return points, triangles
