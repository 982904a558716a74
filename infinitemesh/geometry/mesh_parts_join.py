"""Many parts, many materials -> one part with one material, as `Mesh` knows it."""

from dataclasses import replace

import numpy as np
import torch

from infinitemesh.geometry.mesh_part import WHITE, Part, image_at, tinted
from infinitemesh.geometry.texture_atlas import with_one_texture


def join_parts(parts: list[Part]) -> Part:
    """The parts one after the other.

    One texture for all stays as it is. Without textures each part's colour goes to its vertices. Several textures,
    or textured beside plain parts, become one atlas. Only where vertex colours stand beside textures do all parts get
    vertex colours, sampled from the textures at the vertices: then detail between vertices is lost.
    """
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    if not any(part.image is not None for part in parts):
        parts = [_vertex_coloured(part) for part in parts]
        if all((part.vertex_rgb == 1).all() for part in parts):
            parts = [replace(part, vertex_rgb=None) for part in parts]
    elif any(part.image is not first.image or part.factor != first.factor for part in parts):
        mixed = any(part.image is None and part.vertex_rgb is not None for part in parts)
        parts = [_vertex_coloured(part) for part in parts] if mixed else with_one_texture(parts)
    starts = np.cumsum([0, *(len(part.vertices) for part in parts[:-1])])
    return Part(
        np.concatenate([part.vertices for part in parts]),
        np.concatenate([part.faces + start for part, start in zip(parts, starts, strict=True)]),
        normals=_stacked([part.normals for part in parts]),
        vertex_rgb=_stacked([part.vertex_rgb for part in parts]),
        uv=_stacked([part.uv for part in parts]),
        image=parts[0].image,
        factor=parts[0].factor,
    )


def _vertex_coloured(part: Part) -> Part:
    if part.image is not None and part.uv is not None:
        colours = image_at(part.image, part.uv)
    elif part.vertex_rgb is not None:
        colours = part.vertex_rgb
    else:
        colours = np.ones((len(part.vertices), 3), np.float32)
    colours = tinted(torch.from_numpy(colours), part.factor).numpy()
    return replace(part, vertex_rgb=colours, uv=None, image=None, factor=WHITE)


def _stacked(arrays: list[np.ndarray | None]) -> np.ndarray | None:
    """None where any part has none."""
    present = [array for array in arrays if array is not None]
    return np.concatenate(present) if len(present) == len(arrays) else None
