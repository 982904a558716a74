"""Many parts, many materials -> one part with one material, as `Mesh` knows it."""

from dataclasses import replace

import numpy as np

from infinitemesh.geometry.mesh_part import WHITE, Part, image_at, tinted


def join_parts(parts: list[Part]) -> Part:
    """The parts one after the other.

    One texture for all stays; without textures each part's colour goes to its vertices. Several textures cannot be
    one: every part then gets vertex colours, sampled from its texture at its vertices.
    """
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    one_texture = first.image is not None and all(p.image is first.image and p.factor == first.factor for p in parts)
    if not one_texture:
        parts = [_vertex_coloured(part) for part in parts]
        if all((part.vertex_rgb == 1).all() for part in parts):
            parts = [replace(part, vertex_rgb=None) for part in parts]
    starts = np.cumsum([0, *(len(part.vertices) for part in parts[:-1])])
    return Part(
        np.concatenate([part.vertices for part in parts]),
        np.concatenate([part.faces + start for part, start in zip(parts, starts, strict=True)]),
        normals=_stacked([part.normals for part in parts]),
        vertex_rgb=_stacked([part.vertex_rgb for part in parts]),
        uv=_stacked([part.uv for part in parts]),
        image=first.image if one_texture else None,
        factor=first.factor if one_texture else WHITE,
    )


def _vertex_coloured(part: Part) -> Part:
    import torch

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
