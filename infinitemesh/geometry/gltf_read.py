"""glTF 2.0 in, for files from strangers: counts are checked before memory is taken, nothing outside is opened.

A GLB is read by itself; a .gltf may name files of its own folder, by plain name. Read: triangles (lists, strips, fans),
node transforms, instances, sparse accessors, base colour (texture, factor, COLOR_0; metal-rough or specular-glossy),
asset.extras. Not read: other maps, alpha, skins and morph targets (the stored shape counts), lines and points,
further scenes.
"""

import base64
import binascii
import json
import struct
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import torch

from infinitemesh.errors import InputError
from infinitemesh.files import read_bytes, sibling
from infinitemesh.geometry.colour import srgb_from_linear
from infinitemesh.geometry.image_file import decode_image
from infinitemesh.geometry.mesh_part import WHITE, Part

COMPONENTS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
TRIANGLES, STRIP, FAN = 4, 5, 6
UNDERSTOOD = {  # extensions that a file may require of us; colour-neutral ones included
    "EXT_texture_webp",
    "KHR_materials_pbrSpecularGlossiness",
    "KHR_materials_unlit",
    "KHR_mesh_quantization",
    "KHR_texture_transform",
}
MAX_TOTAL_PIXELS = 2**28


def read_gltf(path: Path, *, max_bytes: int, max_faces: int) -> tuple[list[Part], dict[str, Any]]:
    """The parts of the default scene in world coordinates, and asset.extras."""
    content = read_bytes(path, max_bytes=max_bytes)
    try:
        file = _File(path, content, max_bytes=max_bytes, max_faces=max_faces)
        return list(file.parts()), file.extras
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is damaged or not a glTF file ({type(error).__name__}: {error})") from error


class _File:
    """One opened file. Methods raise plain Python errors where the content is wrong; `read_gltf` translates them."""

    def __init__(self, path: Path, content: bytes, *, max_bytes: int, max_faces: int) -> None:
        self.path, self.max_bytes, self.max_faces = path, max_bytes, max_faces
        self.is_glb = path.suffix.lower() == ".glb"
        text, self.binary = _chunks(content) if self.is_glb else (content, None)
        self.tree = json.loads(text)
        if not str(self.tree["asset"]["version"]).startswith("2."):
            raise InputError(f"{path} is glTF {self.tree['asset']['version']}; only version 2 is read")
        if unknown := set(self.tree.get("extensionsRequired", [])) - UNDERSTOOD:
            raise InputError(
                f"{path} requires {', '.join(sorted(unknown))}, which is not read; "
                "export it without compression or extensions (for example by `gltf-transform copy`)"
            )
        self.images: dict[int, np.ndarray] = {}

    @property
    def extras(self) -> dict[str, Any]:
        extras = self.tree["asset"].get("extras", {})
        return extras if isinstance(extras, dict) else {}

    def parts(self) -> Iterator[Part]:
        uses: dict[int, int] = {}
        for primitive in (p for mesh in self.tree.get("meshes", []) for p in mesh["primitives"]):
            uses[primitive["attributes"]["POSITION"]] = uses.get(primitive["attributes"]["POSITION"], 0) + 1
        of_mesh: dict[int, list[Part]] = {}
        num_faces = num_vertices = 0
        for world_from_node, mesh in self.instances():
            if mesh not in of_mesh:
                primitives = self.tree["meshes"][mesh]["primitives"]
                drawn = [p for p in primitives if p.get("mode", TRIANGLES) in (TRIANGLES, STRIP, FAN)]
                of_mesh[mesh] = [
                    # one vertex array may be cut into materials: each part keeps its own vertices
                    self.part(p).referenced() if uses[p["attributes"]["POSITION"]] > 1 else self.part(p)
                    for p in drawn
                ]
            for part in of_mesh[mesh]:
                num_faces, num_vertices = num_faces + len(part.faces), num_vertices + len(part.vertices)
                if num_faces > self.max_faces or num_vertices > 3 * self.max_faces:
                    raise InputError(f"{self.path} has more than {self.max_faces:,} faces; decimate it first")
                yield _moved(part, world_from_node)

    def instances(self) -> Iterator[tuple[np.ndarray, int]]:
        """(world_from_node, mesh number) of every node with a mesh, roots first."""
        nodes = self.tree.get("nodes", [])
        if scenes := self.tree.get("scenes"):
            roots = scenes[self.tree.get("scene", 0)].get("nodes", [])
        else:
            roots = sorted(set(range(len(nodes))) - {child for node in nodes for child in node.get("children", [])})
        seen: set[int] = set()
        todo = [(np.eye(4), root) for root in reversed(roots)]
        while todo:
            world_from_parent, number = todo.pop()
            if number in seen:
                raise ValueError(f"node {number} has two parents")
            seen.add(number)
            world_from_node = world_from_parent @ _matrix(nodes[number])
            if "mesh" in nodes[number]:
                yield world_from_node, nodes[number]["mesh"]
            todo += [(world_from_node, child) for child in reversed(nodes[number].get("children", []))]

    def part(self, primitive: dict[str, Any]) -> Part:
        attributes = primitive["attributes"]
        vertices = self.floats(attributes["POSITION"], 3)
        if "indices" in primitive:
            indices = self.accessor(primitive["indices"]).ravel().astype(np.int64)
        else:
            indices = np.arange(len(vertices))
        faces = _triangles(indices, primitive.get("mode", TRIANGLES))
        if len(faces) and faces.max() >= len(vertices):
            raise ValueError(f"index {faces.max()} of {len(vertices)} vertices")
        image, factor, texcoord, transform = self.base_colour(primitive.get("material"))
        uv = vertex_rgb = None
        if f"TEXCOORD_{texcoord}" in attributes:
            uv = _uv_transformed(self.floats(attributes[f"TEXCOORD_{texcoord}"], 2), transform)
        if "COLOR_0" in attributes:
            linear = self.floats(attributes["COLOR_0"], None)[:, :3].clip(0, 1)
            if (linear == linear[:1]).all():  # one colour for all is a factor
                red, green, blue = (linear[0] * factor).tolist() if len(linear) else factor
                factor = (red, green, blue)
            else:
                vertex_rgb = srgb_from_linear(torch.from_numpy(linear)).numpy()
        normals = self.floats(attributes["NORMAL"], 3) if "NORMAL" in attributes else None
        lengths = {len(a) for a in (uv, vertex_rgb, normals) if a is not None}
        if lengths - {len(vertices)}:
            raise ValueError(f"attributes of {sorted(lengths)} rows for {len(vertices)} vertices")
        return Part(
            vertices,
            faces,
            normals=normals,
            vertex_rgb=vertex_rgb,
            uv=uv,
            image=None if uv is None or image is None else self.image(image),
            factor=factor,
        )

    def base_colour(self, material: int | None) -> tuple[int | None, tuple[float, float, float], int, dict[str, Any]]:
        """(image number, linear factor, texture coordinate set, KHR_texture_transform)."""
        if material is None:
            return None, WHITE, 0, {}
        tree = self.tree["materials"][material]
        glossy = tree.get("extensions", {}).get("KHR_materials_pbrSpecularGlossiness")
        if glossy is not None:
            factor, info = glossy.get("diffuseFactor", WHITE), glossy.get("diffuseTexture")
        else:
            rough = tree.get("pbrMetallicRoughness", {})
            factor, info = rough.get("baseColorFactor", WHITE), rough.get("baseColorTexture")
        red, green, blue = (min(max(float(f), 0.0), 1.0) for f in factor[:3])
        if info is None:
            return None, (red, green, blue), 0, {}
        texture = self.tree["textures"][info["index"]]
        webp = texture.get("extensions", {}).get("EXT_texture_webp", {})
        transform = info.get("extensions", {}).get("KHR_texture_transform", {})
        image = webp.get("source", texture.get("source"))
        return image, (red, green, blue), transform.get("texCoord", info.get("texCoord", 0)), transform

    def image(self, number: int) -> np.ndarray:
        if number not in self.images:
            image = self.tree["images"][number]
            content = bytes(self.view(image["bufferView"])) if "bufferView" in image else self.content(image["uri"])
            self.images[number] = decode_image(content, f"{self.path}: image {number}")
            if sum(decoded.size for decoded in self.images.values()) > 3 * MAX_TOTAL_PIXELS:
                raise InputError(f"{self.path} holds more than {MAX_TOTAL_PIXELS:,} pixels; export smaller textures")
        return self.images[number]

    def floats(self, number: int, width: int | None) -> np.ndarray:
        """An accessor as float32 rows; normalised integers are unfolded."""
        array = self.accessor(number)
        if width is not None and array.shape[1] != width:
            raise ValueError(f"accessor {number} has {array.shape[1]} components, not {width}")
        if self.tree["accessors"][number].get("normalized") and array.dtype.kind in "iu":
            array = np.maximum(array.astype(np.float32) / np.iinfo(array.dtype).max, -1)
        return array.astype(np.float32)

    def accessor(self, number: int) -> np.ndarray:
        """[count, width], a view into the file where it can be."""
        fields = self.tree["accessors"][number]
        dtype, width, count = np.dtype(COMPONENTS[fields["componentType"]]), WIDTHS[fields["type"]], fields["count"]
        if not 0 <= count <= 3 * self.max_faces:
            raise InputError(f"{self.path}: an array of {count:,} elements is over the limit of {3 * self.max_faces:,}")
        if "bufferView" in fields:
            stride = self.tree["bufferViews"][fields["bufferView"]].get("byteStride")
            array = _strided(self.view(fields["bufferView"]), dtype, count, width, fields.get("byteOffset", 0), stride)
        else:
            array = np.zeros((count, width), dtype)
        if "sparse" in fields:
            array = self.with_sparse(array, fields["sparse"])
        return array

    def with_sparse(self, array: np.ndarray, sparse: dict[str, Any]) -> np.ndarray:
        at, values, count = sparse["indices"], sparse["values"], sparse["count"]
        if not 0 <= count <= len(array):
            raise ValueError(f"{count} sparse values for {len(array)} elements")
        index_type = np.dtype(COMPONENTS[at["componentType"]])
        rows = _strided(self.view(at["bufferView"]), index_type, count, 1, at.get("byteOffset", 0), None)
        array = array.copy()
        array[rows[:, 0]] = _strided(
            self.view(values["bufferView"]), array.dtype, count, array.shape[1], values.get("byteOffset", 0), None
        )
        return array

    def view(self, number: int) -> memoryview:
        fields = self.tree["bufferViews"][number]
        if "EXT_meshopt_compression" in fields.get("extensions", {}):
            raise InputError(f"{self.path} is compressed (EXT_meshopt_compression); export it without compression")
        buffer, start = self.buffers[fields["buffer"]], fields.get("byteOffset", 0)
        end = start + fields["byteLength"]
        if not 0 <= start <= end <= len(buffer):
            raise ValueError(f"buffer view {number} reaches past its buffer")
        return memoryview(buffer)[start:end]

    @cached_property
    def buffers(self) -> list[bytes]:
        return [
            self.content(buffer["uri"]) if "uri" in buffer else self.own_buffer(number)
            for number, buffer in enumerate(self.tree.get("buffers", []))
        ]

    def own_buffer(self, number: int) -> bytes:
        if number != 0 or self.binary is None:
            raise ValueError(f"buffer {number} has no content")
        return self.binary

    def content(self, uri: str) -> bytes:
        """A data: URI or, for .gltf alone, a file beside it."""
        if uri.startswith("data:"):
            head, _, body = uri.partition(",")
            if not head.endswith(";base64"):
                raise ValueError("a data URI that is not base64")
            try:
                return base64.b64decode(body, validate=True)
            except binascii.Error as error:
                raise ValueError(f"a damaged data URI: {error}") from error
        if self.is_glb:
            raise InputError(f"{self.path} refers to {uri!r}: a GLB is read by itself; pack its files into it")
        return read_bytes(sibling(self.path, unquote(uri)), max_bytes=self.max_bytes)


def _chunks(content: bytes) -> tuple[bytes, bytes | None]:
    magic, version, length = struct.unpack_from("<4sII", content.ljust(12, b"\0"))
    if magic != b"glTF":
        raise ValueError("it does not start with the letters glTF")
    if version != 2 or length > len(content):
        raise ValueError(f"version {version}, {len(content):,} of {length:,} bytes are there")
    text, binary, at = None, None, 12
    while at + 8 <= length:
        size, kind = struct.unpack_from("<I4s", content, at)
        body = content[at + 8 : at + 8 + size]
        if len(body) < size:
            raise ValueError("a chunk is cut short")
        if kind == b"JSON" and text is None:
            text = body
        elif kind == b"BIN\0" and binary is None:
            binary = body
        at += 8 + size
    if text is None:
        raise ValueError("it has no JSON chunk")
    return text, binary


def _strided(
    content: memoryview, dtype: np.dtype, count: int, width: int, offset: int, stride: int | None
) -> np.ndarray:
    row = dtype.itemsize * width
    stride = stride or row
    if stride < row or offset < 0 or (count and offset + (count - 1) * stride + row > len(content)):
        raise ValueError(f"{count} elements of {row} bytes do not fit their buffer view")
    if count == 0:
        return np.zeros((0, width), dtype)
    return np.ndarray((count, width), dtype, content, offset, (stride, dtype.itemsize))


def _matrix(node: dict[str, Any]) -> np.ndarray:
    """parent_from_node."""
    if "matrix" in node:
        matrix = np.array(node["matrix"], dtype=np.float64).reshape(4, 4).T
    else:
        x, y, z, w = np.array(node.get("rotation", (0, 0, 0, 1)), dtype=np.float64)
        matrix = np.eye(4)
        matrix[:3, :3] = [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
        scale = np.array(node.get("scale", (1, 1, 1)), dtype=np.float64)
        if not np.isfinite(scale).all():
            raise ValueError("a node's scale is not finite")
        matrix[:3, :3] *= scale
        matrix[:3, 3] = node.get("translation", (0, 0, 0))
    if not np.isfinite(matrix).all():
        raise ValueError("a node's transform is not finite")
    return matrix


def _moved(part: Part, world_from_node: np.ndarray) -> Part:
    """The part in the world; a mirroring transform turns the faces around, so that outside stays outside."""
    if (world_from_node == np.eye(4)).all():
        return part
    linear, shift = world_from_node[:3, :3], world_from_node[:3, 3]
    vertices = (part.vertices.astype(np.float64) @ linear.T + shift).astype(np.float32)
    mirrors = np.linalg.det(linear) < 0
    normals = part.normals
    if normals is not None:
        # the cofactor matrix: inverse transpose times determinant, finite for flattening transforms too
        cofactor = np.cross(linear[[1, 2, 0]], linear[[2, 0, 1]]) * (-1 if mirrors else 1)
        normals = normals.astype(np.float64) @ cofactor.T
        length = np.linalg.norm(normals, axis=1, keepdims=True)
        normals = (normals / np.where(length > 0, length, 1)).astype(np.float32)
    faces = part.faces[:, ::-1] if mirrors else part.faces
    return Part(vertices, np.ascontiguousarray(faces), normals, part.vertex_rgb, part.uv, part.image, part.factor)


def _triangles(indices: np.ndarray, mode: int) -> np.ndarray:
    if mode == TRIANGLES:
        return indices[: len(indices) // 3 * 3].reshape(-1, 3)
    count = max(len(indices) - 2, 0)
    at = np.arange(count)
    if mode == FAN:
        return np.stack([indices[at + 1], indices[at + 2], np.broadcast_to(indices[:1], count)], axis=1)
    odd = at % 2
    return np.stack([indices[at], indices[at + 1 + odd], indices[at + 2 - odd]], axis=1)


def _uv_transformed(uv: np.ndarray, transform: dict[str, Any]) -> np.ndarray:
    """KHR_texture_transform: scale, then rotate, then shift."""
    if not {"scale", "rotation", "offset"} & set(transform):
        return uv
    angle = float(transform.get("rotation", 0))
    cos, sin = np.cos(angle), np.sin(angle)
    scaled = uv.astype(np.float64) * np.array(transform.get("scale", (1, 1)), dtype=np.float64)
    rotated = scaled @ np.array([[cos, sin], [-sin, cos]]).T
    return (rotated + np.array(transform.get("offset", (0, 0)), dtype=np.float64)).astype(np.float32)
