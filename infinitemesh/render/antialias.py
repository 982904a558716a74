"""Edge-centred antialiasing: the one place where coverage has a gradient with respect to vertices.

Every silhouette edge is walked along its longer screen axis. Where it passes between two pixel centres, one on the
surface (inner) and one beyond it (outer), the colour of one flows into the other by how far the edge lies from the
point halfway between them. The blend is that of nvdiffrast's paper (Laine et al. 2020), but candidates come from the
edges of the mesh, not from the triangle under a pixel: with triangles smaller than a pixel that triangle rarely owns
the silhouette edge, and the gradient fades.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from infinitemesh.render.fragments import Fragments


@dataclass(frozen=True)
class Edges:
    """Every edge once, with its first two faces; `forward`: does the face run from the first vertex to the second?"""

    vertices: Int[Tensor, "e 2"]
    faces: Int[Tensor, "e 2"]  # the second is -1 at a boundary
    forward: Bool[Tensor, "e 2"]


@dataclass(frozen=True)
class Crossings:
    """Where silhouette edges pass between neighbouring pixel centres, at most once a pair."""

    vertices: Int[Tensor, "k 2"]  # rows of the flattened clip positions
    line: Int[Tensor, " k"]  # the row (or column) of pixel centres that is crossed
    inner: Int[Tensor, " k"]  # flat pixel on the surface
    outer: Int[Tensor, " k"]  # flat pixel beyond it
    inner_at: Float[Tensor, " k"]  # where the inner pixel's centre lies on the line
    outwards: Float[Tensor, " k"]  # +1 or -1: the direction from inner to outer


def mesh_edges(faces: Int[Tensor, "f 3"]) -> Edges:
    start = faces[:, [1, 2, 0]].reshape(-1).long()
    end = faces[:, [2, 0, 1]].reshape(-1).long()
    key, order = ((torch.minimum(start, end) << 32) | torch.maximum(start, end)).sort(stable=True)
    is_first = torch.ones_like(key, dtype=torch.bool)
    is_first[1:] = key[1:] != key[:-1]
    first = is_first.nonzero()[:, 0]
    following = (first + 1).clamp(max=max(len(key) - 1, 0))
    paired = (key[following] == key[first]) & (following > first)
    half_edge = torch.stack([order[first], torch.where(paired, order[following], -1)], dim=-1)
    vertices = torch.stack([key[first] >> 32, key[first] & 0xFFFFFFFF], dim=-1)
    forward = start[half_edge] == vertices[:, :1]
    return Edges(vertices, torch.where(half_edge >= 0, half_edge // 3, -1), forward)


def antialias_groups(
    colour: Float[Tensor, "n h w c"],
    fragments: Fragments,
    clip: Float[Tensor, "g v 4"],
    faces: Int[Tensor, "f 3"],
    image_of_face: Int[Tensor, " f"] | None,
) -> Float[Tensor, "n h w c"]:
    """Blends across silhouettes. Group i of `clip` is image i, unless `image_of_face` says (then there is one group).

    Edges with an end before the near plane are left as they are. Rows are blended before columns, so that a speck which
    covers a fifth of a pixel both ways weighs a twenty-fifth.
    """
    vertices, side, image = _silhouettes(clip.detach(), mesh_edges(faces), faces, image_of_face)
    flat_clip = clip.flatten(0, 1)
    flat = colour.flatten(0, 2)
    for along in (0, 1):
        crossings = _crossings(flat_clip.detach(), vertices, side, image, fragments, along)
        flat = _blend(flat, flat_clip, crossings, fragments, along)
    return flat.reshape(colour.shape)


@torch.no_grad()
def _silhouettes(
    clip: Float[Tensor, "g v 4"],
    edges: Edges,
    faces: Int[Tensor, "f 3"],
    image_of_face: Int[Tensor, " f"] | None,
) -> tuple[Int[Tensor, "s 2"], Bool[Tensor, " s"], Int[Tensor, " s"]]:
    """Edges with both faces (or their only one) on one side: flat vertex rows, that side, image.

    The side is True where the face lies to the left of the edge in a frame of x right, y up. It follows from the
    orientation of whole faces, so the outline of a closed mesh is closed also where faces are seen edge-on.
    """
    corners = clip.index_select(1, faces.reshape(-1)).reshape(len(clip), -1, 3, 4)
    x, y, _, w = corners.unbind(-1)  # g f 3
    area = (
        x[..., 0] * (y[..., 1] * w[..., 2] - y[..., 2] * w[..., 1])
        + x[..., 1] * (y[..., 2] * w[..., 0] - y[..., 0] * w[..., 2])
        + x[..., 2] * (y[..., 0] * w[..., 1] - y[..., 1] * w[..., 0])
    )
    side = (area > 0)[:, edges.faces] == edges.forward  # g e 2
    in_front = (clip[..., 2] + clip[..., 3] > 0)[:, edges.vertices].all(-1)
    outline = in_front & ((edges.faces[:, 1] < 0) | (side[..., 0] == side[..., 1]))
    group, edge = outline.nonzero().unbind(-1)
    image = group if image_of_face is None else image_of_face[edges.faces[edge, 0]].long()
    return edges.vertices[edge] + (group * clip.shape[1])[:, None], side[group, edge, 0], image


@torch.no_grad()
def _crossings(
    flat_clip: Float[Tensor, "gv 4"],
    vertices: Int[Tensor, "s 2"],
    side: Bool[Tensor, " s"],
    image: Int[Tensor, " s"],
    fragments: Fragments,
    along: int,
) -> Crossings:
    """Crossings of rows (`along` 0) by the steeper edges, or of columns (1) by the others."""
    height, width = fragments.triangle.shape[1:]
    length, num_lines = (width, height) if along == 0 else (height, width)
    a, b = (_on_screen(flat_clip[vertices[:, end]], (height, width)) for end in (0, 1))
    u, v = along, 1 - along
    steep = (b - a).abs()[:, v] >= (b - a).abs()[:, u] if along == 0 else (b - a).abs()[:, v] > (b - a).abs()[:, u]
    low = torch.minimum(a[:, v], b[:, v]).ceil().clamp(0, num_lines)
    high = torch.maximum(a[:, v], b[:, v]).floor().clamp(-1, num_lines - 1)
    count = torch.where(steep & (low <= high), high - low + 1, 0).long()
    edge = torch.repeat_interleave(torch.arange(len(count), device=count.device), count)
    line = low.long()[edge] + torch.arange(len(edge), device=edge.device) - (count.cumsum(0) - count)[edge]

    at, depth = _where_crossed(a[edge], b[edge], line, along)
    inner_is_lower = (side == ((b > a)[:, v] if along == 0 else (b < a)[:, v]))[edge]
    lower = at.floor().clamp(-1, length - 1).long()
    within = (lower >= 0) & (lower < length - 1)
    lower = lower.clamp(0, length - 2)
    inner_at, outer_at = torch.where(inner_is_lower, lower, lower + 1), torch.where(inner_is_lower, lower + 1, lower)
    base = image[edge] * height * width
    line_stride, stride = (width, 1) if along == 0 else (1, width)
    inner, outer = base + line * line_stride + inner_at * stride, base + line * line_stride + outer_at * stride
    triangle, surface = fragments.triangle.reshape(-1), fragments.depth.reshape(-1)
    valid = within & (triangle[inner] >= 0) & (triangle[inner] != triangle[outer]) & (depth < surface[outer])
    kept = valid.nonzero()[:, 0]
    kept = kept[_outermost((at - inner_at)[kept].abs(), torch.minimum(inner, outer)[kept])]
    return Crossings(
        vertices[edge[kept]],
        line[kept],
        inner[kept],
        outer[kept],
        inner_at[kept].to(at.dtype),
        (outer_at - inner_at)[kept].to(at.dtype),
    )


def _outermost(reach: Float[Tensor, " k"], pair: Int[Tensor, " k"]) -> Int[Tensor, " kept"]:
    """Of several edges between the same two pixels, the one farthest from the inner: the outline of their union."""
    key, order = ((pair << 24) | ((1 - reach).clamp(0, 1) * (1 << 23)).long()).sort(stable=True)
    is_first = torch.ones_like(key, dtype=torch.bool)
    is_first[1:] = (key[1:] >> 24) != (key[:-1] >> 24)
    return order[is_first]


def _blend(
    flat: Float[Tensor, "pixels c"],
    flat_clip: Float[Tensor, "gv 4"],
    crossings: Crossings,
    fragments: Fragments,
    along: int,
) -> Float[Tensor, "pixels c"]:
    size = (fragments.triangle.shape[1], fragments.triangle.shape[2])
    a, b = (_on_screen(flat_clip.index_select(0, crossings.vertices[:, end]), size) for end in (0, 1))
    at, _ = _where_crossed(a, b, crossings.line, along)
    beyond_half = ((at - crossings.inner_at) * crossings.outwards - 0.5)[:, None]  # -0.5 at the inner, 0.5 at the outer
    inner, outer = flat.index_select(0, torch.cat([crossings.inner, crossings.outer])).chunk(2)
    into_outer = beyond_half.detach() > 0
    receiver = torch.where(into_outer[:, 0], crossings.outer, crossings.inner)
    return flat.index_put((receiver,), beyond_half * (inner - outer), accumulate=True)


def _on_screen(clip: Float[Tensor, "k 4"], size: tuple[int, int]) -> Float[Tensor, "k 3"]:
    """(column, row, depth), pixel centres at integers."""
    height, width = size
    x, y, z, w = clip.unbind(-1)
    return torch.stack([(x / w + 1) * (width / 2) - 0.5, (y / w + 1) * (height / 2) - 0.5, z / w], dim=-1)


def _where_crossed(
    a: Float[Tensor, "k 3"], b: Float[Tensor, "k 3"], line: Int[Tensor, " k"], along: int
) -> tuple[Float[Tensor, " k"], Float[Tensor, " k"]]:
    """Position and depth at which segments a to b cross their line."""
    u, v = along, 1 - along
    rise = b[:, v] - a[:, v]
    t = (line - a[:, v]) / torch.where(rise == 0, 1.0, rise)  # a point on the line: either end will do
    return a[:, u] + t * (b[:, u] - a[:, u]), a[:, 2] + t * (b[:, 2] - a[:, 2])
