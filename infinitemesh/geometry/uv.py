"""UV coordinates for a triangle mesh: charts, then an atlas that packs them into a square texture.

`box` (default) cuts the surface by its dominant axis and lays every piece flat along that axis; `xatlas` grows charts
of low stretch. Both are packed by xatlas at the largest scale that fits.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import scipy.sparse as sparse
import torch
import xatlas
from jaxtyping import Float, Int
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from infinitemesh.errors import InputError
from infinitemesh.geometry.box_charts import Charts, box_charts, into_own_cells

UnwrapMethod = Literal["box", "xatlas"]

PACKING_SCALES = (0.75, 0.71, 0.67)  # of a packing without waste
MAX_PACKINGS = 8
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
    cut = charts(vertices.detach().float().to(at), faces.detach().long().to(at))
    vertex_of, cut_faces, flat = (part.cpu().numpy() for part in cut)
    texel, packed = _pack(flat, cut_faces, resolution, padding)
    texel = _place_the_rest(texel, packed, cut_faces, vertex_of)
    return Unwrapped(
        torch.from_numpy(vertex_of).to(faces),
        torch.from_numpy(cut_faces).to(faces),
        torch.from_numpy(np.clip(texel / resolution, 0, 1).astype(np.float32)).to(vertices),
    )


def _pack(flat: np.ndarray, faces: np.ndarray, resolution: int, padding: int) -> tuple[np.ndarray, np.ndarray]:
    """Texels of a square texture, from the densest of a few packings that fit, and which vertices have got a place.

    How well xatlas packs jumps with the scale by 10 % and more, so a few are tried. xatlas holds Python's lock all the
    while, so its time cannot be shared between objects: it packs blocks of texels, which is several times faster.
    """
    room = resolution - 2  # charts reach up to half a texel beyond the atlas' border
    a, b, c = flat[faces].astype(np.float64).transpose(1, 0, 2)
    area = 0.5 * np.abs(_cross(b - a, c - a)).sum()
    flat = flat * np.float32(room / np.sqrt(max(area, 1e-30)))  # texels: xatlas drops areas below 1e-7
    packings = [_pack_at(flat, faces, scale, padding) for scale in PACKING_SCALES]
    while min(each.side for each in packings) > room and len(packings) < MAX_PACKINGS:
        last = packings[-1]
        packings.append(_pack_at(flat, faces, 0.97 * last.scale * room / last.side, padding))
    fitting = [each for each in packings if each.side <= room] or packings[-1:]  # padding alone can leave no room
    best = min(fitting, key=lambda each: each.side / each.scale)
    return best.texel * (room / best.side) + 1, best.packed


class _Packing(NamedTuple):
    texel: np.ndarray
    packed: np.ndarray  # false for vertices of faces without area
    scale: float
    side: int  # texels


def _pack_at(flat: np.ndarray, faces: np.ndarray, scale: float, padding: int) -> _Packing:
    block = padding // 2 + 1  # texels a side; one free block around each chart leaves more than `padding` between two
    options = xatlas.PackOptions()
    options.texels_per_unit = scale / block
    options.padding = 1
    options.bilinear = False  # would reserve a border for filtering, which the free blocks hold
    atlas = xatlas.Atlas()
    atlas.add_uv_mesh(flat, faces.astype(np.uint32))
    atlas.generate(xatlas.ChartOptions(), options)
    vertex_of, _, uv = atlas[0]
    texel, packed = np.empty_like(flat), np.empty(len(flat), dtype=bool)
    texel[vertex_of] = uv * np.array([atlas.width, atlas.height], dtype=np.float32) * block
    packed[vertex_of] = atlas.get_mesh_vertex_assignment(0)[0] == 0
    return _Packing(texel, packed, scale, max(atlas.width, atlas.height) * block)


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


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def _xatlas_charts(vertices: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"]) -> Charts:
    points, corners = vertices.cpu().numpy(), faces.cpu().numpy()
    options = xatlas.ChartOptions()
    for name, value in XATLAS_CHART_OPTIONS.items():
        setattr(options, name, value)
    atlas = xatlas.Atlas()
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
