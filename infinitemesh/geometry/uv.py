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

UnwrapMethod = Literal["box", "xatlas"]

AXES = np.concatenate([np.eye(3), -np.eye(3)])
FLAT_AXES = ((1, 2), (2, 0), (0, 1))  # the axes that span the plane across x, y, z (right-handed)
SMALLEST_FACING = 0.3  # cosine below which a face may not join its neighbours' axis: stretch stays under 1 / 0.3
SMOOTHING_ROUNDS = 4
NEIGHBOUR_WEIGHT = 0.35  # in cosines: how much a face gives up to share the axis of all its neighbours
OVERLAP_GRID = 512
PEELS = 3
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
    points = vertices.detach().cpu().numpy().astype(np.float32)
    corners = faces.detach().cpu().numpy().astype(np.int64)
    if method not in ("box", "xatlas"):
        raise InputError(f"no unwrap method {method!r}: choose 'box' or 'xatlas'")
    charts = _box_charts if method == "box" else _xatlas_charts
    vertex_of, cut_faces, flat = charts(points, corners)
    texel, packed = _pack(flat, cut_faces, resolution, padding)
    texel = _place_the_rest(texel, packed, cut_faces, vertex_of)
    return Unwrapped(
        torch.from_numpy(vertex_of).to(faces),
        torch.from_numpy(cut_faces).to(faces),
        torch.from_numpy(np.clip(texel / resolution, 0, 1).astype(np.float32)).to(vertices),
    )


def _box_charts(points: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    pairs = _adjacent_faces(faces, len(points))
    axis = _dominant_axis(points, faces, pairs)
    chart = _pieces(pairs, axis)
    layer = np.zeros(len(faces), dtype=np.int64)
    for _ in range(PEELS):
        _, cut_faces, flat = _lay_flat(points, faces, axis, chart)
        height = (AXES[axis][:, None] * points[faces]).sum(-1).mean(-1)
        depth = _depth_in_pile(flat[cut_faces], chart, height)
        if not depth.any():
            break
        layer = layer * (depth.max() + 1) + depth
        chart = _pieces(pairs, axis, layer)
    return _lay_flat(points, faces, axis, chart)


def _adjacent_faces(faces: np.ndarray, num_vertices: int) -> np.ndarray:
    """Pairs of faces that share an edge."""
    edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    key = edges[:, 0] * num_vertices + edges[:, 1]
    order = np.argsort(key, kind="stable")
    same = np.diff(key[order]) == 0
    face = order // 3
    return np.stack([face[:-1][same], face[1:][same]], axis=1)


def _dominant_axis(points: np.ndarray, faces: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """For each face the index into AXES that it faces most, made smooth by a few rounds of voting among neighbours."""
    a, b, c = points[faces].astype(np.float64).transpose(1, 0, 2)
    normal = np.cross(b - a, c - a)
    facing = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-20) @ AXES.T
    allowed = np.where(facing < SMALLEST_FACING, -np.inf, facing)
    axis = facing.argmax(1)
    both_ways = np.concatenate([pairs, pairs[:, ::-1]])
    ones = np.ones(len(both_ways))
    neighbours = sparse.coo_matrix((ones, both_ways.T), shape=(len(faces), len(faces))).tocsr()
    for _ in range(SMOOTHING_ROUNDS):
        votes = neighbours @ np.eye(6)[axis] / 3
        degenerate = np.isinf(allowed).all(1, keepdims=True)
        axis = np.where(degenerate, votes, allowed + NEIGHBOUR_WEIGHT * votes).argmax(1)
    return axis


def _pieces(pairs: np.ndarray, *labels: np.ndarray) -> np.ndarray:
    """The connected piece of each face, where neighbours with different labels are not connected."""
    together = np.all([label[pairs[:, 0]] == label[pairs[:, 1]] for label in labels], axis=0)
    joined = pairs[together]
    graph = sparse.coo_matrix((np.ones(len(joined)), joined.T), shape=(len(labels[0]), len(labels[0])))
    return connected_components(graph, directed=False)[1]


def _lay_flat(points: np.ndarray, faces: np.ndarray, axis: np.ndarray, chart: np.ndarray):
    """The input vertex of each new vertex (one a chart and input vertex), faces, flat coordinates in world units."""
    new_vertex = chart[:, None].astype(np.int64) * len(points) + faces
    key, first, corner = np.unique(new_vertex, return_index=True, return_inverse=True)
    chart_of, vertex_of = key // len(points), key % len(points)
    axis_of = axis[first // 3]
    flat = np.take_along_axis(points[vertex_of], np.array(FLAT_AXES)[axis_of % 3], axis=1)
    flat[:, 0] *= np.where(axis_of < 3, 1, -1)
    return vertex_of, corner.reshape(-1, 3), _into_own_cells(flat, chart_of)


def _into_own_cells(flat: np.ndarray, chart_of: np.ndarray) -> np.ndarray:
    """Charts side by side on a square of cells: xatlas joins what touches."""
    low = np.full((chart_of.max() + 1, 2), np.inf)
    np.minimum.at(low, chart_of, flat)
    flat = flat - low[chart_of]
    per_row = int(np.ceil(np.sqrt(len(low))))
    cell = 1.1 * flat.max() + 1e-30
    return (flat + cell * np.stack([chart_of % per_row, chart_of // per_row], axis=1)).astype(np.float32)


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


def _depth_in_pile(corners: np.ndarray, chart: np.ndarray, height: np.ndarray) -> np.ndarray:
    """How many faces of its own chart lie above each face, at the worst cell of a grid.

    A ramp that winds around its axis lies over itself once a turn; a noisy edge may hang over in a few faces.
    """
    a, b, c = corners.astype(np.float64).transpose(1, 0, 2)
    area = 0.5 * np.abs(_cross(b - a, c - a)).sum()
    corners = corners * (OVERLAP_GRID / np.sqrt(max(area, 1e-30)))
    low, high = np.full((chart.max() + 1, 2), np.inf), np.full((chart.max() + 1, 2), -np.inf)
    np.minimum.at(low, chart, corners.min(1))
    np.maximum.at(high, chart, corners.max(1))
    columns, rows = np.ceil(high - low).astype(np.int64).T
    first_cell = np.cumsum(columns * rows) - columns * rows
    face, column, row = _cells_inside(corners - low[chart][:, None])
    cell = first_cell[chart[face]] + row * columns[chart[face]] + column
    piled = np.bincount(cell)[cell] > 1
    face, cell = face[piled], cell[piled]
    order = np.lexsort((-height[face], cell))
    starts = np.flatnonzero(np.diff(cell[order], prepend=-1))
    rank = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    depth = np.zeros(len(chart), dtype=np.int64)
    np.maximum.at(depth, face[order], rank)
    return depth


def _cells_inside(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(face, column, row) of all cells whose centre is strictly inside a face."""
    low = np.ceil(corners.min(1) - 0.5).astype(np.int64)
    extent = np.maximum(np.floor(corners.max(1) - 0.5).astype(np.int64) - low + 1, 0)
    count = extent.prod(1)
    face = np.repeat(np.arange(len(corners)), count)
    offset = np.arange(len(face)) - np.repeat(count.cumsum() - count, count)
    column = low[face, 0] + offset % np.maximum(extent[face, 0], 1)
    row = low[face, 1] + offset // np.maximum(extent[face, 0], 1)
    centre = np.stack([column, row], axis=1) + 0.5
    a, b, c = (corners[face, i] - centre for i in range(3))
    areas = np.stack([_cross(b, c), _cross(c, a), _cross(a, b)])
    inside = (areas > 1e-6).all(0) | (areas < -1e-6).all(0)
    return face[inside], column[inside], row[inside]


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def _xatlas_charts(points: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    options = xatlas.ChartOptions()
    for name, value in XATLAS_CHART_OPTIONS.items():
        setattr(options, name, value)
    atlas = xatlas.Atlas()
    extent = float(np.ptp(points, axis=0).max())
    atlas.add_mesh(points * np.float32(1000 / max(extent, 1e-30)), faces.astype(np.uint32))
    atlas.generate(options, xatlas.PackOptions())
    vertex_of, cut_faces, uv = atlas[0]
    in_atlas, chart_of = atlas.get_mesh_vertex_assignment(0)
    chart_of = np.where(in_atlas == 0, chart_of, atlas.chart_count).astype(
        np.int64
    )  # the last holds faces without area
    flat = _into_own_cells(uv * np.array([atlas.width, atlas.height], dtype=np.float32), chart_of)
    return vertex_of.astype(np.int64), cut_faces.astype(np.int64), flat
