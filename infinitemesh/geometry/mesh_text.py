"""OBJ (with MTL and PNG), PLY and STL out. Numbers keep every bit of a float32."""

from pathlib import Path

import numpy as np

import infinitemesh
from infinitemesh.geometry.image_file import encode_image
from infinitemesh.geometry.mesh_part import Part, image_at


def obj_files(part: Part, *, name: str) -> dict[str, bytes]:
    """File name -> content: STEM_obj.png and STEM.mtl where there is a texture, then NAME, which points at them.

    Vertex colours follow the position (`v x y z r g b`, sRGB), as most tools read and write them.
    """
    stem = Path(name).stem
    positions = part.vertices if part.vertex_rgb is None else np.concatenate([part.vertices, part.vertex_rgb], axis=1)
    text = f"# infinitemesh {infinitemesh.__version__}\n"
    if part.image is not None:
        text += f"mtllib {stem}.mtl\n"
    text += _rows("v", positions)
    if part.uv is not None:
        text += _rows("vt", part.uv.astype(np.float64) * (1, -1) + (0, 1))  # OBJ's origin is the bottom left
    if part.normals is not None:
        text += _rows("vn", part.normals)
    if part.image is not None:
        text += "usemtl surface\n"
    corner = {(False, False): "%d", (True, False): "%d/%d", (False, True): "%d//%d", (True, True): "%d/%d/%d"}[
        part.uv is not None, part.normals is not None
    ]
    repeated = np.repeat(part.faces.ravel() + 1, corner.count("%d"))
    text += f"f {corner} {corner} {corner}\n" * len(part.faces) % tuple(repeated.tolist())
    files = {name: text.encode()}
    if part.image is None:
        return files
    # Ka and Ks 0: the texture is the whole look
    material = ["newmtl surface", "Ka 0 0 0", "Kd 1 1 1", "Ks 0 0 0", "illum 1", f"map_Kd {stem}_obj.png"]
    return {f"{stem}_obj.png": encode_image(part.image, "png"), f"{stem}.mtl": _text(material)} | files


def ply_bytes(part: Part) -> bytes:
    """Binary little-endian PLY; colours are sRGB bytes."""
    colours = part.vertex_rgb
    if part.image is not None and part.uv is not None:
        colours = image_at(part.image, part.uv)
    columns: list[tuple[str, str, str, np.ndarray]] = [
        (axis, "float", "<f4", part.vertices[:, i]) for i, axis in enumerate(("x", "y", "z"))
    ]
    if part.normals is not None:
        columns += [(axis, "float", "<f4", part.normals[:, i]) for i, axis in enumerate(("nx", "ny", "nz"))]
    if colours is not None:
        levels = (colours * 255).round()
        columns += [(axis, "uchar", "u1", levels[:, i]) for i, axis in enumerate(("red", "green", "blue"))]
    vertices = np.empty(len(part.vertices), dtype=[(name, dtype) for name, _, dtype, _ in columns])
    for name, _, _, values in columns:
        vertices[name] = values
    faces = np.empty(len(part.faces), dtype=[("count", "u1"), ("corners", "<i4", 3)])
    faces["count"], faces["corners"] = 3, part.faces
    header = [
        "ply",
        "format binary_little_endian 1.0",
        f"comment infinitemesh {infinitemesh.__version__}",
        f"element vertex {len(vertices)}",
        *(f"property {kind} {name}" for name, kind, _, _ in columns),
        f"element face {len(faces)}",
        "property list uchar int vertex_indices",
        "end_header",
    ]
    return _text(header) + vertices.tobytes() + faces.tobytes()


def stl_bytes(part: Part) -> bytes:
    """Binary STL: the shape alone."""
    corners = part.vertices[part.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    faces = np.zeros(len(corners), dtype=[("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("unused", "<u2")])
    faces["normal"], faces["corners"] = normals / np.where(length > 0, length, 1), corners
    header = f"infinitemesh {infinitemesh.__version__}".encode().ljust(80, b"\0")
    return header + np.uint32(len(faces)).astype("<u4").tobytes() + faces.tobytes()


def _rows(keyword: str, rows: np.ndarray) -> str:
    """One line a row; nine digits read back as the same float32."""
    line = " ".join([keyword, *["%.9g"] * rows.shape[1]]) + "\n"
    return line * len(rows) % tuple(rows.ravel().tolist())


def _text(lines: list[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode()
