"""Meshes in and out: one shape in every format, +Y up, the front on +Z, no mirror and no rotation anywhere.

format   colours                             normals    metadata       files
.glb     texture sRGB | COLOR_0 linear       always     asset.extras   one
.gltf    the same                            always     asset.extras   + .bin, + image
.obj     texture sRGB | vertex colours sRGB  as given   -              + .mtl and .png with a texture
.ply     vertex colours sRGB                 as given   -              one
.stl     -                                   of faces   -              one

A texture becomes vertex colours in a PLY (sampled at the vertices) and nothing in an STL. Where a mesh has a texture
and vertex colours, the texture is written. The same mesh gives the same bytes.

Reading trusts nothing: known suffixes only, limits on bytes and faces, no file outside the mesh's folder, no network.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from PIL import Image
from trimesh.visual.color import ColorVisuals
from trimesh.visual.material import PBRMaterial
from trimesh.visual.texture import TextureVisuals

from infinitemesh.errors import InputError
from infinitemesh.files import atomic_write_all, check_output
from infinitemesh.geometry.gltf_read import read_gltf
from infinitemesh.geometry.gltf_write import glb_bytes, gltf_files
from infinitemesh.geometry.image_file import TextureFormat
from infinitemesh.geometry.mesh_part import mesh_of, part_of
from infinitemesh.geometry.mesh_parts_join import join_parts
from infinitemesh.geometry.mesh_text import obj_files, ply_bytes, stl_bytes
from infinitemesh.geometry.obj_read import read_obj
from infinitemesh.geometry.trimesh_parts import parts_of_trimesh, read_by_trimesh
from infinitemesh.types import Mesh

SUFFIXES = (".glb", ".gltf", ".obj", ".ply", ".stl")
MAX_BYTES = 2**30
MAX_FACES = 10_000_000


def load_mesh(path: str | Path, *, max_bytes: int = MAX_BYTES, max_faces: int = MAX_FACES) -> Mesh:
    """Reads .glb, .gltf, .obj, .ply or .stl; InputError for anything else, for damage, and for more than the limits.

    The objects of a file become one mesh; `join_parts` says what happens to their materials. A STL's corners at one
    place become one vertex. `metadata` is a glTF's asset.extras.
    """
    path = Path(path)
    suffix = _suffix(path, "read")
    metadata: Mapping[str, Any] = {}
    if suffix in (".glb", ".gltf"):
        parts, metadata = read_gltf(path, max_bytes=max_bytes, max_faces=max_faces)
    elif suffix == ".obj":
        parts = read_obj(path, max_bytes=max_bytes, max_faces=max_faces)
    else:
        parts = read_by_trimesh(path, max_bytes=max_bytes, max_faces=max_faces)
    parts = [part for part in parts if len(part.faces)]
    for part in parts:
        part.check(path)
    if not parts:
        raise InputError(f"{path} holds no triangles; nothing can be done with points or lines")
    return mesh_of(join_parts(parts), dict(metadata))


def save_mesh(mesh: Mesh, path: str | Path, *, overwrite: bool = False, texture_format: TextureFormat = "png") -> Path:
    """Writes the format that the suffix names; all of its files appear, or none.

    `texture_format` "webp" is for .glb and .gltf: about a quarter of the size, not exact.
    """
    path = Path(path)
    suffix = _suffix(path, "written")
    check_output(path, overwrite=overwrite)
    if texture_format != "png" and suffix not in (".glb", ".gltf"):
        raise InputError(f"texture_format {texture_format!r} is for .glb and .gltf; a {suffix} file takes 'png'")
    part = part_of(mesh)
    if suffix == ".glb":
        files = {path.name: glb_bytes(part, mesh.metadata, texture_format=texture_format)}
    elif suffix == ".gltf":
        files = gltf_files(part, mesh.metadata, name=path.name, texture_format=texture_format)
    elif suffix == ".obj":
        files = obj_files(part, name=path.name)
    elif suffix == ".ply":
        files = {path.name: ply_bytes(part)}
    else:
        files = {path.name: stl_bytes(part)}
    with atomic_write_all([path.with_name(name) for name in files], overwrite=overwrite) as temporaries:
        for temporary, content in zip(temporaries, files.values(), strict=True):
            temporary.write_bytes(content)
    return path


def to_trimesh(mesh: Mesh) -> trimesh.Trimesh:
    """For trimesh's tools: unprocessed, colours as sRGB, uv with trimesh's origin (bottom left).

    Save with `Mesh.save`, not with trimesh's export, which writes sRGB numbers into glTF's linear COLOR_0.
    """
    part = part_of(mesh)
    result = trimesh.Trimesh(
        part.vertices, part.faces, vertex_normals=part.normals, process=False, metadata=dict(mesh.metadata)
    )
    if part.image is not None and part.uv is not None:
        material = PBRMaterial(
            baseColorTexture=Image.fromarray(part.image), metallicFactor=0.0, roughnessFactor=1.0, doubleSided=True
        )
        result.visual = TextureVisuals(uv=part.uv.astype(np.float64) * (1, -1) + (0, 1), material=material)
    elif part.vertex_rgb is not None:
        result.visual = ColorVisuals(result, vertex_colors=(part.vertex_rgb * 255).round().astype(np.uint8))
    return result


def from_trimesh(source: trimesh.Trimesh | trimesh.Scene) -> Mesh:
    """A trimesh mesh or scene, joined into one mesh; its vertex colours and textures are taken as sRGB."""
    parts = [part for part in parts_of_trimesh(source) if len(part.faces)]
    if not parts:
        raise InputError("the trimesh object holds no triangles")
    for part in parts:
        part.check("the trimesh object")
    metadata = {k: v for k, v in source.metadata.items() if isinstance(v, str | int | float | bool | list | dict)}
    return mesh_of(join_parts(parts), metadata)


def _suffix(path: Path, verb: str) -> str:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{path.name!r} cannot be {verb}: the suffix must be one of {', '.join(SUFFIXES)}")
    return suffix
