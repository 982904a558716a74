"""From a raw iso-surface to a mesh worth texturing: no floaters, no hidden cavities, a budget of faces."""

from itertools import product
from math import log

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from infinitemesh.errors import GenerationError, InputError
from infinitemesh.geometry.topology import Components, Topology, components, topology
from infinitemesh.steps import step
from infinitemesh.turns import aside

Triangles = tuple[Float[Tensor, "kept_v 3"], Int[Tensor, "kept_f 3"]]  # what a function returns
AGGRESSIVENESS = (5.0, 3.0, 7.0)  # tried in this order: 3 keeps topology most often but misses small budgets

NEARLY = (1.0, 0.97, 0.94)  # shares of the budget to try: another order of collapses is another chance


def drop_small_components(
    vertices: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"], *, min_fraction: float = 0.01, drop_cavities: bool = True
) -> Triangles:
    """Keeps the largest piece, and those with at least `min_fraction` of all area or of all (absolute) volume.

    A cavity is a closed piece that faces inwards: nothing sees it, and it costs faces and texels.
    """
    pieces = components(vertices, faces)
    keep = large_components(pieces, min_fraction=min_fraction, drop_cavities=drop_cavities)
    return select_faces(vertices, faces, keep[pieces.of_face].to(faces.device))


def large_components(
    pieces: Components, *, min_fraction: float = 0.01, drop_cavities: bool = True
) -> Bool[Tensor, " k"]:
    """Which pieces `drop_small_components` keeps."""
    if not 0 <= min_fraction <= 1:
        raise InputError(f"min_fraction is a share of the mesh in [0, 1], got {min_fraction}")
    size = pieces.volume.abs()
    keep = (pieces.area >= min_fraction * pieces.area.sum()) | (size >= min_fraction * size.sum())
    if drop_cavities:
        keep &= pieces.volume >= 0
    if len(keep):
        keep[pieces.area.argmax()] = True
    return keep


def select_faces(vertices: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"], keep: Bool[Tensor, " f"]) -> Triangles:
    """Some of the faces and the vertices that they use, in the same order."""
    kept = faces[keep]
    used = torch.zeros(len(vertices), dtype=torch.bool, device=faces.device)
    used[kept.flatten()] = True
    new_id = used.cumsum(0) - 1
    return vertices[used], new_id[kept]


@step("decimate")
def decimate(vertices: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"], target_faces: int) -> Triangles:
    """At most `target_faces` faces, mostly 90 to 100 % of them, or as few as a method can reach. On the CPU.

    A closed manifold mesh keeps its topology: by quadric decimation where the result has it (at 3,000 faces its volume
    is three times nearer), else by manifold3d. Only a mesh that neither can bring to its budget, or one that was
    open or non-manifold to begin with, may gain a few non-manifold edges.
    """
    if target_faces < 4:
        raise InputError(f"a mesh needs a budget of at least 4 faces, got {target_faces}")
    if len(faces) <= target_faces:
        return vertices, faces
    before = topology(faces)
    points, triangles = (
        _closed_decimate(vertices, faces, target_faces, before)
        if before.manifold and before.balanced
        else _quadric_decimate(vertices, faces, target_faces)
    )
    if len(triangles) == 0:
        raise GenerationError(
            f"decimation to {target_faces} faces left nothing of {len(faces)}: raise the budget, or check the mesh"
        )
    return (
        torch.from_numpy(np.array(points, dtype=np.float32)).to(vertices),
        torch.from_numpy(np.array(triangles, dtype=np.int64)).to(faces),
    )


def _closed_decimate(vertices: Tensor, faces: Tensor, target: int, before: Topology) -> tuple[np.ndarray, np.ndarray]:
    for share, aggressiveness in product(NEARLY, AGGRESSIVENESS):
        points, triangles = _quadric_decimate(vertices, faces, int(share * target), aggressiveness)
        after = topology(torch.from_numpy(triangles.astype(np.int64)).to(faces.device))
        same = after.manifold and after.balanced and after.euler_number == before.euler_number
        if same and len(triangles) <= target:
            return points, triangles
    simplified = _manifold_decimate(vertices, faces, target)
    return _quadric_decimate(vertices, faces, target) if simplified is None else simplified


@step("manifold3d")
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
    low, high = 1e-6 * span, 1e-2 * span  # taken to leave too many faces, and few enough; beyond, counts rise again
    low_count, high_count = solid.num_tri(), 4
    tolerance = 1e-3 * span
    for _ in range(12):
        with aside():
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


@step("quadrics")
def _quadric_decimate(
    vertices: Tensor, faces: Tensor, target: int, aggressiveness: float = AGGRESSIVENESS[0]
) -> tuple[np.ndarray, np.ndarray]:
    import fast_simplification

    dense = vertices.detach().cpu().double().numpy(), faces.cpu().numpy()
    with aside():
        points, triangles = fast_simplification.simplify(*dense, target_count=target, agg=aggressiveness)[:2]
    a, b, c = triangles.T
    return points, triangles[(a != b) & (b != c) & (c != a)]
