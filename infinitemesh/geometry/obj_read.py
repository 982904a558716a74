"""Wavefront OBJ with its MTL and diffuse picture in. Only files beside the OBJ, by plain name, are opened."""

from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from infinitemesh.errors import InputError
from infinitemesh.files import read_bytes, sibling
from infinitemesh.geometry.colour import linear_from_srgb
from infinitemesh.geometry.image_file import decode_image
from infinitemesh.geometry.mesh_part import WHITE, Part

NOTHING = -1  # a corner without texture coordinate or normal


@dataclass(frozen=True)
class _Material:
    factor: tuple[float, float, float] = WHITE
    image: np.ndarray | None = None


def read_obj(path: Path, *, max_bytes: int, max_faces: int) -> list[Part]:
    """One part a material; polygons become fans. Vertex colours (`v x y z r g b`) are sRGB.

    A file that it names and that is not there is an InputError: colours do not vanish silently.
    """
    text = read_bytes(path, max_bytes=max_bytes).decode("utf-8", errors="replace").replace("\\\n", " ")
    rows: dict[str, list[str]] = defaultdict(list)
    corners: dict[str, list[list[tuple[int, int, int]]]] = defaultdict(list)  # per material: triangles of (v, vt, vn)
    known: dict[str, tuple[int, int, int]] = {}  # a vertex stands in about six faces
    libraries: list[str] = []
    material, num_faces = "", 0
    try:
        for line in text.splitlines():
            keyword, _, rest = line.strip().partition(" ")
            if keyword in ("v", "vt", "vn"):
                rows[keyword].append(rest)
            elif keyword == "f":
                tokens = rest.split()
                for token in tokens:
                    if token not in known or "-" in token:  # negative ones count from here
                        known[token] = _corner(token, rows)
                polygon = [known[token] for token in tokens]
                fan = [[polygon[0], polygon[i], polygon[i + 1]] for i in range(1, len(polygon) - 1)]
                corners[material] += fan
                num_faces += len(fan)
                if num_faces > max_faces:
                    raise InputError(f"{path} has more than {max_faces:,} faces; decimate it first")
            elif keyword == "usemtl":
                material = rest.strip()
            elif keyword == "mtllib":
                libraries.append(rest.strip())
        positions = _table(rows["v"], (3, 4, 6, 7))
        uv = _table(rows["vt"], (1, 2, 3))
        normals = _table(rows["vn"], (3,))
        materials = {name: m for library in libraries for name, m in _read_mtl(path, library, max_bytes).items()}
        return [
            _part(
                positions, uv, normals, np.array(triangles), materials.get(name, _Material()), whole=len(corners) == 1
            )
            for name, triangles in corners.items()
        ]
    except (IndexError, ValueError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is damaged or not an OBJ file ({type(error).__name__}: {error})") from error


def _corner(token: str, rows: dict[str, list[str]]) -> tuple[int, int, int]:
    """`v`, `v/vt`, `v//vn` or `v/vt/vn`, counted from 1 or, when negative, backwards from the last row so far."""
    numbers = [*token.split("/"), "", ""][:3]
    v, vt, vn = (
        NOTHING if not number else (i - 1 if (i := int(number)) > 0 else len(rows[key]) + i)
        for number, key in zip(numbers, ("v", "vt", "vn"), strict=True)
    )
    if v < 0:
        raise ValueError(f"corner {token!r} names no vertex")
    return v, vt, vn


def _table(lines: list[str], widths: tuple[int, ...]) -> np.ndarray:
    if not lines:
        return np.zeros((0, widths[0]), np.float32)
    width = len(lines[0].split())
    if width not in widths:
        raise ValueError(f"{lines[0]!r} has {width} numbers")
    table = np.array(" ".join(lines).split(), dtype=np.float64).reshape(-1, width)
    if len(table) != len(lines):
        raise ValueError("rows of different lengths")
    with np.errstate(over="ignore"):  # `Part.check` finds what became infinite
        return table.astype(np.float32)


def _part(
    positions: np.ndarray,
    uv: np.ndarray,
    normals: np.ndarray,
    triangles: np.ndarray,
    material: _Material,
    *,
    whole: bool,
) -> Part:
    """One vertex for every different (v, vt, vn). Where those agree with v, the file's vertices stay as they are."""
    flat = triangles.reshape(-1, 3)
    for column, table in enumerate((positions, uv, normals)):
        if flat[:, column].max() >= len(table):
            raise ValueError(f"a face names row {flat[:, column].max() + 1} of {len(table)}")
    has_uv, has_normals = (flat[:, 1] >= 0).all(), (flat[:, 2] >= 0).all()
    same = all(not has or (flat[:, 0] == flat[:, i]).all() for i, has in ((1, has_uv), (2, has_normals)))
    complete = all(not has or len(table) == len(positions) for table, has in ((uv, has_uv), (normals, has_normals)))
    if whole and same and complete:
        corners = np.repeat(np.arange(len(positions))[:, None], 3, axis=1)
        faces = flat[:, 0].reshape(-1, 3)
    else:
        keys = np.stack([flat[:, 0], flat[:, 1] * has_uv, flat[:, 2] * has_normals], axis=1)
        corners, faces = np.unique(keys, axis=0, return_inverse=True)
        faces = faces.reshape(-1, 3)
    colours = positions[:, 3:6] if positions.shape[1] == 6 else positions[:, 4:7] if positions.shape[1] == 7 else None
    if uv.shape[1] == 1:
        uv = np.concatenate([uv, np.zeros_like(uv)], axis=1)
    part = Part(
        positions[corners[:, 0], :3],
        faces,
        normals=normals[corners[:, 2]] if has_normals else None,
        vertex_rgb=None if colours is None else colours[corners[:, 0]].clip(0, 1),
        uv=(uv[corners[:, 1], :2].astype(np.float64) * (1, -1) + (0, 1)).astype(np.float32) if has_uv else None,
        factor=material.factor,
    )
    return replace(part, image=material.image) if has_uv and material.image is not None else part


def _read_mtl(path: Path, name: str, max_bytes: int) -> dict[str, _Material]:
    """Kd (taken as sRGB, as tools write it) and map_Kd; a picture replaces the colour, as viewers do."""
    library = sibling(path, name)
    materials: dict[str, _Material] = {}
    images: dict[str, np.ndarray] = {}
    current = ""
    for line in read_bytes(library, max_bytes=max_bytes).decode("utf-8", errors="replace").splitlines():
        keyword, _, rest = line.strip().partition(" ")
        if keyword == "newmtl":
            current = rest.strip()
            materials[current] = _Material()
        elif keyword == "Kd" and current:
            srgb = torch.tensor([float(number) for number in rest.split()[:3]]).clamp(0, 1)
            red, green, blue = linear_from_srgb(srgb).tolist()
            materials[current] = replace(materials[current], factor=(red, green, blue))
        elif keyword == "map_Kd" and current:
            picture = rest.strip()
            if picture.startswith("-"):
                raise InputError(f"{library}: map_Kd options ({picture!r}) are not read; remove them")
            if picture not in images:
                images[picture] = decode_image(read_bytes(sibling(path, picture), max_bytes=max_bytes), picture)
            materials[current] = replace(materials[current], image=images[picture])
    return {k: replace(m, factor=WHITE) if m.image is not None else m for k, m in materials.items()}
