"""glTF 2.0 out: one node, one mesh, one metal-rough material. The library's frame is glTF's: positions go as they are.

Colours: the texture is sRGB (PNG, or WebP by EXT_texture_webp); COLOR_0 is linear and float, so dark tones keep their
steps and readers that mistake normalised 16-bit integers for bytes do no harm.
The material is double-sided: where a surface is open, its inside shows its colour instead of nothing.
"""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import torch

import infinitemesh
from infinitemesh.errors import InputError
from infinitemesh.geometry.colour import linear_from_srgb
from infinitemesh.geometry.image_file import TextureFormat, encode_image
from infinitemesh.geometry.mesh_part import Part
from infinitemesh.geometry.normals import smooth_normals

ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963
UNSIGNED_SHORT, UNSIGNED_INT, FLOAT = 5123, 5125, 5126
LINEAR, LINEAR_MIPMAP_LINEAR = 9729, 9987
CLAMP_TO_EDGE, REPEAT = 33071, 10497
ROUGHNESS = 1.0  # base colours already hold the look of the photograph; a highlight on top would be invented


def glb_bytes(part: Part, metadata: Mapping[str, Any], *, texture_format: TextureFormat = "png") -> bytes:
    """A whole GLB; the same mesh gives the same bytes."""
    tree, chunks = _gltf(part, metadata, texture_format=texture_format)
    binary = b"".join(chunks)
    tree["buffers"] = [{"byteLength": len(binary)}]
    text = _json(tree)
    text += b" " * (-len(text) % 4)
    total = 12 + 8 + len(text) + 8 + len(binary)
    header = struct.pack("<4sII", b"glTF", 2, total)
    return header + struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary


def gltf_files(
    part: Part, metadata: Mapping[str, Any], *, name: str, texture_format: TextureFormat = "png"
) -> dict[str, bytes]:
    """File name -> content: STEM.bin, STEM_gltf.png where there is a texture, then NAME, which points at them.

    The picture is not STEM.png, which may well be the photograph that the mesh was made from.
    """
    stem = Path(name).stem
    tree, chunks = _gltf(part, metadata, texture_format=texture_format)
    files = {}
    if "images" in tree:  # the last view and chunk are the image
        image = tree["images"][0]
        picture = f"{stem}_gltf.{texture_format}"
        files[picture] = chunks.pop()[: tree["bufferViews"].pop()["byteLength"]]
        tree["images"] = [{"uri": quote(picture), "mimeType": image["mimeType"]}]
    files[f"{stem}.bin"] = b"".join(chunks)
    tree["buffers"] = [{"uri": quote(f"{stem}.bin"), "byteLength": len(files[f"{stem}.bin"])}]
    return files | {name: _json(tree)}


def _gltf(
    part: Part, metadata: Mapping[str, Any], *, texture_format: TextureFormat
) -> tuple[dict[str, Any], list[bytes]]:
    """The JSON tree without its buffers, and the buffer's content, one chunk a view (each padded to 4 bytes)."""
    chunks: list[bytes] = []
    views: list[dict[str, Any]] = []
    accessors: list[dict[str, Any]] = []

    def add_view(content: bytes, **fields: Any) -> int:
        views.append({"buffer": 0, "byteOffset": sum(map(len, chunks)), "byteLength": len(content), **fields})
        chunks.append(content + b"\0" * (-len(content) % 4))
        return len(views) - 1

    def add_accessor(array: np.ndarray, component: int, kind: str, *, target: int, bounds: bool = False) -> int:
        accessor = {
            "bufferView": add_view(array.tobytes(), target=target),
            "componentType": component,
            "count": array.size if kind == "SCALAR" else len(array),
            "type": kind,
        }
        if bounds:
            accessor |= {"min": array.min(0).tolist(), "max": array.max(0).tolist()}
        accessors.append(accessor)
        return len(accessors) - 1

    def add_floats(array: np.ndarray, *, bounds: bool = False) -> int:
        return add_accessor(
            np.ascontiguousarray(array, "<f4"), FLOAT, f"VEC{array.shape[1]}", target=ARRAY_BUFFER, bounds=bounds
        )

    # without normals a viewer shades every face flat
    normals = smooth_normals(part.vertices, part.faces) if part.normals is None else part.normals
    attributes = {"POSITION": add_floats(part.vertices, bounds=True), "NORMAL": add_floats(normals)}
    if part.uv is not None:
        attributes["TEXCOORD_0"] = add_floats(part.uv)
    if part.vertex_rgb is not None:
        attributes["COLOR_0"] = add_floats(linear_from_srgb(torch.from_numpy(part.vertex_rgb)).numpy())
    small = len(part.vertices) < 2**16  # 65535 itself is the restart value
    component, dtype = (UNSIGNED_SHORT, "<u2") if small else (UNSIGNED_INT, "<u4")
    indices = add_accessor(part.faces.astype(dtype), component, "SCALAR", target=ELEMENT_ARRAY_BUFFER)

    shading: dict[str, Any] = {"metallicFactor": 0.0, "roughnessFactor": ROUGHNESS}
    tree: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": f"infinitemesh {infinitemesh.__version__}"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "object"}],
        "meshes": [{"primitives": [{"attributes": attributes, "indices": indices, "material": 0}]}],
        "materials": [{"doubleSided": True, "pbrMetallicRoughness": shading}],
        "accessors": accessors,
        "bufferViews": views,
    }
    if metadata:
        tree["asset"]["extras"] = dict(metadata)
    if part.image is not None:
        assert part.uv is not None
        inside = bool(part.uv.min() >= 0 and part.uv.max() <= 1)
        wrap = CLAMP_TO_EDGE if inside else REPEAT
        view = add_view(encode_image(part.image, texture_format))
        shading["baseColorTexture"] = {"index": 0}
        tree["images"] = [{"bufferView": view, "mimeType": f"image/{texture_format}"}]
        tree["samplers"] = [{"magFilter": LINEAR, "minFilter": LINEAR_MIPMAP_LINEAR, "wrapS": wrap, "wrapT": wrap}]
        tree["textures"] = [{"sampler": 0, "source": 0}]
        if texture_format == "webp":
            tree["textures"] = [{"sampler": 0, "extensions": {"EXT_texture_webp": {"source": 0}}}]
            tree["extensionsUsed"] = tree["extensionsRequired"] = ["EXT_texture_webp"]
    return tree, chunks


def _json(tree: dict[str, Any]) -> bytes:
    try:
        return json.dumps(tree, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError) as error:
        raise InputError(f"Mesh.metadata is not plain JSON data: {error}") from error
