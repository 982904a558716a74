"""A differentiable triangle rasteriser in plain torch: the default on CPU and CUDA.

Visibility: every triangle's box of pixels is expanded, homogeneous edge functions decide which pixel centres it covers
(Olano and Greer, "Triangle Scan Conversion using 2D Homogeneous Coordinates", 1997), and one scatter-minimum over
(depth, triangle) keeps the front-most. An edge function changes only its sign between the two triangles that share the
edge, so a closed mesh has no pinholes. Equal depths go to the lower triangle id, in whatever order work is done.

Both sides of a triangle are seen. A triangle that crosses the near plane is cut there, pixel by pixel; one wholly
before the near plane, beyond the far plane, of zero area, or with a coordinate that is not finite covers nothing.
"""

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from infinitemesh.render.antialias import antialias_groups
from infinitemesh.render.fragments import Fragments

FACES_PER_CHUNK = 1 << 22  # faces times views set up at once: about 100 bytes each
FRAGMENTS_PER_CHUNK = 1 << 22  # pixels of triangle boxes tested at once: about 150 bytes each
EMPTY = torch.iinfo(torch.int64).max
BOX_MARGIN_PX = 1e-3  # boxes are rounded apart from the edge functions; the margin keeps the box from deciding


@dataclass(frozen=True)
class TorchRasterizer:
    """The `Rasterizer` in plain torch; `fragments_per_chunk` bounds the memory of visibility (about 150 bytes each)."""

    fragments_per_chunk: int = FRAGMENTS_PER_CHUNK

    def rasterize(self, clip: Float[Tensor, "n v 4"], faces: Int[Tensor, "f 3"], size: tuple[int, int]) -> Fragments:
        triangle, depth = _nearest_triangles(clip, faces, None, len(clip), size, self.fragments_per_chunk)
        return Fragments(triangle, _barycentrics(clip, faces, triangle), depth)

    def interpolate(
        self, attributes: Float[Tensor, "#n v c"], fragments: Fragments, faces: Int[Tensor, "f 3"]
    ) -> Float[Tensor, "n h w c"]:
        return _interpolate(attributes, fragments, faces)

    def antialias(
        self,
        colour: Float[Tensor, "n h w c"],
        fragments: Fragments,
        clip: Float[Tensor, "n v 4"],
        faces: Int[Tensor, "f 3"],
    ) -> Float[Tensor, "n h w c"]:
        return antialias_groups(colour, fragments, clip, faces, None)


def rasterize_packed(
    clip: Float[Tensor, "v 4"],
    faces: Int[Tensor, "f 3"],
    image_of_face: Int[Tensor, " f"],
    num_images: int,
    size: tuple[int, int],
    *,
    fragments_per_chunk: int = FRAGMENTS_PER_CHUNK,
) -> Fragments:
    """Many meshes into many images in one call: each face is drawn into its own image only.

    Faces index the packed vertices, triangle ids index the packed faces. An image without faces is empty.
    """
    triangle, depth = _nearest_triangles(clip[None], faces, image_of_face, num_images, size, fragments_per_chunk)
    return Fragments(triangle, _barycentrics(clip[None], faces, triangle), depth)


def interpolate_packed(
    attributes: Float[Tensor, "v c"], fragments: Fragments, faces: Int[Tensor, "f 3"]
) -> Float[Tensor, "n h w c"]:
    """Attributes of packed vertices at the pixels; zeros where nothing is hit."""
    return _interpolate(attributes[None], fragments, faces)


def antialias_packed(
    colour: Float[Tensor, "n h w c"],
    fragments: Fragments,
    clip: Float[Tensor, "v 4"],
    faces: Int[Tensor, "f 3"],
    image_of_face: Int[Tensor, " f"],
) -> Float[Tensor, "n h w c"]:
    """`Rasterizer.antialias` for packed meshes."""
    return antialias_groups(colour, fragments, clip[None], faces, image_of_face)


def gather_rows(table: Float[Tensor, "rows c"], index: Int[Tensor, "*at"]) -> Float[Tensor, "*at c"]:
    """`table[index]` whose backward adds with atomics on CUDA, where plain indexing would sort."""
    return table.index_select(0, index.reshape(-1)).reshape(*index.shape, table.shape[-1])


@torch.no_grad()
def _nearest_triangles(
    clip: Float[Tensor, "g v 4"],
    faces: Int[Tensor, "f 3"],
    image_of_face: Int[Tensor, " f"] | None,
    num_images: int,
    size: tuple[int, int],
    fragments_per_chunk: int,
) -> tuple[Int[Tensor, "n h w"], Float[Tensor, "n h w"]]:
    """Front-most triangle and depth. Group i is image i, unless `image_of_face` says (then there is one group)."""
    height, width = size
    nearest = torch.full((num_images * height * width,), EMPTY, dtype=torch.int64, device=clip.device)
    groups_per_chunk = max(1, FACES_PER_CHUNK // max(len(faces), 1))
    for first_group in range(0, len(clip) if len(faces) else 0, groups_per_chunk):
        corners = rearrange(
            clip[first_group : first_group + groups_per_chunk, faces], "g f corner xyzw -> xyzw corner (g f)"
        )
        corners = corners.contiguous()
        low, high = _pixel_boxes(corners, size)
        extent = (high - low + 1).clamp(min=0)
        seen = (extent[0] * extent[1]).nonzero()[:, 0]
        face = seen % len(faces)
        image = first_group + seen // len(faces) if image_of_face is None else image_of_face[face]
        seen_corners, seen_low, seen_extent = (table.index_select(-1, seen) for table in (corners, low, extent))
        _draw(nearest, seen_corners, seen_low, seen_extent, face, image, size, fragments_per_chunk)
    hit = nearest != EMPTY
    triangle = torch.where(hit, nearest & 0xFFFFFFFF, -1)
    depth = torch.where(hit, (nearest >> 32).to(torch.int32).view(torch.float32) * 2 - 1, 1.0)
    return triangle.reshape(num_images, height, width), depth.reshape(num_images, height, width)


def _pixel_boxes(
    corners: Float[Tensor, "4 3 f"], size: tuple[int, int]
) -> tuple[Int[Tensor, "2 f"], Int[Tensor, "2 f"]]:
    """First and last (column, row) whose centres a triangle may cover; last before first where there are none."""
    half_size = torch.tensor([size[1] / 2, size[0] / 2], device=corners.device)[:, None, None]
    before_near = corners[2] + corners[3] <= 0  # corner f; z <= -w
    on_screen = (corners[:2] / corners[3] + 1) * half_size - 0.5  # pixel centres are integers
    low, high = on_screen.amin(1), on_screen.amax(1)
    crossing = (before_near.any(0) & ~before_near.all(0)).nonzero()[:, 0]
    if len(crossing):
        low[:, crossing], high[:, crossing] = _box_behind_near(
            corners[:, :, crossing], before_near[:, crossing], half_size
        )
    last = torch.tensor([size[1] - 1, size[0] - 1], device=corners.device)[:, None]
    low = (low - BOX_MARGIN_PX).ceil().clamp(min=0)
    high = torch.minimum((high + BOX_MARGIN_PX).floor(), last)
    covers = (low <= high).all(0) & ~before_near.all(0)  # false for NaN
    return torch.where(covers, low, 0).int(), torch.where(covers, high, -1).int()


def _box_behind_near(
    corners: Float[Tensor, "4 3 f"], before_near: Bool[Tensor, "3 f"], half_size: Float[Tensor, "2 1 1"]
) -> tuple[Float[Tensor, "2 f"], Float[Tensor, "2 f"]]:
    """Screen box of what is left of triangles when the near plane has cut them."""
    after = corners.roll(-1, dims=1)
    distance = corners[2] + corners[3]
    t = distance / (distance - distance.roll(-1, dims=0))
    cuts = corners + t * (after - corners)
    points = torch.cat([corners, cuts], dim=1)
    kept = torch.cat([~before_near, before_near != before_near.roll(-1, dims=0)])
    on_screen = (points[:2] / points[3] + 1) * half_size - 0.5
    return on_screen.where(kept, torch.inf).amin(1), on_screen.where(kept, -torch.inf).amax(1)


def _draw(
    nearest: Int[Tensor, " pixels"],
    corners: Float[Tensor, "4 3 k"],
    low: Int[Tensor, "2 k"],
    extent: Int[Tensor, "2 k"],
    face: Int[Tensor, " k"],
    image: Int[Tensor, " k"],
    size: tuple[int, int],
    fragments_per_chunk: int,
) -> None:
    """Lowers `nearest` to (depth, face) wherever a triangle covers a pixel centre in front of what is there."""
    height, width = size
    count = extent[0].long() * extent[1]
    stop_of = count.cumsum(0)
    first_of = stop_of - count
    x, y, z, w = corners
    for start, stop, first_fragment, num_fragments in _chunks(stop_of, fragments_per_chunk):
        index = torch.arange(start, stop, device=count.device)
        owner = torch.repeat_interleave(index, count[start:stop], output_size=num_fragments)
        offset = torch.arange(num_fragments, device=count.device) + first_fragment
        offset = (offset - first_of.index_select(0, owner)).int()
        columns = extent[0].index_select(0, owner)
        first_column, first_row = low.index_select(1, owner)
        row = offset // columns
        column = first_column + offset - row * columns
        row = first_row + row
        at_x, at_y = (2 * column + 1) / width - 1, (2 * row + 1) / height - 1
        e0, e1, e2 = _edge_functions(
            x.index_select(1, owner), y.index_select(1, owner), w.index_select(1, owner), at_x, at_y
        )
        least, most = torch.minimum(torch.minimum(e0, e1), e2), torch.maximum(torch.maximum(e0, e1), e2)
        inside = (((least >= 0) & (most > 0)) | ((most <= 0) & (least < 0))).nonzero()[:, 0]

        owner, row, column, e0, e1, e2 = (kept.index_select(0, inside) for kept in (owner, row, column, e0, e1, e2))
        (z0, z1, z2), (w0, w1, w2) = z.index_select(1, owner), w.index_select(1, owner)
        w_sum = e0 * w0 + e1 * w1 + e2 * w2
        depth = (e0 * z0 + e1 * z1 + e2 * z2) / w_sum
        visible = depth.abs() <= 1  # behind the camera z / w is beyond 1
        order = (depth.clamp(-1, 1) * 0.5 + 0.5).view(torch.int32).long()  # bits of floats >= 0 sort as the floats do
        pixel = (image.index_select(0, owner) * height + row) * width + column
        candidate = torch.where(visible, (order << 32) | face.index_select(0, owner), EMPTY)
        nearest.scatter_reduce_(0, pixel, candidate, "amin")


def _chunks(stop_of: Int[Tensor, " k"], fragments_per_chunk: int) -> list[tuple[int, int, int, int]]:
    """Cuts the faces where their fragments fill a chunk: (first face, end, first fragment, number of fragments)."""
    if len(stop_of) == 0:
        return []
    total = int(stop_of[-1])
    marks = torch.arange(1, 1 + (total - 1) // fragments_per_chunk, device=stop_of.device) * fragments_per_chunk
    ends = torch.cat([torch.searchsorted(stop_of, marks).unique() + 1, marks.new_tensor([len(stop_of)])]).unique()
    chunks, start, done = [], 0, 0
    for end, fragments in zip(ends.tolist(), stop_of[ends - 1].tolist(), strict=True):
        chunks.append((start, end, done, fragments - done))
        start, done = end, fragments
    return chunks


def _edge_functions(
    x: Float[Tensor, "3 p"],
    y: Float[Tensor, "3 p"],
    w: Float[Tensor, "3 p"],
    at_x: Float[Tensor, " p"],
    at_y: Float[Tensor, " p"],
) -> tuple[Float[Tensor, " p"], Float[Tensor, " p"], Float[Tensor, " p"]]:
    """Perspective-correct barycentrics up to a common factor, whose sign is the triangle's orientation."""
    x0, x1, x2 = (x - at_x * w).unbind(0)
    y0, y1, y2 = (y - at_y * w).unbind(0)
    return x1 * y2 - x2 * y1, x2 * y0 - x0 * y2, x0 * y1 - x1 * y0


def _barycentrics(
    clip: Float[Tensor, "g v 4"], faces: Int[Tensor, "f 3"], triangle: Int[Tensor, "n h w"]
) -> Float[Tensor, "n h w 3"]:
    """Differentiable with respect to the corners; g is n or 1."""
    num_images, height, width = triangle.shape
    pixel = (triangle.reshape(-1) >= 0).nonzero()[:, 0]
    corner = _corner_rows(faces, triangle, pixel, clip.shape[0], clip.shape[1])
    x, y, _, w = rearrange(gather_rows(clip.flatten(0, 1), corner), "p corner xyzw -> xyzw corner p")
    at_x = (2 * (pixel % width) + 1) / width - 1
    at_y = (2 * (pixel // width % height) + 1) / height - 1
    unscaled = torch.stack(_edge_functions(x, y, w, at_x, at_y), dim=-1)
    weights = unscaled / unscaled.sum(-1, keepdim=True)
    dense = weights.new_zeros(num_images * height * width, 3).index_copy(0, pixel, weights)
    return dense.reshape(num_images, height, width, 3)


def _interpolate(
    attributes: Float[Tensor, "#n v c"], fragments: Fragments, faces: Int[Tensor, "f 3"]
) -> Float[Tensor, "n h w c"]:
    num_images, height, width = fragments.triangle.shape
    pixel = (fragments.triangle.reshape(-1) >= 0).nonzero()[:, 0]
    corner = _corner_rows(faces, fragments.triangle, pixel, attributes.shape[0], attributes.shape[1])
    weights = gather_rows(fragments.barycentric.reshape(-1, 3), pixel)
    values = (gather_rows(attributes.flatten(0, 1), corner) * weights[..., None]).sum(1)
    dense = values.new_zeros(num_images * height * width, values.shape[-1]).index_copy(0, pixel, values)
    return dense.reshape(num_images, height, width, -1)


def _corner_rows(
    faces: Int[Tensor, "f 3"], triangle: Int[Tensor, "n h w"], pixel: Int[Tensor, " p"], groups: int, num_vertices: int
) -> Int[Tensor, "p 3"]:
    """Rows of the corners under hit pixels in a table of `groups` x `num_vertices` rows (one group serves all)."""
    corner = faces.index_select(0, triangle.reshape(-1)[pixel]).long()
    if groups == 1:
        return corner
    return corner + (pixel // triangle[0].numel() * num_vertices)[:, None]
