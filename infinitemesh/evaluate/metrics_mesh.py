"""Distances between two meshes. Every definition that published tables leave open is fixed here, in a docstring.

Nothing here aligns or rescales: both meshes are compared in the frame they come in (`evaluate.align`).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from infinitemesh.errors import InputError
from infinitemesh.types import Mesh

ChamferKind = Literal["mean", "sum", "squared"]


@dataclass(frozen=True)
class SurfaceSamples:
    """Points spread evenly over a surface, with the unit normals of the faces they lie on."""

    points: Float[Tensor, "n 3"]
    normals: Float[Tensor, "n 3"]


@dataclass(frozen=True)
class SurfaceDistances:
    """For every sample of one surface the distance to the other's nearest sample and |cos| between their normals."""

    to_truth: Float[Tensor, " n"]  # from the result's samples
    to_result: Float[Tensor, " m"]  # from the truth's samples
    to_truth_cosine: Float[Tensor, " n"]
    to_result_cosine: Float[Tensor, " m"]


def sample_surface(mesh: Mesh, count: int = 100_000, *, seed: int = 0) -> SurfaceSamples:
    """Points uniform by area, the same for the same mesh and seed; raises InputError where there is no area.

    Stratified over the surface (one point in each of `count` equal shares of the area, faces in their order), which
    covers more evenly than independent draws; the point within a face is uniform.
    """
    corners = mesh.vertices.detach().cpu().double()[mesh.faces.cpu()]
    cross = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = cross.norm(dim=-1) / 2
    reached = area.cumsum(0)
    if not len(area) or not float(reached[-1]) > 0:
        raise InputError(f"the mesh has {len(mesh.faces)} faces and no area, so no surface can be sampled")
    generator = torch.Generator().manual_seed(seed)
    draw = torch.rand(3, count, generator=generator, dtype=torch.float64)
    share = (torch.arange(count) + draw[0]) / count * reached[-1]
    face = torch.searchsorted(reached, share, right=True).clamp(max=len(area) - 1)
    root, along = draw[1].sqrt(), draw[2]
    weights = torch.stack([1 - root, root * (1 - along), root * along], dim=-1)
    points = (corners[face] * weights[..., None]).sum(1)
    return SurfaceSamples(points.float(), torch.nn.functional.normalize(cross, dim=-1)[face].float())


def surface_distances(result: SurfaceSamples, truth: SurfaceSamples) -> SurfaceDistances:
    """Nearest neighbours both ways, by KD-trees in double precision."""
    from scipy.spatial import KDTree

    result_points, truth_points = (s.points.numpy().astype(np.float64) for s in (result, truth))
    to_truth, truth_index = KDTree(truth_points).query(result_points)
    to_result, result_index = KDTree(result_points).query(truth_points)
    forth = (result.normals * truth.normals[torch.from_numpy(truth_index)]).sum(-1).abs()
    back = (truth.normals * result.normals[torch.from_numpy(result_index)]).sum(-1).abs()
    return SurfaceDistances(torch.from_numpy(to_truth).float(), torch.from_numpy(to_result).float(), forth, back)


def chamfer_distance(distances: SurfaceDistances, kind: ChamferKind = "mean") -> float:
    """`mean`: half the sum of the two one-way mean distances. `sum`: their sum. `squared`: the sum of mean squares."""
    forth, back = distances.to_truth.double(), distances.to_result.double()
    if kind == "squared":
        return float(forth.square().mean() + back.square().mean())
    total = float(forth.mean() + back.mean())
    return total / 2 if kind == "mean" else total


def f_score(distances: SurfaceDistances, threshold: float = 0.05) -> float:
    """Harmonic mean of precision (result within `threshold` of the truth) and recall (the other way), in [0, 1]."""
    precision = float((distances.to_truth <= threshold).double().mean())
    recall = float((distances.to_result <= threshold).double().mean())
    return 2 * precision * recall / max(precision + recall, 1e-12)


def normal_consistency(distances: SurfaceDistances) -> float:
    """Mean |cos| between a sample's normal and its nearest neighbour's, averaged over both ways; 1 is perfect.

    Unsigned, as in Occupancy Networks (Mescheder et al. 2019), so it does not depend on the faces' orientation.
    """
    return float(distances.to_truth_cosine.double().mean() + distances.to_result_cosine.double().mean()) / 2


def volume_iou(result: Bool[Tensor, "r r r"], truth: Bool[Tensor, "r r r"]) -> float:
    """Cells inside both over cells inside either (`occupancy.occupancy_grid` of both meshes); 0 when both are empty."""
    return float((result & truth).sum()) / max(float((result | truth).sum()), 1.0)


def volume_iou_exact(result: Mesh, truth: Mesh) -> float:
    """Volume of the intersection over volume of the union, by boolean operations; both must be closed and manifold."""
    import manifold3d

    solids = []
    for name, mesh in (("result", result), ("truth", truth)):
        raw = manifold3d.Mesh(
            vert_properties=mesh.vertices.detach().cpu().numpy().astype(np.float32),
            tri_verts=mesh.faces.cpu().numpy().astype(np.uint32),
        )
        raw.merge()
        solid = manifold3d.Manifold(raw)
        if solid.status() != manifold3d.Error.NoError:
            raise InputError(
                f"the exact volume IoU needs closed manifolds and the {name} is not one ({solid.status().name}): "
                "use the sampled one"
            )
        solids.append(solid)
    a, b = solids
    return (a ^ b).volume() / max((a + b).volume(), 1e-30)
