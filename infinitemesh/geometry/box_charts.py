"""Charts by dominant axis: neighbours that face one side of a box form a chart and lie flat along that side's axis.

A chart that lies over itself (a ramp that winds around its axis) is peeled apart. In torch, where the mesh is.
"""

from math import ceil, sqrt

import torch
from jaxtyping import Float, Int
from torch import Tensor

from infinitemesh.geometry.topology import connected
from infinitemesh.steps import step

FLAT_AXES = ((1, 2), (2, 0), (0, 1))  # the axes that span the plane across x, y, z (right-handed)
SMALLEST_FACING = 0.3  # cosine below which a face may not join its neighbours' axis: stretch stays under 1 / 0.3
SMOOTHING_ROUNDS = 4
NEIGHBOUR_WEIGHT = 0.35  # in cosines: how much a face gives up to share the axis of all its neighbours
TIE_BREAK = 1e-9  # per axis, so that the same axis wins on every device
OVERLAP_GRID = 512
PEELS = 3
CELLS_AT_ONCE = 1 << 15  # on a CPU: they stay in the cache

Charts = tuple[Int[Tensor, " w"], Int[Tensor, "f 3"], Float[Tensor, "w 2"]]


def box_charts(points: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"]) -> Charts:
    """The input vertex of each new vertex (one a chart and input vertex), faces, flat coordinates in world units."""
    pairs = _adjacent_faces(faces, len(points))
    side = _dominant_side(points, faces, pairs)
    chart = _pieces(pairs, side)
    layer = torch.zeros_like(side)
    for _ in range(PEELS):
        _, cut_faces, flat = _lay_flat(points, faces, side, chart)
        towards = points.double()[faces].gather(2, (side % 3)[:, None, None].expand(-1, 3, -1)).mean((1, 2))
        depth = _depth_in_pile(flat[cut_faces], chart, torch.where(side < 3, towards, -towards))
        deepest = int(depth.max())
        if deepest == 0:
            break
        layer = layer * (deepest + 1) + depth
        chart = _pieces(pairs, side, layer)
    return _lay_flat(points, faces, side, chart)


def into_own_cells(flat: Float[Tensor, "w 2"], chart_of: Int[Tensor, " w"]) -> Float[Tensor, "w 2"]:
    """Charts side by side on a square of cells: xatlas joins what touches."""
    flat = flat.double()
    num_charts = int(chart_of.max()) + 1
    flat = flat - _extremes(flat, chart_of, num_charts, "amin")[chart_of]
    per_row = ceil(sqrt(num_charts))
    cell = 1.1 * flat.max() + 1e-30
    return (flat + cell * torch.stack([chart_of % per_row, chart_of // per_row], dim=1)).float()


def _adjacent_faces(faces: Int[Tensor, "f 3"], num_vertices: int) -> Int[Tensor, "e 2"]:
    """Pairs of faces that share an edge."""
    after = faces.roll(-1, dims=1)
    key = (torch.minimum(faces, after) * num_vertices + torch.maximum(faces, after)).flatten()
    key, order = key.sort(stable=True)
    same = (key[1:] == key[:-1]).nonzero()[:, 0]
    face = order // 3
    return torch.stack([face[same], face[same + 1]], dim=1)


@step("sides")
def _dominant_side(
    points: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"], pairs: Int[Tensor, "e 2"]
) -> Int[Tensor, " f"]:
    """The side each face faces most (+x, +y, +z, -x, -y, -z), made smooth by some rounds of voting among neighbours."""
    a, b, c = points[faces].double().unbind(1)
    normal = torch.linalg.cross(b - a, c - a)
    normal = normal / normal.norm(dim=1, keepdim=True).clamp(min=1e-20)
    facing = torch.cat([normal, -normal], dim=1) - TIE_BREAK * torch.arange(6, device=faces.device)
    allowed = torch.where(facing < SMALLEST_FACING, -torch.inf, facing)
    degenerate = allowed.isinf().all(1, keepdim=True)
    side = facing.argmax(1)
    one, other = torch.cat([pairs, pairs.flip(1)]).unbind(1)
    for _ in range(SMOOTHING_ROUNDS):
        votes = torch.zeros_like(facing).index_put_((one, side[other]), facing.new_ones(()), accumulate=True) / 3
        ranked = votes - TIE_BREAK * torch.arange(6, device=faces.device)
        side = torch.where(degenerate, ranked, allowed + NEIGHBOUR_WEIGHT * votes).argmax(1)
    return side


@step("pieces")
def _pieces(pairs: Int[Tensor, "e 2"], *labels: Int[Tensor, " f"]) -> Int[Tensor, " f"]:
    """The connected piece of each face, where neighbours with different labels are not connected."""
    together = torch.stack([label[pairs[:, 0]] == label[pairs[:, 1]] for label in labels]).all(0)
    return connected(len(labels[0]), pairs[together])


@step("lay flat")
def _lay_flat(
    points: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"], side: Int[Tensor, " f"], chart: Int[Tensor, " f"]
) -> Charts:
    key, corner = (chart[:, None] * len(points) + faces).unique(return_inverse=True)
    chart_of, vertex_of = key // len(points), key % len(points)
    side_of = torch.zeros_like(side).scatter_(0, chart, side)[chart_of]  # a chart has one side
    flat_axes = torch.tensor(FLAT_AXES, device=faces.device)[side_of % 3]
    flat = points[vertex_of].gather(1, flat_axes)
    mirrored = torch.stack([torch.where(side_of < 3, flat[:, 0], -flat[:, 0]), flat[:, 1]], dim=1)
    return vertex_of, corner, into_own_cells(mirrored, chart_of)


@step("piles")
def _depth_in_pile(
    corners: Float[Tensor, "f 3 2"], chart: Int[Tensor, " f"], height: Float[Tensor, " f"]
) -> Int[Tensor, " f"]:
    """How many faces of its own chart lie above each face, at the worst cell of a grid.

    A ramp that winds around its axis lies over itself once a turn; a noisy edge may hang over in a few faces.
    """
    corners = corners.double()
    area = 0.5 * cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).abs().sum()
    corners = corners * (OVERLAP_GRID / area.clamp(min=1e-30).sqrt())
    num_charts = int(chart.max()) + 1
    low = _extremes(corners.amin(1), chart, num_charts, "amin")
    high = _extremes(corners.amax(1), chart, num_charts, "amax")
    columns, rows = (high - low).ceil().long().unbind(1)
    first_cell = (columns * rows).cumsum(0) - columns * rows
    face, column, row = cells_inside(corners - low[chart][:, None])
    cell = first_cell[chart[face]] + row * columns[chart[face]] + column
    piled = (cell.bincount()[cell] > 1).nonzero()[:, 0]
    face, cell = face[piled], cell[piled]
    order = (-height[face]).argsort(stable=True)
    order = order[cell[order].argsort(stable=True)]
    _, counts = cell.unique(return_counts=True)
    starts = torch.repeat_interleave(counts.cumsum(0) - counts, counts)
    rank = torch.arange(len(order), device=cell.device) - starts
    return torch.zeros_like(chart).scatter_reduce(0, face[order], rank, "amax")


def cells_inside(corners: Float[Tensor, "f 3 2"]) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"], Int[Tensor, " n"]]:
    """(face, column, row) of all cells whose centre is strictly inside a face."""
    low = (corners.amin(1) - 0.5).ceil().long()
    extent = ((corners.amax(1) - 0.5).floor().long() - low + 1).clamp(min=0)
    count = extent.prod(1)
    face = torch.repeat_interleave(torch.arange(len(corners), device=corners.device), count)
    offset = torch.arange(len(face), device=corners.device) - (count.cumsum(0) - count).index_select(0, face)
    at_once = CELLS_AT_ONCE if corners.device.type == "cpu" else max(len(face), 1)
    parts = [
        _inside(corners, low, extent[:, 0], *part)
        for part in zip(face.split(at_once), offset.split(at_once), strict=True)
    ]
    face, column, row = (torch.cat(each) for each in zip(*parts, strict=True))
    return face, column, row


def _inside(
    corners: Tensor, low: Tensor, columns: Tensor, face: Tensor, offset: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Of some faces' boxes of cells, each counted along its rows."""
    wide = columns.index_select(0, face)
    down = offset // wide
    column = low[:, 0].index_select(0, face) + offset - down * wide
    row = low[:, 1].index_select(0, face) + down
    x, y = column.to(corners) + 0.5, row.to(corners) + 0.5
    (ax, ay), (bx, by), (cx, cy) = (
        (corner[:, 0].index_select(0, face) - x, corner[:, 1].index_select(0, face) - y) for corner in corners.unbind(1)
    )
    a, b, c = bx * cy - cx * by, cx * ay - ax * cy, ax * by - bx * ay
    least, most = torch.minimum(torch.minimum(a, b), c), torch.maximum(torch.maximum(a, b), c)
    inside = ((least > 1e-6) | (most < -1e-6)).nonzero()[:, 0]
    return face[inside], column[inside], row[inside]


def cross(a: Float[Tensor, "n 2"], b: Float[Tensor, "n 2"]) -> Float[Tensor, " n"]:
    """Twice the signed area that two vectors span."""
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def _extremes(values: Float[Tensor, "n 2"], group: Int[Tensor, " n"], num_groups: int, which: str) -> Tensor:
    empty = values.new_full((num_groups, 2), torch.inf if which == "amin" else -torch.inf)
    return empty.scatter_reduce(0, group[:, None].expand_as(values), values, which)
