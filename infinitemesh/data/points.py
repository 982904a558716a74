"""Coloured signed-distance points of every object of a pack, made once on the device and kept there.

    cache = cache_points(pack, seed=0)                   # object space, about 20 bytes a point
    batch = draw_points(cache, pack, ids, rig, 3072, generator)    # world space, turned with the rig

What is inside is decided by looking, because training meshes are open, self-intersecting and inconsistently oriented
(Sec. 3.3 needs a closed surface). `visibility` renders depth maps from all sides; then

- a face that no view sees on either side is interior clutter and is no surface;
- a face seen on one side is turned so that this side is its outside; near it, the sign is the side of its plane;
- a face seen on both sides is a thin sheet (an open shell, a leaf): it becomes a solid of `sheet_half_thickness`;
- farther away, a point is outside when some view sees it in front of the surface.

So a hole wider than a few pixels opens the volume behind it, and an unseen cavity is solid.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Float16, Int, Int8, UInt8
from torch import Tensor

from infinitemesh.data.exact import exact_matmul, mixed
from infinitemesh.data.gather import GatheredObjects, gather_objects
from infinitemesh.data.materials import Materials, paint, sample_textures
from infinitemesh.data.object_pack import ObjectPack
from infinitemesh.data.rigs import Rig
from infinitemesh.data.surface import crease_normals, face_normals, nearest_on_triangles
from infinitemesh.data.visibility import DepthMaps, render_depth_maps


@dataclass(frozen=True, kw_only=True)
class PointOptions:
    """Counts for each object; lengths in the box frame (longest side 1)."""

    points: int = 16_384
    near_share: float = 0.5  # the first points of a row; half of them at each width
    near_widths: tuple[float, float] = (0.01, 0.04)  # standard deviations about the surface
    box_margin: float = 0.1  # half of the others fill the object's box and this margin,
    cube_half_side: float = 0.8  # half the cube that the field covers
    surface_samples: int = 16_384
    directions: int = 48
    depth_px: int = 192
    side_offset: float = 0.01  # how far off a face its two sides are looked at
    plane_sign_within: float = 0.02  # nearer than this the plane decides, farther away visibility alone
    sheet_half_thickness: float = 0.01


@dataclass(frozen=True)
class PointCache:
    """m points of n objects, in object space; the first `num_near` of a row are near the surface."""

    points: Float16[Tensor, "n m 3"]
    distance: Float16[Tensor, "n m"]  # negative inside
    nearest: Float16[Tensor, "n m 3"]  # on the surface
    normal: Int8[Tensor, "n m 3"]  # there, outwards, times 127
    rgb: UInt8[Tensor, "n m 3"]  # there, in the object's own texture
    num_near: int

    def to(self, device: torch.device | str) -> "PointCache":
        moved = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **moved)


@dataclass(frozen=True)
class PointBatch:
    """k points of b objects in the world. `has_colour` False: take no colour supervision from the object."""

    points: Float[Tensor, "b k 3"]
    distance: Float[Tensor, "b k"]
    normal: Float[Tensor, "b k 3"]
    rgb: Float[Tensor, "b k 3"]
    has_colour: Bool[Tensor, " b"]


def draw_points(
    cache: PointCache,
    pack: ObjectPack,
    object_ids: Int[Tensor, " b"],
    rig: Rig,
    num: int,
    generator: torch.Generator,
    *,
    near_share: float = 0.5,
    materials: Materials | None = None,
) -> PointBatch:
    """A random part of every object's points, near ones first, moved by the rig and painted as the views are."""
    b, device = len(object_ids), cache.points.device
    total, num_near = cache.points.shape[1], round(num * near_share)
    near = torch.randint(cache.num_near, (b, num_near), generator=generator, device=device)
    far = torch.randint(cache.num_near, total, (b, num - num_near), generator=generator, device=device)
    at = torch.cat([near, far], dim=1)
    row = object_ids[:, None]
    normal = F.normalize(cache.normal[row, at].float(), dim=-1)
    rgb = cache.rgb[row, at].float() / 255
    if materials is not None:
        nearest = cache.nearest[row, at].float().flatten(0, 1)
        owner = torch.arange(b, device=device).repeat_interleave(num)
        rgb = paint(materials, pack.textures, rgb.flatten(0, 1), nearest, normal.flatten(0, 1), owner).reshape(
            b, num, 3
        )
    return PointBatch(
        points=rig.points(cache.points[row, at].float()),
        distance=rig.distances(cache.distance[row, at].float()),
        normal=rig.directions(normal),
        rgb=rgb,
        has_colour=pack.has_colour[object_ids] | (torch.full((b,), materials is not None, device=device)),
    )


@torch.no_grad()
@exact_matmul()
def cache_points(
    pack: ObjectPack, *, seed: int = 0, options: PointOptions | None = None, max_elements: int | None = None
) -> PointCache:
    """Points of every object, on the pack's device.

    `max_elements` bounds the largest temporary (4 bytes each): None is 2^31 on CUDA, which wants 20 GiB, else 2^27.
    Objects are taken in groups as their faces allow; the same seed gives the same points whatever the memory.
    """
    options = options or PointOptions()
    n, m, device = len(pack), options.points, pack.device
    max_elements = max_elements or (1 << 31 if device.type == "cuda" else 1 << 27)
    cache = PointCache(
        points=torch.empty(n, m, 3, dtype=torch.float16, device=device),
        distance=torch.empty(n, m, dtype=torch.float16, device=device),
        nearest=torch.empty(n, m, 3, dtype=torch.float16, device=device),
        normal=torch.empty(n, m, 3, dtype=torch.int8, device=device),
        rgb=torch.empty(n, m, 3, dtype=torch.uint8, device=device),
        num_near=round(m * options.near_share),
    )
    for group in _groups(pack, options, max_elements):
        ids = torch.tensor(group, device=device)
        _fill(cache, pack, ids, _draws(ids, options, seed), options, max_elements)
    return cache


def _groups(pack: ObjectPack, options: PointOptions, max_elements: int) -> list[list[int]]:
    """Objects of similar face counts, so that little is padded; depth maps and their faces stay below the bound."""
    faces = pack.face_start.diff().tolist()
    groups: list[list[int]] = [[]]
    used = 0.0
    for i in sorted(range(len(faces)), key=faces.__getitem__):
        cost = options.directions * (4 * faces[i] + options.depth_px**2)
        if groups[-1] and used + cost > max_elements / 16:
            groups.append([])
            used = 0.0
        groups[-1].append(i)
        used += cost
    return groups


@dataclass(frozen=True)
class _Draws:
    """All randomness of b objects: uniform in [0, 1) but for `noise`, which is normal."""

    face: Float[Tensor, "b samples"]
    inside_face: Float[Tensor, "b samples 2"]
    sample: Float[Tensor, "b near"]
    noise: Float[Tensor, "b near 3"]
    place: Float[Tensor, "b far 3"]


def _draws(object_ids: Int[Tensor, " b"], options: PointOptions, seed: int) -> _Draws:
    """From one generator for each object, so that neither groups nor neighbours change an object's points."""
    near = round(options.points * options.near_share)
    far, samples = options.points - near, options.surface_samples
    sizes = (samples, samples * 2, near, far * 3)
    uniform = torch.empty(len(object_ids), sum(sizes), device=object_ids.device)
    noise = torch.empty(len(object_ids), near, 3, device=object_ids.device)
    generator = torch.Generator(object_ids.device)
    for row, object_id in enumerate(object_ids.tolist()):
        generator.manual_seed(seed * 1_000_003 + object_id)
        uniform[row].uniform_(generator=generator)
        noise[row].normal_(generator=generator)
    face, inside_face, sample, place = uniform.split(sizes, dim=1)
    return _Draws(face, inside_face.unflatten(1, (-1, 2)), sample, noise, place.unflatten(1, (-1, 3)))


@dataclass(frozen=True)
class _Surface:
    """Places on b objects' surfaces: random ones, evenly by area, then the middle of every face (padded).

    Unseen and padded ones lie far away. `face` is a row of the gathered faces.
    """

    place: Float[Tensor, "b s 3"]
    face: Int[Tensor, "b s"]
    outward: Float[Tensor, "b s 3"]
    is_sheet: Bool[Tensor, "b s"]
    is_seen: Bool[Tensor, "b s"]


def _fill(
    cache: PointCache, pack: ObjectPack, ids: Int[Tensor, " b"], draws: _Draws, options: PointOptions, max_elements: int
) -> None:
    objects = gather_objects(pack, ids)
    maps = render_depth_maps(objects, directions=options.directions, size=options.depth_px)
    surface = _seen_surface(objects, maps, draws, options)
    queries, source = _query_points(objects, surface, draws, options)
    at_once = max(1, max_elements // (options.points * surface.face.shape[1]))
    for first in range(0, len(ids), at_once):
        part = slice(first, first + at_once)
        points = queries[part].float()
        nearest = _nearest_samples(points, surface.place[part])
        known = torch.cat([source[part], nearest[:, source.shape[1] :, 0]], dim=1)
        candidates = torch.cat([nearest, known[..., None]], dim=-1)
        _store(cache, pack, objects, maps, surface, ids[part], part, points, candidates, options)
    cache.points[ids] = queries


def _seen_surface(objects: GatheredObjects, maps: DepthMaps, draws: _Draws, options: PointOptions) -> _Surface:
    triangles = objects.vertices[objects.faces]
    edges = triangles[:, 1:] - triangles[:, :1]
    area_until = torch.linalg.cross(edges[:, 0], edges[:, 1]).norm(dim=-1).double().cumsum(0)
    ends = area_until[objects.face_start[1:] - 1]
    begins = F.pad(ends[:-1], (1, 0))
    stratum = torch.arange(draws.face.shape[1], device=draws.face.device)
    share = (stratum + draws.face.double()) / draws.face.shape[1]
    wanted = begins[:, None] + share * (ends - begins)[:, None]
    face = torch.searchsorted(area_until, wanted.flatten()).reshape(wanted.shape)
    face = torch.minimum(torch.maximum(face, objects.face_start[:-1, None]), objects.face_start[1:, None] - 1)

    root, along = draws.inside_face[..., 0].sqrt(), draws.inside_face[..., 1]
    barycentric = torch.stack([1 - root, root * (1 - along), root * along], dim=-1)

    counts = objects.face_start.diff()
    position = torch.arange(int(counts.max()), device=face.device)
    every_face = torch.minimum(objects.face_start[:-1, None] + position, objects.face_start[1:, None] - 1)
    is_real = F.pad(position < counts[:, None], (face.shape[1], 0), value=True)
    middle = torch.full((*every_face.shape, 3), 1 / 3, device=face.device)
    face, barycentric = torch.cat([face, every_face], dim=1), torch.cat([barycentric, middle], dim=1)
    place = mixed(barycentric, triangles[face])
    normal = face_normals(triangles)[face]
    offset = options.side_offset * normal
    front, back = maps.sees(place + offset), maps.sees(place - offset)
    is_seen = (front | back) & is_real
    return _Surface(
        place=torch.where(is_seen[..., None], place, 1e3),
        face=face,
        outward=torch.where((back & ~front)[..., None], -normal, normal),
        is_sheet=front & back,
        is_seen=is_seen,
    )


def _query_points(
    objects: GatheredObjects, surface: _Surface, draws: _Draws, options: PointOptions
) -> tuple[Float16[Tensor, "b m 3"], Int[Tensor, "b near"]]:
    """Near points about seen samples, half of them at each width; then half in the box, half in the cube.

    Also the samples that near points were made from. Rounded to what is stored, so that distances are exact.
    """
    is_seen = surface.is_seen[:, : draws.face.shape[1]]
    seen_first = (~is_seen).to(torch.uint8).argsort(dim=1, stable=True)
    num_seen = is_seen.sum(1, keepdim=True).clamp(min=1)
    sample = seen_first.gather(1, (draws.sample * num_seen).long().clamp(max=draws.face.shape[1] - 1))
    about = surface.place.gather(1, sample[..., None].expand(-1, -1, 3))
    near, far = draws.noise.shape[1], draws.place.shape[1]
    narrow, wide = options.near_widths
    width = torch.where(torch.arange(near, device=about.device) % 2 == 0, narrow, wide)
    owner = objects.owner_of_vertex[:, None].expand(-1, 3)
    half_side = about.new_zeros(len(about), 3).scatter_reduce(0, owner, objects.vertices.abs(), "amax")
    in_box = (torch.arange(far, device=about.device) % 2 == 0)[:, None]
    reach = torch.where(in_box, half_side[:, None] + options.box_margin, options.cube_half_side)
    return torch.cat([about + draws.noise * width[:, None], (draws.place * 2 - 1) * reach], dim=1).half(), sample


def _nearest_samples(
    points: Float[Tensor, "b m 3"], samples: Float[Tensor, "b s 3"], num_candidates: int = 4
) -> Int[Tensor, "b m candidates"]:
    """The nearest sample of each of a few interleaved parts: neighbours, at the cost of one search.

    |s|^2 - 2 p.s as one product, which must not run in TF32 (`cache_points` sees to that).
    """
    samples = F.pad(samples, (0, 0, 0, -samples.shape[1] % num_candidates), value=1e3)
    samples = rearrange(samples, "b (s part) xyz -> b (part s) xyz", part=num_candidates)
    from_sample = torch.cat([-2 * samples, samples.square().sum(-1, keepdim=True)], dim=-1)
    score = F.pad(points, (0, 1), value=1.0) @ from_sample.transpose(1, 2)
    nearest = score.unflatten(-1, (num_candidates, -1)).argmin(-1)
    return nearest * num_candidates + torch.arange(num_candidates, device=points.device)


def _store(
    cache: PointCache,
    pack: ObjectPack,
    objects: GatheredObjects,
    maps: DepthMaps,
    surface: _Surface,
    ids: Int[Tensor, " b"],
    part: slice,
    points: Float[Tensor, "b m 3"],
    candidates: Int[Tensor, "b m c"],
    options: PointOptions,
) -> None:
    """Exact distances to the candidates' triangles, signs, and what the surface looks like there."""
    row = torch.arange(len(ids), device=points.device)[:, None, None]
    face = surface.face[part][row, candidates]
    outward = surface.outward[part][row, candidates]
    place, barycentric = nearest_on_triangles(
        points[:, :, None].expand(-1, -1, candidates.shape[-1], -1), objects.vertices[objects.faces[face]]
    )
    offset = points[:, :, None] - place
    distance = offset.norm(dim=-1)
    height = (offset * outward).sum(-1)
    steepness = height.abs() / distance.clamp(min=1e-9)
    best = (distance * (1 - 1e-3 * steepness)).argmin(-1, keepdim=True)  # at an edge, the face that is looked at

    distance, height = distance.gather(-1, best)[..., 0], height.gather(-1, best)[..., 0]
    is_sheet = surface.is_sheet[part][row, candidates].gather(-1, best)[..., 0]
    is_outside = maps.part(part).sees(points) | ((distance < options.plane_sign_within) & (height > 0))
    signed = torch.where(is_outside, distance, -distance)
    cache.distance[ids] = torch.where(is_sheet, distance - options.sheet_half_thickness, signed).half()

    at = best[..., None].expand(-1, -1, -1, 3)
    place, barycentric = place.gather(2, at)[:, :, 0], barycentric.gather(2, at)[:, :, 0].flatten(0, 1)
    outward, height = outward.gather(2, at)[:, :, 0], height[..., None]
    corner = objects.faces[face.gather(-1, best)[..., 0].flatten()]
    normal = crease_normals(objects.normals[corner], objects.vertices[corner], barycentric).reshape(outward.shape)
    outward = torch.where(is_sheet[..., None] & (height < 0), -outward, outward)
    normal = normal * torch.where((normal * outward).sum(-1, keepdim=True) < 0, -1.0, 1.0)
    uv = mixed(barycentric, objects.uv[corner])
    texture = objects.texture_of[part].repeat_interleave(points.shape[1])
    cache.rgb[ids] = (sample_textures(pack.textures, texture, uv) * 255).round().byte().reshape(outward.shape)
    cache.nearest[ids] = place.half()
    cache.normal[ids] = (normal * 127).round().to(torch.int8)
