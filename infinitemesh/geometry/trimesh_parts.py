"""trimesh's meshes as parts, and its readers for PLY and STL, shut off from the rest of the disk."""

import io
from pathlib import Path

import numpy as np
import torch
import trimesh
from trimesh.visual.color import ColorVisuals, to_rgba
from trimesh.visual.material import PBRMaterial
from trimesh.visual.texture import TextureVisuals

from infinitemesh.errors import InputError
from infinitemesh.files import read_bytes
from infinitemesh.geometry.colour import linear_from_srgb
from infinitemesh.geometry.mesh_part import WHITE, Part
from infinitemesh.geometry.normals import places


def read_by_trimesh(path: Path, *, max_bytes: int, max_faces: int) -> list[Part]:
    """A PLY or STL. A PLY's texture file is not opened; a STL's corners at one place become one vertex."""
    content = read_bytes(path, max_bytes=max_bytes)
    suffix = path.suffix.lower()[1:]
    try:
        loaded = trimesh.load(io.BytesIO(content), file_type=suffix, process=False, resolver=None, skip_materials=True)
    except Exception as error:  # its readers raise whatever the damage leads to
        raise InputError(
            f"{path} is damaged or not a {suffix.upper()} file ({type(error).__name__}: {error})"
        ) from error
    parts = parts_of_trimesh(loaded)
    if (num_faces := sum(len(part.faces) for part in parts)) > max_faces:
        raise InputError(f"{path} has {num_faces:,} faces, over the limit of {max_faces:,}; decimate it first")
    for part in parts:
        part.check(path)
    return [_merged(part) for part in parts] if suffix == "stl" else parts


def parts_of_trimesh(source: trimesh.Trimesh | trimesh.Scene | object) -> list[Part]:
    """Every mesh of a scene, placed; point clouds and paths are left out."""
    meshes = source.dump() if isinstance(source, trimesh.Scene) else [source]
    return [_part(mesh) for mesh in meshes if isinstance(mesh, trimesh.Trimesh)]


def _part(mesh: trimesh.Trimesh) -> Part:
    vertices, faces = np.asarray(mesh.vertices, np.float32), np.asarray(mesh.faces, np.int64)
    normals = np.asarray(mesh.vertex_normals, np.float32) if "vertex_normals" in mesh._cache else None
    visual = mesh.visual
    if isinstance(visual, ColorVisuals):
        if visual.kind == "face":  # a vertex has one colour, so faces stop sharing them
            faces = np.arange(faces.size).reshape(-1, 3)
            corner_rgb = np.repeat(visual.face_colors[:, :3], 3, axis=0)
            return Part(vertices[mesh.faces.ravel()], faces, vertex_rgb=_unit_range(corner_rgb))
        colours = _unit_range(visual.vertex_colors[:, :3]) if visual.kind == "vertex" else None
        return Part(vertices, faces, normals, vertex_rgb=colours)
    if not isinstance(visual, TextureVisuals):
        return Part(vertices, faces, normals)
    image, factor = _base_colour(visual.material)
    if visual.uv is None or len(visual.uv) != len(vertices):
        return Part(vertices, faces, normals, factor=factor)
    uv = (np.asarray(visual.uv, np.float64) * (1, -1) + (0, 1)).astype(np.float32)
    return Part(vertices, faces, normals, uv=uv, image=image, factor=factor)


def _base_colour(material: object) -> tuple[np.ndarray | None, tuple[float, float, float]]:
    if isinstance(material, PBRMaterial):
        image, colour = material.baseColorTexture, material.baseColorFactor
        factor = WHITE if colour is None else _triple(_unit_range(to_rgba(colour)[:3]))
    else:
        image, colour = getattr(material, "image", None), getattr(material, "diffuse", None)
        factor = WHITE
        if image is None and colour is not None:
            factor = _triple(linear_from_srgb(torch.from_numpy(_unit_range(to_rgba(colour)[:3]))).numpy())
    return (None if image is None else np.asarray(image.convert("RGB"))), factor


def _merged(part: Part) -> Part:
    place = places(part.vertices)
    _, first = np.unique(place, return_index=True)
    return part.at_vertices(first, place[part.faces])


def _unit_range(colours: np.ndarray) -> np.ndarray:
    return np.asarray(colours, np.float32) / np.float32(255)


def _triple(colour: np.ndarray) -> tuple[float, float, float]:
    red, green, blue = colour.tolist()
    return red, green, blue
