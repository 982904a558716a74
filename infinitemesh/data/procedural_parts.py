"""Solids with textures (closed by construction: manifold3d), and their assembly into one textured mesh. +Y is up."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import manifold3d
import numpy as np
import torch
from jaxtyping import Float, Int
from manifold3d import CrossSection, Manifold
from PIL import Image

from infinitemesh.data.procedural_textures import Number, Picture
from infinitemesh.types import Mesh

ATLAS_PX = 512
GUTTER_PX = 2  # of every tile, so that bilinear sampling does not reach the neighbour
LICENCE = "CC0-1.0"


@dataclass(frozen=True)
class Part:
    solid: Manifold
    texture: Picture


def box(width: Number, height: Number, depth: Number) -> Manifold:
    return Manifold.cube((width, height, depth), True)


def soft_box(width: Number, height: Number, depth: Number, radius: Number, segments: int = 16) -> Manifold:
    """A box with rounded edges and corners."""
    corner = Manifold.sphere(radius, segments)
    x, y, z = width / 2 - radius, height / 2 - radius, depth / 2 - radius
    return Manifold.batch_hull(
        [corner.translate((i * x, j * y, k * z)) for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)]
    )


def ball(radius: Number, segments: int = 48) -> Manifold:
    return Manifold.sphere(radius, segments)


def rod(radius: Number, height: Number, top_radius: Number | None = None, segments: int = 40) -> Manifold:
    """A cylinder or a cone stump along Y, centred."""
    top = radius if top_radius is None else top_radius
    return Manifold.cylinder(height, radius, top, segments, True).rotate((-90, 0, 0))


def ring(radius: Number, thickness: Number, segments: int = 48, tube_segments: int = 20) -> Manifold:
    """A torus about Y; `thickness` is the tube's radius."""
    tube = CrossSection.circle(thickness, tube_segments).translate((radius, 0))
    return tube.revolve(segments).rotate((-90, 0, 0))


def lathe(profile: Sequence[tuple[Number, Number]], segments: int = 48) -> Manifold:
    """Turns the outline (radius, height) about Y; outlines close themselves along the axis."""
    points = np.asarray([(0.0, profile[0][1]), *profile, (0.0, profile[-1][1])])
    if _area(points) < 0:
        points = points[::-1]
    return CrossSection([points]).revolve(segments).rotate((-90, 0, 0))


def slab(outline: Sequence[tuple[Number, Number]], depth: Number) -> Manifold:
    """An outline in (x, y) with thickness along z, centred."""
    points = np.asarray(outline, np.float64)
    if _area(points) < 0:
        points = points[::-1]
    return CrossSection([points]).extrude(depth).translate((0, 0, -depth / 2))


def cut_away(solid: Manifold, *tools: Manifold) -> Manifold:
    for tool in tools:
        solid = solid - tool
    return solid


def around(solid: Manifold, count: int) -> Manifold:
    """Copies turned about Y."""
    return Manifold.batch_boolean([solid.rotate((0, 360 * i / count, 0)) for i in range(count)], manifold3d.OpType.Add)


def mirrored(solid: Manifold) -> Manifold:
    """With its reflection in x."""
    return solid + solid.mirror((1, 0, 0))


def arrays_of(solid: Manifold) -> tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "f 3"]]:
    mesh = solid.to_mesh()
    return np.asarray(mesh.vert_properties[:, :3], np.float64), np.asarray(mesh.tri_verts, np.int64)


def assemble(parts: Sequence[Part], metadata: dict[str, Any] | None = None) -> Mesh:
    """One mesh, longest side 1 and centred, with the parts' textures in one atlas.

    Each face is projected along the axis that it faces most, so vertices are split where that axis changes.
    """
    cells = int(np.ceil(np.sqrt(len(parts))))
    tile = ATLAS_PX // cells
    atlas = np.full((ATLAS_PX, ATLAS_PX, 3), 0.5)
    vertices, faces, uv, count = [], [], [], 0
    for i, part in enumerate(parts):
        row, column = divmod(i, cells)
        atlas[row * tile : (row + 1) * tile, column * tile : (column + 1) * tile] = _fitted(part.texture, tile)
        places, triangles = arrays_of(part.solid)
        split, split_faces, in_tile = _box_projected(places, triangles)
        inner = GUTTER_PX + in_tile * (tile - 2 * GUTTER_PX)
        vertices.append(places[split])
        faces.append(split_faces + count)
        uv.append((inner + np.array([column, row]) * tile) / ATLAS_PX)
        count += len(split)
    mesh = Mesh(
        vertices=torch.tensor(np.concatenate(vertices), dtype=torch.float32),
        faces=torch.tensor(np.concatenate(faces)),
        uv=torch.tensor(np.concatenate(uv), dtype=torch.float32),
        texture=torch.tensor(np.round(atlas * 255) / 255, dtype=torch.float32).permute(2, 0, 1).contiguous(),
        metadata={"licence": LICENCE, **(metadata or {})},
    )
    return mesh.normalized()


def _box_projected(
    places: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]
) -> tuple[Int[np.ndarray, " s"], Int[np.ndarray, "f 3"], Float[np.ndarray, "s 2"]]:
    """Source vertex of each split vertex, faces of split vertices, and their place in [0, 1]^2 (from the top left)."""
    corners = places[faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    axis = np.abs(normal).argmax(1)
    key = (faces * 3 + axis[:, None]).ravel()
    unique, split_of_corner = np.unique(key, return_inverse=True)
    source, split_axis = unique // 3, unique % 3
    low, side = places.min(0), max(float(np.ptp(places, axis=0).max()), 1e-9)
    x, y, z = ((places[source] - low) / side).T
    u = np.where(split_axis == 0, z, x)
    v = np.where(split_axis == 1, z, 1 - y)
    return source, split_of_corner.reshape(-1, 3), np.stack([u, v], axis=-1).clip(0, 1)


def _fitted(picture: Picture, px: int) -> Float[np.ndarray, "tile tile 3"]:
    image = Image.fromarray(np.round(picture * 255).astype(np.uint8))
    return np.asarray(image.resize((px, px), Image.Resampling.BICUBIC)) / 255


def _area(points: Float[np.ndarray, "n 2"]) -> float:
    following = np.roll(points, -1, axis=0)
    return float((points[:, 0] * following[:, 1] - following[:, 0] * points[:, 1]).sum() / 2)
