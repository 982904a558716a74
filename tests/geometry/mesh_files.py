"""Meshes and glTF files for the tests of mesh files."""

import base64
import io
import json
import struct
from dataclasses import replace

import numpy as np
import torch
import trimesh
from PIL import Image

from infinitemesh.geometry.normals import smooth_normals
from infinitemesh.types import Mesh

KINDS = ("plain", "coloured", "textured")


def lopsided(kind: str = "plain", *, normals: bool = False) -> Mesh:
    """A closed shape without any symmetry, so that every mirror and every rotation shows."""
    sphere = trimesh.creation.icosphere(2)
    vertices = torch.tensor(sphere.vertices, dtype=torch.float32)
    vertices = vertices * torch.tensor([0.3, 0.5, 0.4]) + 0.2 * vertices[:, [1, 2, 0]] ** 2 * torch.tensor(
        [0.7, 0.2, 1]
    )
    mesh = Mesh(vertices, torch.tensor(sphere.faces), metadata={"seed": 7, "settings": {"views": [0, 90.5], "n": 2}})
    generator = torch.Generator().manual_seed(1)
    if kind == "coloured":
        mesh = replace(mesh, vertex_rgb=torch.rand(len(vertices), 3, generator=generator))
    if kind == "textured":
        texture = (torch.rand(3, 16, 32, generator=generator) * 255).round() / 255
        mesh = replace(mesh, uv=torch.rand(len(vertices), 2, generator=generator), texture=texture)
    if normals:
        mesh = replace(mesh, normals=torch.from_numpy(smooth_normals(vertices.numpy(), sphere.faces)))
    return mesh


def as_set(vertices) -> set[tuple[float, ...]]:
    return set(map(tuple, np.asarray(vertices, np.float32).tolist()))


def triangles(mesh: Mesh | trimesh.Trimesh) -> set[tuple[tuple[float, ...], ...]]:
    """Corner positions of every face, from the smallest on: keeps the winding, forgets numbering."""
    corners = np.asarray(mesh.vertices, np.float32)[np.asarray(mesh.faces)]
    rows = [[tuple(c) for c in face] for face in corners.tolist()]
    return {tuple(face[(i + face.index(min(face))) % 3] for i in range(3)) for face in rows}


def sampled(texture: torch.Tensor, uv: torch.Tensor) -> torch.Tensor:
    """[n, 3] bilinear colours of a texture [3, h, w] at uv [n, 2] with the origin at the top left, clamped."""
    at = (uv * 2 - 1)[None, None].float()
    return torch.nn.functional.grid_sample(texture[None], at, align_corners=False, padding_mode="border")[0, :, 0].T


def glb_tree(path) -> tuple[dict, bytes]:
    content = path.read_bytes()
    magic, version, total = struct.unpack_from("<4sII", content)
    assert (magic, version, total) == (b"glTF", 2, len(content)) and total % 4 == 0
    size, kind = struct.unpack_from("<I4s", content, 12)
    assert kind == b"JSON" and size % 4 == 0
    binary_size, binary_kind = struct.unpack_from("<I4s", content, 20 + size)
    assert binary_kind == b"BIN\0" and 28 + size + binary_size == total
    return json.loads(content[20 : 20 + size]), content[28 + size :]


def gltf_tree(path) -> tuple[dict, bytes]:
    tree = json.loads(path.read_bytes())
    return tree, (path.parent / tree["buffers"][0]["uri"]).read_bytes()


def write_gltf(path, tree: dict, arrays: dict[str, np.ndarray]) -> None:
    """A GLB whose accessors are `arrays` in order; entries of `tree` are laid over."""
    views, accessors, chunks = [], [], []
    kinds = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4"}
    components = {"i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123, "u4": 5125, "f4": 5126}
    for array in arrays.values():
        content = array.tobytes()
        views.append({"buffer": 0, "byteOffset": sum(map(len, chunks)), "byteLength": len(content)})
        chunks.append(content + b"\0" * (-len(content) % 4))
        accessors.append(
            {
                "bufferView": len(views) - 1,
                "componentType": components[array.dtype.str[1:]],
                "count": len(array),
                "type": kinds[1 if array.ndim == 1 else array.shape[1]],
                "normalized": array.dtype.kind in "iu" and array.ndim == 2,
            }
        )
    binary = b"".join(chunks)
    base = {
        "asset": {"version": "2.0"},
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "bufferViews": views,
        "accessors": accessors,
        "buffers": [{"byteLength": len(binary)}],
    }
    text = json.dumps(base | tree).encode()
    text += b" " * (-len(text) % 4)
    body = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
    path.write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body)


TRIANGLE = np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0]], "<f4")
SQUARE = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]], "<f4")


def image_uri(image: np.ndarray, kind: str = "PNG") -> str:
    out = io.BytesIO()
    Image.fromarray(image).save(out, format=kind)
    return f"data:image/{kind.lower()};base64," + base64.b64encode(out.getvalue()).decode()


IMAGE = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
