"""Picking objects out of a pack by index arithmetic: a batch of any size without a loop over objects."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from infinitemesh.data.object_pack import ObjectPack


@dataclass(frozen=True)
class GatheredObjects:
    """b objects one after the other; faces index the gathered vertices, owners are positions in the batch."""

    vertices: Float[Tensor, "v 3"]
    normals: Float[Tensor, "v 3"]
    uv: Float[Tensor, "v 2"]
    faces: Int[Tensor, "f 3"]
    owner_of_vertex: Int[Tensor, " v"]
    owner_of_face: Int[Tensor, " f"]
    vertex_start: Int[Tensor, " starts"]
    face_start: Int[Tensor, " starts"]
    texture_of: Int[Tensor, " b"]


def gather_objects(pack: ObjectPack, object_ids: Int[Tensor, " b"]) -> GatheredObjects:
    vertex_first, face_first = pack.vertex_start[object_ids], pack.face_start[object_ids]
    vertex_counts = pack.vertex_start[object_ids + 1] - vertex_first
    face_counts = pack.face_start[object_ids + 1] - face_first
    vertex, owner_of_vertex = ragged_ranges(vertex_first, vertex_counts)
    face, owner_of_face = ragged_ranges(face_first, face_counts)
    vertex_start = starts(vertex_counts)
    return GatheredObjects(
        vertices=pack.vertices[vertex],
        normals=pack.normals[vertex],
        uv=pack.uv[vertex],
        faces=pack.faces[face] + vertex_start[owner_of_face, None],
        owner_of_vertex=owner_of_vertex,
        owner_of_face=owner_of_face,
        vertex_start=vertex_start,
        face_start=starts(face_counts),
        texture_of=pack.texture_of[object_ids],
    )


@dataclass(frozen=True)
class Instances:
    """Every object once per view, image by image: image i shows object i // views."""

    vertex: Int[Tensor, " iv"]  # the gathered vertex behind an instance's vertex
    image_of_vertex: Int[Tensor, " iv"]
    faces: Int[Tensor, "if 3"]
    image_of_face: Int[Tensor, " if"]


def repeat_per_view(objects: GatheredObjects, num_views: int) -> Instances:
    vertex_counts = objects.vertex_start.diff().repeat_interleave(num_views)
    face_counts = objects.face_start.diff().repeat_interleave(num_views)
    vertex_first = objects.vertex_start[:-1].repeat_interleave(num_views)
    vertex, image_of_vertex = ragged_ranges(vertex_first, vertex_counts)
    face, image_of_face = ragged_ranges(objects.face_start[:-1].repeat_interleave(num_views), face_counts)
    shift = starts(vertex_counts)[:-1] - vertex_first
    return Instances(vertex, image_of_vertex, objects.faces[face] + shift[image_of_face, None], image_of_face)


def ragged_ranges(
    first: Int[Tensor, " n"], count: Int[Tensor, " n"]
) -> tuple[Int[Tensor, " total"], Int[Tensor, " total"]]:
    """first[i], first[i] + 1, ... (count[i] of them) for every i, end to end; and the i of each."""
    owner = torch.repeat_interleave(torch.arange(len(count), device=count.device), count)
    within = torch.arange(len(owner), device=count.device) - starts(count)[owner]
    return first[owner] + within, owner


def starts(counts: Int[Tensor, " n"]) -> Int[Tensor, " starts"]:
    """0, counts[0], counts[0] + counts[1], ... and the total last."""
    return torch.nn.functional.pad(counts.cumsum(0), (1, 0))


def take_objects(pack: ObjectPack, ids: Int[Tensor, " m"]) -> ObjectPack:
    """Some of the objects, in the order of `ids`; textures stay shared."""
    ids = ids.to(pack.device)
    vertex_of, _ = ragged_ranges(pack.vertex_start[ids], pack.vertex_start.diff()[ids])
    face_of, _ = ragged_ranges(pack.face_start[ids], pack.face_start.diff()[ids])
    chosen = ids.tolist()
    return replace(
        pack,
        names=tuple(pack.names[i] for i in chosen),
        sources=tuple(pack.sources[i] for i in chosen),
        weights=pack.weights[ids],
        has_colour=pack.has_colour[ids],
        texture_of=pack.texture_of[ids],
        vertex_start=starts(pack.vertex_start.diff()[ids]),
        face_start=starts(pack.face_start.diff()[ids]),
        vertices=pack.vertices[vertex_of],
        normals=pack.normals[vertex_of],
        uv=pack.uv[vertex_of],
        faces=pack.faces[face_of],
    )
