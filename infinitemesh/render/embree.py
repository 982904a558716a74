"""First hits of rays on a mesh through Embree: for visibility and evaluation, not differentiable."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from infinitemesh.errors import MissingBackend


def embree_hits(
    vertices: Float[Tensor, "v 3"],
    faces: Int[Tensor, "f 3"],
    origins: Float[Tensor, "*r 3"],
    directions: Float[Tensor, "*r 3"],
) -> tuple[Int[Tensor, "*r"], Float[Tensor, "*r 3"], Float[Tensor, "*r"]]:
    """(triangle, barycentrics, distance) of each ray's first hit, on the CPU; -1, zeros and infinity where it misses.

    Distances are in lengths of the directions.
    """
    scene_class, mesh_class = _embree()
    scene = scene_class()
    points = np.ascontiguousarray(vertices.detach().cpu().numpy(), dtype=np.float32)
    mesh_class(scene, points, np.ascontiguousarray(faces.cpu().numpy(), dtype=np.int32))
    rays = [
        np.ascontiguousarray(x.detach().reshape(-1, 3).cpu().numpy(), dtype=np.float32) for x in (origins, directions)
    ]
    answer = scene.run(*rays, output=True)
    shape = origins.shape[:-1]
    triangle = torch.from_numpy(answer["primID"].astype(np.int64)).reshape(shape)
    u, v = (torch.from_numpy(answer[name]).reshape(shape) for name in ("u", "v"))
    distance = torch.from_numpy(answer["tfar"]).reshape(shape)
    hit = triangle >= 0
    barycentric = torch.where(hit[..., None], torch.stack([1 - u - v, u, v], dim=-1), 0.0)
    return triangle, barycentric, torch.where(hit, distance, torch.inf)


def _embree():
    try:
        from embreex.mesh_construction import TriangleMesh
        from embreex.rtcore_scene import EmbreeScene
    except ImportError as error:
        raise MissingBackend(
            "rays are traced by embreex, which is missing: pip install 'infinitemesh[embree]'"
        ) from error
    return EmbreeScene, TriangleMesh
