"""UV coordinates for a triangle mesh: charts, then an atlas that packs them into a square texture.

`box` (default) cuts the surface by its dominant axis and lays every piece flat along that axis; `xatlas` grows charts
of low stretch. Both are packed by xatlas at the largest scale that fits.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.sparse as sparse
import torch
import xatlas
from jaxtyping import Float, Int
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from infinitemesh.errors import InputError
from infinitemesh.geometry.box_charts import Charts, box_charts, into_own_cells
from infinitemesh.geometry.packing import new_atlas, pack
from infinitemesh.helpers import helped
from infinitemesh.steps import step

UnwrapMethod = Literal["box", "xatlas"]

XATLAS_CHART_OPTIONS = dict(  # the fast ones of those that were tried; the defaults make more charts in more time
    max_iterations=1,
    max_cost=8.0,
    normal_deviation_weight=1.0,
    roundness_weight=0.0,
    straightness_weight=0.0,
    normal_seam_weight=1.0,
)


@dataclass(frozen=True)
class Unwrapped:
    """A mesh cut along the borders of its charts: the same triangles in the same order, on more vertices."""

    vertex_of: Int[Tensor, " w"]  # the input vertex that each new vertex copies
    faces: Int[Tensor, "f 3"]  # into the new vertices
    uv: Float[Tensor, "w 2"]  # in [0, 1], (0, 0) at the top left corner of the texture


def unwrap(
    vertices: Float[Tensor, "v 3"],
    faces: Int[Tensor, "f 3"],
    *,
    resolution: int = 1024,
    padding: int = 2,
    method: UnwrapMethod = "box",
) -> Unwrapped:
    """Charts that do not overlap, `padding` texels apart on a texture of `resolution` texels a side. Deterministic."""
    if len(faces) == 0:
        raise InputError("cannot unwrap a mesh without faces: check that the surface stage found a surface")
    if resolution < 16:
        raise InputError(f"the texture must be at least 16 texels a side, got {resolution}")
    if not bool(torch.isfinite(vertices).all()):
        raise InputError("cannot unwrap: some vertices are NaN or infinite")
    if method not in ("box", "xatlas"):
        raise InputError(f"no unwrap method {method!r}: choose 'box' or 'xatlas'")
    at = "cuda" if faces.device.type == "cuda" else "cpu"  # charts are cut where the mesh is, and packed on the CPU
    charts = box_charts if method == "box" else _xatlas_charts
    with step("charts"):
        cut = charts(vertices.detach().float().to(at), faces.detach().long().to(at))
    vertex_of, cut_faces, flat = (part.cpu().numpy() for part in cut)
    with step("pack"):
        texel, packed = helped(pack, flat, cut_faces, resolution, padding)
        texel = _place_the_rest(texel, packed, cut_faces, vertex_of)
    return Unwrapped(
        torch.from_numpy(vertex_of).to(faces),
        torch.from_numpy(cut_faces).to(faces),
        torch.from_numpy(np.clip(texel / resolution, 0, 1).astype(np.float32)).to(vertices),
    )


def _place_the_rest(texel: np.ndarray, packed: np.ndarray, faces: np.ndarray, vertex_of: np.ndarray) -> np.ndarray:
    """Faces without area, which xatlas leaves out, shrink to a point where they touch a chart."""
    if packed.all():
        return texel
    lost = faces[~packed[faces].all(1)]
    edges = np.concatenate([lost[:, :2], lost[:, 1:]])
    graph = sparse.coo_matrix((np.ones(len(edges)), edges.T), shape=(len(texel), len(texel)))
    piece = connected_components(graph, directed=False)[1]
    copy = np.full(vertex_of.max() + 1, -1)
    copy[vertex_of[packed]] = np.flatnonzero(packed)
    corner = np.unique(lost)
    anchor = np.full(piece.max() + 1, -1)
    anchor[piece[corner]] = np.maximum(copy[vertex_of[corner]], anchor[piece[corner]])
    inside = corner[packed[corner]]
    anchor[piece[inside]] = inside
    at = anchor[piece]
    texel = np.where(packed[:, None], texel, texel[at])
    texel[~packed & (at < 0)] = 0.5
    return texel


def _xatlas_charts(vertices: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"]) -> Charts:
    points, corners = vertices.cpu().numpy(), faces.cpu().numpy()
    options = xatlas.ChartOptions()
    for name, value in XATLAS_CHART_OPTIONS.items():
        setattr(options, name, value)
    atlas = new_atlas()
    extent = float(np.ptp(points, axis=0).max())
    atlas.add_mesh(points * np.float32(1000 / max(extent, 1e-30)), corners.astype(np.uint32))
    atlas.generate(options, xatlas.PackOptions())
    vertex_of, cut_faces, uv = atlas[0]
    in_atlas, chart_of = atlas.get_mesh_vertex_assignment(0)
    chart_of = np.where(in_atlas == 0, chart_of, atlas.chart_count).astype(
        np.int64
    )  # the last holds faces without area
    flat = torch.from_numpy(uv * np.array([atlas.width, atlas.height], dtype=np.float32))
    return (
        torch.from_numpy(vertex_of.astype(np.int64)),
        torch.from_numpy(cut_faces.astype(np.int64)),
        into_own_cells(flat, torch.from_numpy(chart_of)),
    )
